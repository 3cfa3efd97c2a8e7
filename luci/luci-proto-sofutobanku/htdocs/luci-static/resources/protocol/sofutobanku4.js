'use strict';
'require form';
'require network';
'require tools.sofutobanku as sofu';

network.registerPatternVirtual(/^sofu-.+$/);

/* The tunnel alone: of a line, made by its daemon, or by hand. */
return network.registerProtocol('sofutobanku4', {
	getI18n: function() {
		const parent = this.isDynamic() && /_4$/.test(this.sid) ? network.getProtocol('sofutobanku', this.sid.slice(0, -2)) : null;
		const far = parent ? (parent._ubus('data') || {}).br : this.get('remote');
		const device = this.isUp() ? this.getL3Device() : null;
		return [
			parent ? _('IPv4-in-IPv6 tunnel of %s').format(parent.sid) : _('SoftBank Hikari, the tunnel alone'),
			device && far ? _('BR %s').format(far) : null,
			device && device.getMTU() ? _('MTU %s').format(device.getMTU()) : null
		].filter((part) => part).join(', ');
	},

	getErrors: function() {
		return sofu.sentences((this._ubus('errors') || []).map((e) => [ e.code, (e.data || [])[0] ]));
	},

	getPackageName: function() {
		return 'sofu-proto';
	},

	getOpkgPackage: function() {
		return this.getPackageName();
	},

	isFloating: function() {
		return true;
	},

	isVirtual: function() {
		return true;
	},

	containsDevice: function(ifname) {
		return network.getIfnameOf(ifname) == this._ubus('l3_device');
	},

	renderFormOptions: function(s) {
		const text = (tab, name, title, description, validate, placeholder) => {
			const o = s.taboption(tab, form.Value, name, title, description);
			o.validate = validate;
			o.placeholder = placeholder;
			return o;
		};
		/* Its handler is a shell script, which takes no 0x. */
		const decimal = (validate) => (section_id, value) => validate(section_id, /^0x/.test(value) ? 'hex' : value);

		text('general', 'local', _('Local IPv6 address'), _('This end of the tunnel.'),
			sofu.accept.address6, '2001:db8:1234:5600:1111:1111:1111:1111').rmempty = false;
		text('general', 'remote', _('Remote IPv6 address'), _('The far end of the tunnel, the BR.'),
			sofu.accept.address6, '2001:db8::1919').rmempty = false;
		text('general', 'ipaddr', _('IPv4 address'), _('The one of the line.'),
			sofu.accept.address4, '192.0.2.1').rmempty = false;
		text('advanced', 'mtu', _('MTU of the tunnel'), null, decimal(sofu.accept.number(576, 9000)), '1460');
		text('advanced', 'ttl', _('Hop limit of the tunnel'), null, decimal(sofu.accept.number(1, 255)), '64');
		text('advanced', 'encaplimit', _('Encapsulation limit'),
			_('Of the tunnel. Some far ends drop packets that carry one.'),
			decimal(sofu.accept.number(0, 255, 'ignore')), 'ignore');
	}
});
