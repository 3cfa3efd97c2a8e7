# shellcheck shell=dash
# A double of the part of OpenWrt's netifd-proto.sh (with jshn.sh) that the glue
# uses, for busybox ash. It keeps what matters of the real one:
#
#   - the configuration is in exported variables from json_load to json_init;
#   - a value keeps the type of the function that added it;
#   - what netifd is told is one `ubus call network.interface notify_proto`.
#
# In $PATH it wants ubus, and json2sh, which makes shell of a flat JSON object: it
# exports json_NAME for each member and lists those names in _loaded (both are
# package netifd).

# ---- JSON. What is being built is $_json; $_ends closes what is open in it.

json_cleanup() {
	# shellcheck disable=SC2086 # a list of names
	unset $_loaded
	_loaded='' _json='' _ends=''
}

json_init() {
	json_cleanup
	_json='{' _ends='}'
}

json_dump() { printf '%s\n' "$_json$_ends"; }

_json_add() { # NAME VALUE
	case $_json in
	*'[' | *'{') ;;
	*) _json="$_json," ;;
	esac
	case $_ends in
	']'*) _json="$_json$2" ;;
	*) _json="$_json\"$1\":$2" ;;
	esac
}

json_add_string() {
	case $2 in
	*[\\\"]*) _json_add "$1" "\"$(printf '%s' "$2" | sed 's/[\\"]/\\&/g')\"" ;;
	*) _json_add "$1" "\"$2\"" ;;
	esac
}

json_add_int() { _json_add "$1" "$2"; }

json_add_boolean() {
	case $2 in
	1 | true) _json_add "$1" true ;;
	*) _json_add "$1" false ;;
	esac
}

json_add_object() {
	_json_add "$1" '{'
	_ends="}$_ends"
}

json_add_array() {
	_json_add "$1" '['
	_ends="]$_ends"
}

_json_close() {
	_json="$_json${_ends%"${_ends#?}"}"
	_ends=${_ends#?}
}

json_close_object() { _json_close; }
json_close_array() { _json_close; }

json_load() {
	json_cleanup
	eval "$(json2sh "$1")"
}

json_get_var() { # DESTINATION NAME [DEFAULT]
	eval "export $1=\"\${json_$2:-\$3}\""
}

json_get_vars() {
	while [ $# -gt 0 ]; do
		json_get_var "$1" "$1"
		shift
	done
}

# ---- What a handler declares.

_declare() { # TYPE NAME…
	local type=$1 name
	shift
	for name; do
		json_add_array ''
		json_add_string '' "$name"
		json_add_int '' "$type"
		json_close_array
	done
}

proto_config_add_array() { _declare 1 "$@"; }
proto_config_add_string() { _declare 3 "$@"; }
proto_config_add_int() { _declare 5 "$@"; }
proto_config_add_boolean() { _declare 7 "$@"; }

proto_config_add_defaults() {
	proto_config_add_boolean defaultroute
	proto_config_add_boolean peerdns
	proto_config_add_int metric
}

# ---- What a handler tells.

_notify() { # INTERFACE
	json_add_string interface "$1"
	ubus call network.interface notify_proto "$(json_dump)"
}

_begin() { # ACTION
	json_init
	json_add_int action "$1"
}

_strings() { # NAME VALUE…
	json_add_array "$1"
	shift
	local value
	for value; do json_add_string '' "$value"; done
	json_close_array
}

proto_init_update() {
	_nested='' _ip4='' _ip6='' _routes='' _routes6=''
	_begin 0
	json_add_string ifname "$1"
	json_add_boolean link-up "$2"
}

_nest() {
	_nested=1
	json_add_object "$1"
}

_unnest() {
	[ -z "$_nested" ] || json_close_object
	_nested=''
}

proto_add_tunnel() { _nest tunnel; }
proto_close_tunnel() { _unnest; }

proto_add_ipv4_address() { _ip4="$_ip4 $1,$2,$3,$4"; }
proto_add_ipv6_address() { _ip6="$_ip6 $1,$2,$3,$4,$5,$6"; }
proto_add_ipv4_route() { _routes="$_routes $1,$2,$3,$4,$5"; }

# _table TYPE:NAME… adds the words of $IFS as a table, empty ones left out.
_table() {
	local line=$1 field value
	shift
	json_add_object ''
	for field; do
		value=${line%%,*}
		line=${line#*,}
		[ -n "$value" ] && "json_add_${field%%:*}" "${field#*:}" "$value"
	done
	json_close_object
}

_tables() { # NAME WORDS TYPE:NAME…
	local name=$1 words=$2 word
	shift 2
	[ -n "$words" ] || return 0
	json_add_array "$name"
	for word in $words; do _table "$word," "$@"; done
	json_close_array
}

proto_send_update() {
	_unnest
	json_add_boolean keep 0
	_tables ipaddr "$_ip4" string:ipaddr string:mask string:broadcast string:ptp
	_tables ip6addr "$_ip6" string:ipaddr string:mask int:preferred int:valid boolean:offlink string:class
	_tables routes "$_routes" string:target string:netmask string:gateway string:source int:metric
	_notify "$1"
}

proto_run_command() {
	local interface=$1
	shift
	_begin 1
	_strings command "$@"
	_notify "$interface"
}

proto_kill_command() {
	_begin 2
	[ -z "$2" ] || json_add_int signal "$2"
	_notify "$1"
}

proto_notify_error() {
	local interface=$1
	shift
	_begin 3
	_strings error "$@"
	_notify "$interface"
}

proto_block_restart() {
	_begin 4
	_notify "$1"
}

proto_setup_failed() {
	_begin 7
	_notify "$1"
}

# ---- How netifd runs a handler.

init_proto() {
	_proto=$1 _action=$2 _interface=$3 _config=$4 _device=$5
}

add_protocol() {
	case $_action in
	dump)
		no_device=0 no_device_config=0 no_proto_task=0 available=0 renew_handler=0 teardown_on_l3_link_down=0
		json_init
		json_add_string name "$1"
		json_add_array config
		"proto_$1_init_config"
		json_close_array
		json_add_boolean no-device "$no_device"
		json_add_boolean no-device-config "$no_device_config"
		json_add_boolean no-proto-task "$no_proto_task"
		json_add_boolean available "$available"
		json_add_boolean renew-handler "$renew_handler"
		json_add_boolean restart-handler "$(type "proto_$1_restart" >/dev/null 2>&1 && echo 1)"
		# Not among those that are set back from one protocol to the next.
		json_add_boolean lasterror "${lasterror:-}"
		json_add_boolean teardown-on-l3-link-down "$teardown_on_l3_link_down"
		json_dump
		;;
	*)
		[ "$_proto" = "$1" ] || return 0
		json_load "$_config"
		"proto_$1_$_action" "$_interface" "$_device"
		;;
	esac
}
