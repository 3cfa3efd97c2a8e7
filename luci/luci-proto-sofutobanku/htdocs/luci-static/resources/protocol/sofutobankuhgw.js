'use strict';
'require network';
'require tools.sofutobanku as sofu';

/* The port to a home gateway, which the daemon of a line makes. */
return network.registerProtocol('sofutobankuhgw', {
	getI18n: function() {
		return this.isDynamic() && /_hgw$/.test(this.sid) ? _('Home gateway of %s').format(this.sid.slice(0, -4)) :
			_('SoftBank Hikari, the port to a home gateway (made by the line)');
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

	renderFormOptions: function() {}
});
