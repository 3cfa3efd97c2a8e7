#!/bin/sh
# netifd's handlers of the protocols of sofu-proto:
#
#   sofutobanku      the line: runs the daemon, which does everything else
#   sofutobanku4     its IPv4-in-IPv6 tunnel; the daemon makes one for each line,
#                    and it can be had by hand by who knows the three addresses
#   sofutobankuhgw   the port to a home gateway, with the routes that the daemon
#                    gives it
#
# netifd runs this file in its own directory, as
#   sofutobanku.sh '' dump
#   sofutobanku.sh PROTO setup|teardown|renew|restart INTERFACE CONFIG [DEVICE]
#
# CONFIG holds the secrets of the line, and the functions of netifd-proto.sh keep
# it in exported variables until the first message is begun. So nothing is started
# before that.

# shellcheck source=/dev/null
. ../netifd-proto.sh
init_proto "$@"

# shellcheck disable=SC2034 # init_proto reads the variables
proto_sofutobanku_init_config() {
	renew_handler=1
	lasterror=1
	# What is declared is what restarts the line when it is changed. As strings:
	# netifd does not see a change of what does not fit the declared type.
	proto_config_add_defaults
	proto_config_add_string line shared_secret password
	proto_config_add_array auth_server
	proto_config_add_string mac reqprefix iaid clientid norelease unauth_reconfigure solicit_vendor_class
	proto_config_add_string ip6ifaceid mtu ttl encaplimit echo_target auth_interval strict_rfc
	proto_config_add_string username iid auth_iid manufacturer model hwrev
	proto_config_add_string vsa_packing chap_ident mac_format
	proto_config_add_string require_message_authenticator send_message_authenticator
	proto_config_add_string sourcefilter extendprefix zone ip4table phone phone_dscp
	proto_config_add_string hgw_device hgw_mac hgw_zone
}

proto_sofutobanku_setup() {
	proto_run_command "$1" /usr/sbin/sofu-proto run --interface "$1" --device "$2"
}

# The numbers of these signals are others on MIPS.
proto_sofutobanku_renew() {
	proto_kill_command "$1" "$(kill -l USR1)"
}

proto_sofutobanku_restart() {
	proto_kill_command "$1" "$(kill -l USR2)"
}

# ERROR is the exit status of a daemon that ended by itself, 0 after a signal; it is
# not set otherwise. netifd sets up again at once, however often that fails.
proto_sofutobanku_teardown() {
	proto_kill_command "$1"
	# What add_dynamic made outlives its parent.
	ubus call "network.interface.$1_4" remove >/dev/null 2>&1
	ubus call "network.interface.$1_hgw" remove >/dev/null 2>&1
	case ${ERROR:-0} in
	0) ;;
	3) sofutobanku_blocked "$1" CONFIG "sofu-proto cannot work with this configuration; 'logread -e $1' says why" ;;
	126 | 127) sofutobanku_blocked "$1" NO_PROGRAM "/usr/sbin/sofu-proto cannot be run: is it there, and built for this router?" ;;
	*)
		proto_notify_error "$1" FAILED "sofu-proto ended with status $ERROR and is started again; 'logread -e $1' says why"
		sleep 3
		;;
	esac
}

# sofutobanku_blocked INTERFACE CODE TEXT: down until the next ifup; an option that is
# changed and reloaded does not end that.
sofutobanku_blocked() {
	proto_notify_error "$1" "$2" "$3"
	proto_block_restart "$1"
}

# shellcheck disable=SC2034
proto_sofutobanku4_init_config() {
	no_device=1
	available=1
	no_proto_task=1
	lasterror=1
	proto_config_add_defaults
	proto_config_add_string local remote ipaddr mtu ttl encaplimit
}

# local and remote are the ends of the tunnel, ipaddr the line's IPv4 address.
proto_sofutobanku4_setup() {
	near='' remote='' ipaddr='' mtu='' ttl='' encaplimit=''
	json_get_var near local
	json_get_vars remote ipaddr mtu ttl encaplimit
	: "${mtu:=1460}" "${ttl:=64}" "${encaplimit:=ignore}"

	wrong=''
	[ -n "$near" ] || wrong="'local': missing, but required: the IPv6 address of this end"
	[ -n "$remote" ] || wrong="'remote': missing, but required: the IPv6 address of the far end"
	[ -n "$ipaddr" ] || wrong="'ipaddr': missing, but required: the IPv4 address of the line"
	sofutobanku_within "$mtu" 576 9000 || wrong="'mtu': accepted: 576 to 9000"
	sofutobanku_within "$ttl" 1 255 || wrong="'ttl': accepted: 1 to 255"
	[ "$encaplimit" = ignore ] || sofutobanku_within "$encaplimit" 0 255 || wrong="'encaplimit': accepted: ignore or 0 to 255"
	if [ -n "$wrong" ]; then
		sofutobanku_failed "$1" CONFIG "option $wrong"
		return
	fi

	# A name too long for the kernel is cut, and stays a name of its own.
	device=sofu-$1
	[ ${#device} -le 15 ] || device=$(printf %.11s%.4s "$device" "$(printf %s "$1" | md5sum)")
	proto_init_update "$device" 1
	proto_add_tunnel
	json_add_string mode ipip6
	json_add_string local "$near"
	json_add_string remote "$remote"
	json_add_int mtu "$mtu"
	json_add_int ttl "$ttl"
	# Without this table netifd sends a limit of 0, which every router refuses.
	json_add_object data
	json_add_string encaplimit "$encaplimit"
	json_close_object
	proto_close_tunnel
	# It answers for the tunnel, and is never the source of the router's own
	# traffic: a preferred lifetime of 0.
	proto_add_ipv6_address "$near" 128 0 '' 1
	proto_add_ipv4_address "$ipaddr" 32
	proto_add_ipv4_route 0.0.0.0 0
	proto_send_update "$1" ||
		sofutobanku_failed "$1" TUNNEL "netifd cannot make the tunnel from $near to $remote with $ipaddr: are these addresses, and is kmod-ip6-tunnel installed?"
}

proto_sofutobanku4_teardown() {
	:
}

# shellcheck disable=SC2034
proto_sofutobankuhgw_init_config() {
	no_proto_task=1
	lasterror=1
}

proto_sofutobankuhgw_setup() {
	proto_init_update "$2" 1
	proto_send_update "$1"
}

proto_sofutobankuhgw_teardown() {
	:
}

# sofutobanku_failed INTERFACE CODE TEXT ends a setup for good.
sofutobanku_failed() {
	sofutobanku_blocked "$@"
	proto_setup_failed "$1"
}

# sofutobanku_within VALUE LOW HIGH: a decimal number in this range.
sofutobanku_within() {
	[ "$1" -ge "$2" ] 2>/dev/null && [ "$1" -le "$3" ]
}

add_protocol sofutobanku
add_protocol sofutobanku4
add_protocol sofutobankuhgw
