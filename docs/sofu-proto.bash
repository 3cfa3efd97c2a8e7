# Completion of sofu-proto for bash, made by docs/manual of what the programs say
# with -h. Put it where bash-completion looks, or source it.
_sofu_proto() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} flags=
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'up run status version check report rtsol probe ping6 traceroute6 pmtu nd capture learn phone' -- "$word")
		return
	fi
	case $before in
	-config | -run-dir | -state-dir | --config | --run-dir | --state-dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		return
		;;
	-device | -lan | -I | --device | --lan)
		mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -- "$word")
		return
		;;
	-o | -hook | -resolv | --hook | --resolv)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	esac
	case ${COMP_WORDS[1]} in
	up) flags='-config -device -hook -interface -lan -resolv -run-dir -state-dir -timeline -tunnel -v' ;;
	run) flags='-config -device -hook -interface -run-dir -state-dir -v' ;;
	status) flags='-interface -json -run-dir -watch' ;;
	version) flags='' ;;
	check) flags='-config -device -interface -json -run-dir -state-dir' ;;
	report) flags='-config -device -interface -o -run-dir -state-dir -unknown' ;;
	rtsol) flags='-1 -json -w -watch' ;;
	probe) flags='-config -device -information -json -run-dir -state-dir -vendor-class -w' ;;
	ping6) flags='-I -S -c -i -json -s -t -w' ;;
	traceroute6) flags='-I -S -json -m -q -s -w' ;;
	pmtu) flags='-I -config -device -json -run-dir -state-dir -target' ;;
	nd) flags='-a -json -p -r' ;;
	capture) flags='-config -o -port -promisc -redact -s -w' ;;
	learn) flags='-config -json -port -promisc -w' ;;
	phone) flags='-number -run-dir' ;;
	esac
	case $word in
	-*) mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word") ;;
	*)
		case ${COMP_WORDS[1]} in
		rtsol | nd | capture) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net)" -- "$word") ;;
		probe) mapfile -t COMPREPLY < <(compgen -W 'dhcp6 dhcp4 radius' -- "$word") ;;
		learn) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
		esac
		;;
	esac
}
complete -F _sofu_proto sofu-proto
