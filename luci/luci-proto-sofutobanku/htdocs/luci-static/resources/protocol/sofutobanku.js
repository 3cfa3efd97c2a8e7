'use strict';
'require form';
'require network';
'require uci';
'require tools.widgets as widgets';
'require tools.sofutobanku as sofu';

const PROTO = 'sofutobanku';

Object.keys(sofu.errors).forEach((code) => network.registerErrorCode(code, sofu.explain(code)));

/* What the type of the line sets, and an option of its own would replace. */
const profiles = {
	next: {
		iid: '1111:1111:1111:1111', auth_iid: '1111:1111:1111:1111',
		manufacturer: 'foxconn', model: 'e-wmta2.3,V5.0.0.1.rc35', hwrev: 'hw_rev_2.00', chap_ident: '1'
	},
	cross: {
		iid: 'ipv4', auth_iid: '1111:1111:1111:1111',
		manufacturer: 'NTT-AT', model: 'BAPP', hwrev: 'hw_rev_1.00', chap_ident: '0'
	}
};

/* What of a request fits into one attribute together. */
const MAX_PACKED = 241;
const MAC_OCTETS = 17;

const MAX_SERVERS = 8;

/* A lifetime beyond this is netifd's word for one without end. */
const FOR_EVER = 1e9;

const lineNames = { next: 'NEXT', cross: 'CROSS' };

/* An untouched form leaves the configuration as it is: what is set stays set though
 * it equals a default, and so does what is hidden, unless the protocol is another
 * one now. */
function keep(o) {
	const remove = o.remove;
	o.remove = function(section_id) {
		const ours = this.section.formvalue(section_id, 'proto') == PROTO;
		const same = this.isActive(section_id) && this.formvalue(section_id) === this.cfgvalue(section_id);
		if (!ours || (this.isActive(section_id) && !same))
			return remove.call(this, section_id);
	};
	return o;
}

