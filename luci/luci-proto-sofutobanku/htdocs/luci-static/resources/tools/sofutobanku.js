'use strict';
'require baseclass';

/* What the form, the interface's row and the status page share: the errors of
 * sofu-proto in words, what its options accept, and lifetimes for people. */

/* code: [ where in the chain, '' for nowhere, what is wrong, what to do ] */
const errors = {
	NO_DEVICE: [ 'link', _('The network device does not exist.'), _('Check the device of the interface.') ],
	NO_CARRIER: [ 'link', _('The network device has no link.'), _('Check the cable and the ONU.') ],
	DAD_FAILED: [ 'link', _('Another device on the line has the same MAC address.'), _('Give one of the two another MAC address.') ],
	RA_SOCKET: [ 'ra', _('The kernel refuses a socket for router advertisements.'), _('The system log says why.') ],
	NO_RA: [ 'ra', _('No router answers.'), _('Is it the port to the ONU, and is the line in order?') ],
	DHCP_SOCKET: [ 'lease', _('Another DHCPv6 client runs on the device.'), _('Remove the interface that uses DHCPv6 on the same device.') ],
	NO_PREFIX: [ 'lease', _('A router answers, but no DHCPv6 server does.'), _('Disconnect the BB unit and other routers from the line. It may also still hold a lease for another MAC address, for up to four hours.') ],
	AUTH_SILENT: [ 'auth', _('The RADIUS server does not answer.'), _('Check the RADIUS server.') ],
	AUTH_REJECTED: [ 'auth', _('The RADIUS server refuses.'), _('Check the password, the line and the MAC address.') ],
	AUTH_SECRET: [ 'auth', _('The answer of the RADIUS server is signed with another secret.'), _('Check the shared secret.') ],
	AUTH_FAILED: [ 'auth', _('The RADIUS exchange failed.'), _('The system log says why.') ],
	NO_IP6TNL: [ 'tunnel', _('The kernel has no IPv4-in-IPv6 tunnels.'), _('Install the package kmod-ip6-tunnel.') ],
	NO_IPV4_INTERFACE: [ 'tunnel', _('The interface of the tunnel cannot be made.'), _('Restart the network once after the package was installed, and delete an interface of that name.') ],
	TUNNEL: [ 'tunnel', _('The tunnel cannot be made.'), _('Check the three addresses, and that the package kmod-ip6-tunnel is installed.') ],
	APPLY: [ 'tunnel', _('The kernel refuses a part of the configuration.'), _('The system log says why.') ],
	PHONE_SILENT: [ '', _('The telephone network does not answer.'), _('Does the contract have Hikari Denwa? Disconnect other gateways from the line.') ],
	PHONE_REFUSED: [ '', _('The telephone network refuses an address.'), _('Another gateway may have it, or had it up to four hours ago.') ],
	PHONE_CONFLICT: [ '', _('Another device on the line has the telephone address.'), _('Disconnect the other gateway.') ],
	PHONE_SOCKET: [ '', _('The kernel refuses a socket for the telephone network.'), _('The system log says why.') ],
	PHONE_APPLY: [ '', _('The kernel refuses the telephone address or a route of it.'), _('The system log says why.') ],
	HGW_DEVICE: [ '', _('The port to the home gateway cannot be used.'), _('Choose a device that exists and is in no bridge.') ],
	HGW_NO_PREFIX: [ '', _('The prefix of the line has no room for the home gateway.'), _('The line has to delegate a /59 or a larger prefix.') ],
	HGW_FORWARD: [ '', _('The kernel cannot forward IPv4 to the home gateway.'), _('Install the package kmod-nft-netdev or kmod-sched-core.') ],
	HGW_SOCKET: [ '', _('Another DHCPv6 server runs on the port to the home gateway.'), _('Switch it off for that port.') ],
	HGW_APPLY: [ '', _('The kernel refuses a route to the home gateway.'), _('The system log says why.') ],
	UBUS: [ 'tunnel', _('The network service does not answer or refuses.'), _('Restart the network.') ],
	CONFIG: [ '', _('The configuration cannot work.'), _('Correct it, then reconnect the interface.') ],
	FAILED: [ '', _('sofu-proto ended and is started again.'), _('The system log says why.') ],
	NO_PROGRAM: [ '', _('sofu-proto cannot be run.'), _('Install the package that was built for this router.') ]
};

const octets = (value) => new TextEncoder().encode(value).length;

/* The address in the browser's own spelling, or null. URL takes what the program
 * takes: no zone, no white space, no leading zeros. */
function address6(text) {
	if (!/^[0-9a-fA-F:.]+$/.test(text))
		return null;
	try {
		return new URL('sofu://[%s]/'.format(text)).hostname.slice(1, -1);
	}
	catch (e) {
		return null;
	}
}

function unicast6(text) {
	const a = address6(text);
	return a != null && a != '::' && !/^ff..:/.test(a) && !/^::ffff:[0-9a-f]+:[0-9a-f]+$/.test(a);
}

