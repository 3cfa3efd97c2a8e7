#!/bin/sh
# Handlers for the tests of the double: toy runs `sh -c` with its option what, toy4
# does nothing.

# shellcheck source=/dev/null
. ../netifd-proto.sh
init_proto "$@"

proto_toy_init_config() { proto_config_add_string what block; }

proto_toy_setup() {
	json_get_vars what
	proto_run_command "$1" /toy -c "${what:?}"
}

proto_toy_teardown() {
	echo "ERROR is ${ERROR-unset}"
	json_get_vars block
	[ -z "${block:-}" ] || proto_block_restart "$1"
}

# shellcheck disable=SC2034
proto_toy4_init_config() {
	no_device=1 available=1 no_proto_task=1
	proto_config_add_defaults
}
proto_toy4_setup() { :; }
proto_toy4_teardown() { :; }

add_protocol toy
add_protocol toy4