return network.registerProtocol(PROTO, {
	/* In the list of interfaces also what the list does not show by itself. */
	getI18n: function() {
		const title = _('SoftBank Hikari (IPv4 over IPv6)');
		const data = this._ubus('data') || {};
		if (!this.isUp() || data.line == null)
			return title;
		const lease = (this._ubus('ipv6-prefix') || [])[0] || (this._ubus('ipv6-address') || [])[0];
		return title + ': ' + [
			lineNames[data.line] || data.line,
			data.ipv4,
			lease && lease.valid < FOR_EVER ? _('lease: %s left').format(sofu.duration(lease.valid)) : null
		].filter((part) => part).join(', ');
	},

	/* netifd lists what is wrong before the link is up, data.error what is wrong
	 * since. */
	getErrors: function() {
		const errors = (this._ubus('errors') || []).map((e) => [ e.code, (e.data || [])[0] ]);
		const since = (this._ubus('data') || {}).error;
		if (since && since.code && !errors.some((e) => e[0] == since.code))
			errors.push([ since.code, since.text ]);
		return sofu.sentences(errors);
	},

	getPackageName: function() {
		return 'sofu-proto';
	},

	getOpkgPackage: function() {
		return this.getPackageName();
	},

	renderFormOptions: function(s) {
		const own = _('Read it off your own BB unit; it does not come with this package.');
		const option = (section_id, name) => uci.get('network', section_id, name);
		const followers = [];
		let group = null;
		let o;

		/* The options that LuCI has for every protocol are not here: device,
		 * defaultroute, metric, ip4table, ip6ifaceid. */
		const add = (tab, type, name, title, description) => {
			o = keep(s.taboption(tab, type, name, title, description));
			if (group) {
				o.depends(group.option, '1');
				group.members.push(name);
			}
			return o;
		};
		const secret = (name, title, most) => {
			add('general', form.Value, name, title, own);
			o.password = true;
			o.rmempty = false;
			o.validate = sofu.accept.secret(1, most);
		};
		const text = (name, title, description, validate, placeholder) => {
			add('advanced', form.Value, name, title, description);
			if (validate)
				o.validate = validate;
			o.placeholder = placeholder;
		};
		/* Takes what the handler takes for yes and no. */
		const flag = (name, title, description, enabled) => {
			add('advanced', form.Flag, name, title, description);
			o.default = enabled ? o.enabled : o.disabled;
			o.load = (section_id) => {
				const v = option(section_id, name);
				return /^(on|yes|true|enabled)$/.test(v) ? '1' : /^(off|no|false|disabled)$/.test(v) ? '0' : v;
			};
		};
		/* The line's own value is the placeholder, also when the line is changed. */
		const follow = (name, title, description, validate) => {
			text(name, title, description, validate);
			o.load = function(section_id) {
				this.placeholder = (profiles[option(section_id, 'line')] || {})[name];
				return option(section_id, name);
			};
			followers.push(o);
		};
		/* What follows is shown when it is wanted, or set already. */
		const begin = (name, title, description) => {
			group = s.taboption('advanced', form.Flag, name, title, description);
			const members = group.members = [];
			group.load = (section_id) => members.some((m) => option(section_id, m) != null) ? '1' : '0';
			group.write = group.remove = () => {};
		};

		add('general', form.ListValue, 'line', _('Line'),
			_('As the contract says. It sets what the RADIUS request holds.'));
		o.value('', _('-- choose your line --'));
		o.value('next', _('NEXT, 1 Gbit/s'));
		o.value('cross', _('CROSS, 10 Gbit/s'));
		o.rmempty = false;
		o.validate = (section_id, value) => value != '' || sofu.accepted(_('the line of the contract'));
		o.onchange = (ev, section_id, value) => followers.forEach((f) => {
			const element = f.getUIElement(section_id);
			if (element) {
				element.setPlaceholder((profiles[value] || {})[f.option]);
				f.triggerValidation(section_id);
			}
		});

		add('general', form.DynamicList, 'auth_server', _('RADIUS server'),
			_('An IPv6 address, or [address]:port for another port than 1812.') + ' ' + own);
		o.rmempty = false;
		o.placeholder = '2001:db8::1';
		o.load = (section_id) => {
			const v = option(section_id, 'auth_server');
			return v == null ? v : L.toArray(v);
		};
		o.validate = function(section_id, value) {
			if (value && L.toArray(this.formvalue(section_id)).length >= MAX_SERVERS)
				return sofu.accepted(_('at most %d servers').format(MAX_SERVERS));
			return sofu.accept.server(section_id, value);
		};
		/* What is pasted gets into LuCI's list without having been judged, and a dialogue
		 * that is refused does not say why. */
		const parse = o.parse;
		o.parse = function(section_id) {
			const list = this.isActive(section_id) ? L.toArray(this.formvalue(section_id)) : [];
			const bad = list.find((v) => sofu.accept.server(section_id, v) !== true);
			const wrong = bad != null ? '%s: %s'.format(bad, sofu.accept.server(section_id, bad)) :
				list.length > MAX_SERVERS ? sofu.accepted(_('at most %d servers').format(MAX_SERVERS)) : '';
			const field = this.getUIElement(section_id).node.parentNode;
			const note = field.querySelector('.sofu-wrong') ||
				field.appendChild(E('div', { 'class': 'sofu-wrong', 'style': 'color: #dc3c3c', 'role': 'alert' }));
			note.textContent = wrong;
			return wrong ? Promise.reject(new TypeError(this.title + ': ' + wrong)) : parse.call(this, section_id);
		};

		secret('shared_secret', _('Shared secret'), 128);
		secret('password', _('Password'), 253);

		text('reqprefix', _('Prefix to ask for'),
			_('"auto" takes what the line gives, "no" asks for none and takes an advertised /64.'),
			sofu.accept.number(48, 64, 'auto', 'no'), 'auto');
		flag('extendprefix', _('Extend the prefix to the LAN'),
			_('Hands on the /64 of a line without prefix delegation, which is one without Hikari Denwa.'));
		flag('norelease', _('Keep the prefix'),
			_('The line may not give it again for long after it was released.'), true);
		flag('peerdns', _('Use the DNS servers of the line'), null, true);
		flag('sourcefilter', _('IPv6 source routing'),
			_('Routes only for packets whose source address the line gave.'), true);

		text('mtu', _('MTU of the tunnel'), _('In bytes; without it, the MTU of the WAN less 40.'),
			sofu.accept.number(576, 9000), _('automatic'));
		text('ttl', _('Hop limit of the tunnel'), null, sofu.accept.number(1, 255), '64');
		text('encaplimit', _('Encapsulation limit'),
			_('Of the tunnel. Some far ends drop packets that carry one.'),
			sofu.accept.number(0, 255, 'ignore'), 'ignore');
		text('echo_target', _('Host for the echo through the tunnel'),
			_('An IPv4 address. Its answer proves the tunnel.'), sofu.accept.address4, _('a host of the carrier'));
		text('zone', _('Firewall zone of the tunnel'), null, null, _('the zone of this interface'));
		text('auth_interval', _('Ask RADIUS again after'),
			_('Seconds, 60 to 31536000; 0 is never.'), sofu.accept.number(60, 31536000, '0'), '86400');

		add('advanced', form.ListValue, 'phone', _('Telephone network'),
			_('Where the router takes an address for a telephone of its own, as Asterisk is one.'));
		o.value('auto', _('when the line tells a telephone number'));
		o.value('1', _('always'));
		o.value('0', _('never'));
		o.default = 'auto';
		o.validate = (section_id, value) => value != '1' || !s.formvalue(section_id, 'hgw_device') ||
			sofu.accepted(_('the default or "never" beside a home gateway, which has the telephone line itself'));
		const phone = o;
		text('phone_dscp', _('DSCP of the telephone'), _('Only told to the telephone.'), sofu.accept.number(0, 63), '32');

		add('advanced', widgets.DeviceSelect, 'hgw_device', _('Port to a home gateway'),
			_('The home gateway keeps its place behind this router, and the telephone line with it. The port must be in no bridge.'));
		o.noaliases = true;
		o.nobridges = true;
		o.validate = (section_id, value) => sofu.accept.device(section_id, value) !== true ? sofu.accept.device(section_id, value) :
			!value || value != s.formvalue(section_id, 'device') || sofu.accepted(_('another device than that of the line'));
		o.onchange = (ev, section_id) => phone.triggerValidation(section_id);
		text('hgw_mac', _('MAC address of the home gateway'), _('Learned from the home gateway if it is not set.'), sofu.accept.mac, _('automatic'));
		text('hgw_zone', _('Firewall zone of the home gateway'), null, null, 'lan');

		begin('_dhcpv6', _('Change what DHCPv6 sends'));
		text('clientid', _('DHCPv6 client identifier'),
			_('The DUID in hex. The line gives no prefix to another kind than DUID-LL.'),
			sofu.accept.hex(3, 130), _('DUID-LL of the MAC address'));
		text('iaid', _('DHCPv6 identity association'), null, sofu.accept.number(0, 4294967295), '1');
		flag('unauth_reconfigure', _('Obey an unauthenticated Reconfigure'),
			_('Against RFC 8415. It can cause a renewal and nothing else.'));
		flag('solicit_vendor_class', _('Vendor class in Solicit'), _('As in the other DHCPv6 messages.'));
		flag('strict_rfc', _('Wait as the RFCs say'),
			_('Every delay that the RFCs want, also where this line does not need it.'));

		begin('_radius', _('Change what RADIUS sends'),
			_('The type of the line sets all of it. Change it only if your own BB unit does otherwise.'));
		text('mac', _('MAC address in the request'),
			_('Without it: on NEXT the one of the telephone terminal as DHCPv6 told it, else the one of the device.'),
			sofu.accept.mac, _('automatic'));
		add('advanced', form.ListValue, 'mac_format', _('Form of the MAC address'));
		o.value('', _('as the line sets it: %s').format('00:00:5e:00:53:0a'));
		o.value('lower-colon', '00:00:5e:00:53:0a');
		o.value('upper-colon', '00:00:5E:00:53:0A');
		o.value('lower-hyphen', '00-00-5e-00-53-0a');
		o.value('upper-hyphen', '00-00-5E-00-53-0A');
		o.value('lower-plain', '00005e00530a');
		o.value('upper-plain', '00005E00530A');
		text('username', _('User name'), _('Sent as it is.'), sofu.accept.octets(1, 253), _('made from the prefix'));
		follow('iid', _('Interface identifier of the tunnel'),
			_('Lower half of its local address. On CROSS also "ipv4": made from the IPv4 address that is granted.'),
			(section_id, value) => value == null || value.trim() != 'ipv4' ? sofu.accept.interfaceId(section_id, value) :
				s.formvalue(section_id, 'line') == 'cross' ||
				sofu.accepted(_('an interface identifier like 1111:1111:1111:1111; "ipv4" is for CROSS only, as on NEXT the address is asked for by it')));
		follow('auth_iid', _('Interface identifier of the RADIUS client'),
			_('Lower half of the address from which the server is asked; without it, that of the tunnel if it is set.'), sofu.accept.interfaceId);
		follow('manufacturer', _('Manufacturer'), null, sofu.accept.octets(1, 247));
		follow('model', _('Model'), null, sofu.accept.octets(1, 247));
		follow('hwrev', _('Hardware revision'), null, sofu.accept.octets(1, 247));
		add('advanced', form.ListValue, 'vsa_packing', _('Packing of the vendor attributes'));
		o.value('', _('as the line sets it: separate on NEXT, single on CROSS'));
		o.value('separate', _('separate: one attribute for each'));
		o.value('single', _('single: one attribute for all'));
		o.validate = (section_id, value) => {
			const line = s.formvalue(section_id, 'line');
			const n = [ 'manufacturer', 'model', 'hwrev' ].reduce((sum, name) =>
				sum + sofu.octets(s.formvalue(section_id, name) || (profiles[line] || {})[name] || ''), MAC_OCTETS);
			return n <= MAX_PACKED || (value || (line == 'cross' ? 'single' : 'separate')) != 'single' ||
				sofu.accepted(_('separate, as MAC address, manufacturer, model and hardware revision are %d bytes, and %d fit into a single one').format(n, MAX_PACKED));
		};
		follow('chap_ident', _('CHAP identifier'), null, sofu.accept.number(0, 255));
		flag('require_message_authenticator', _('Require Message-Authenticator'),
			_('Drops replies of the server without it (RFC 3579).'));
		flag('send_message_authenticator', _('Send Message-Authenticator'), _('In each request (RFC 3579).'));
	}
});