function server(text) {
	const m = text.match(/^\[([^\]]*)\](?::(\d{1,5}))?$/);
	if (!m)
		return unicast6(text);
	return unicast6(m[1]) && (m[2] == null || (+m[2] > 0 && +m[2] < 65536));
}

function address4(text) {
	const parts = text.split('.');
	return parts.length == 4 &&
		parts.every((p) => /^(0|[1-9]\d{0,2})$/.test(p) && +p < 256) &&
		+parts[0] < 224 && parts.some((p) => +p > 0);
}

function interfaceId(text) {
	const four = text.split(':').length == 4 && !text.includes('::');
	const a = address6(four ? '::' + text : text);
	if (a == null || a == '::')
		return false;
	/* Spelled by the browser, an address whose upper half is zero begins with '::'. */
	return a.startsWith('::') && a.slice(2).split(':').length <= 4;
}

function mac(text) {
	const hex = text.replace(/[:.-]/g, '');
	return /^([0-9a-f]{12}|([0-9a-f]{4}\.){2}[0-9a-f]{4}|[0-9a-f]{2}([:-])[0-9a-f]{2}(\3[0-9a-f]{2}){4})$/i.test(text) &&
		!/^0+$/.test(hex) && (parseInt(hex.slice(0, 2), 16) & 1) == 0;
}

/* The kernel's rule for names; '@' begins an alias. */
function device(text) {
	return /^(?!@|\.{1,2}$)[\x21-\x2e\x30-\x39\x3b-\x7e]{1,15}$/.test(text);
}

function within(text, low, high) {
	return /^(0x[0-9a-fA-F]+|\d+)$/.test(text) && +text >= low && +text <= high;
}

function hexBytes(text, low, high) {
	const m = text.match(/^([0-9a-f]{2})((:[0-9a-f]{2})*|([0-9a-f]{2})*)$/i);
	const n = text.replace(/:/g, '').length / 2;
	return m != null && n >= low && n <= high;
}

/* What LuCI shows beside a value that is refused. */
const accepted = (what) => _('Accepted: %s').format(what);

/* check(accepts, what) is a validate function of LuCI's: an empty value is for LuCI to
 * judge, and white space around one does not count. */
const check = (accepts, what) => (section_id, value) =>
	value == null || value === '' || accepts(value.trim()) || accepted(what);

return baseclass.extend({
	errors: errors,

	/* The error in words: what the table says, and the program's own text. */
	explain(code, text) {
		const known = errors[code];
		return [ known ? known[1] : code, known ? known[2] : null, text ? '(' + text + ')' : null ]
			.filter((part) => part).join(' ');
	},

	/* What getErrors of a protocol returns, of pairs of code and text: the list of the
	 * interfaces breaks no line by itself. */
	sentences(list) {
		return list.length ? list.map((e) => E('span', { 'style': 'white-space: normal' }, [ this.explain(e[0], e[1]) ])) : null;
	},

	/* For a person, in the two largest units. null is for ever. */
	duration(seconds) {
		if (seconds == null)
			return _('for ever');
		const s = Math.max(0, Math.floor(seconds));
		if (s >= 86400)
			return _('%d d %d h').format(s / 86400, s % 86400 / 3600);
		if (s >= 3600)
			return _('%d h %d min').format(s / 3600, s % 3600 / 60);
		if (s >= 60)
			return _('%d min %d s').format(s / 60, s % 60);
		return _('%d s').format(s);
	},

	octets: octets,
	accepted: accepted,

	accept: {
		server: check(server, _('an IPv6 address like 2001:db8::1 or, with a port, [2001:db8::1]:1812')),
		address6: check(unicast6, _('an IPv6 address like 2001:db8::1')),
		address4: check(address4, _('an IPv4 address like 192.0.2.1')),
		interfaceId: check(interfaceId, _('an interface identifier like 1111:1111:1111:1111 or ::1')),
		device: check(device, _('a network device like lan4')),
		mac: check(mac, _('the MAC address of one device, like 00:00:5e:00:53:01')),
		hex: (low, high) => check((v) => hexBytes(v, low, high),
			_('%d to %d bytes as pairs of hexadecimal digits').format(low, high)),
		octets: (low, high) => check((v) => octets(v) >= low && octets(v) <= high,
			_('%d to %d bytes').format(low, high)),
		/* White space belongs to a secret, but is none alone. */
		secret: (low, high) => (section_id, value) => value === '' ||
			(value.trim() != '' && octets(value) >= low && octets(value) <= high) ||
			accepted(_('%d to %d bytes').format(low, high)),
		/* words are accepted besides the numbers. */
		number: (low, high, ...words) => check((v) => words.includes(v) || within(v, low, high),
			words.length ? _('%s, or %d to %d').format(words.join(', '), low, high) : _('%d to %d').format(low, high))
	}
});
