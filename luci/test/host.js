/* A page host that stands in for LuCI's: module loader, class, dom, ui, rpc, poll, uci,
 * form and network, as far as our pages use them, with the manners of LuCI that matter:
 * a string given as the only child is HTML, an option that is hidden or equals its
 * default is removed on saving. The test provides host.ubus(object, method, arguments)
 * and host.uci, and opens a page with host.view() or host.form(). */
(() => {
	'use strict';

	const host = window.host = { uci: {}, writable: true, catalogue: {}, notifications: [], tick: null };

	String.prototype.format = function(...args) {
		let i = 0;
		return this.replace(/%([sdh%])/g, (all, kind) => {
			if (kind == '%')
				return '%';
			const v = args[i++];
			if (kind == 'd')
				return Math.floor(+v || 0).toFixed(0);
			return kind == 's' ? String(v) : String(v).replace(/[&<>"']/g, (c) => '&#%d;'.format(c.charCodeAt(0)));
		});
	};

	window._ = (s) => host.catalogue[s] || s;

	const isObject = (v) => v != null && typeof v == 'object';
	const clone = (v) => v === undefined ? v : JSON.parse(JSON.stringify(v));
	const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

	/* Classes. */
	class Base {
		static extend(methods) {
			const parent = this;
			const made = class extends parent {
				constructor(...args) {
					super(...args);
					if (Object.hasOwn(methods, '__init__'))
						methods.__init__.apply(this, args);
				}
			};
			Object.assign(made.prototype, methods);
			return made;
		}
	}

	/* The DOM. */
	const dom = {
		elem: (v) => v instanceof Node,
		append(node, children) {
			if (Array.isArray(children))
				children.forEach((c) => c != null && node.appendChild(dom.elem(c) ? c : document.createTextNode(c)));
			else if (dom.elem(children))
				node.appendChild(children);
			else if (children != null)
				node.innerHTML = children;
		},
		content(node, children) {
			node.replaceChildren();
			dom.append(node, children);
		}
	};

	window.E = (tag, attributes, children) => {
		if (Array.isArray(attributes) || !isObject(attributes) || dom.elem(attributes))
			[ attributes, children ] = [ {}, attributes ];
		const node = document.createElement(tag);
		for (const [ name, value ] of Object.entries(attributes)) {
			if (typeof value == 'function')
				node.addEventListener(name, value);
			else if (value != null)
				node.setAttribute(name, value);
		}
		dom.append(node, children);
		return node;
	};

	const L = window.L = {
		isObject: isObject,
		toArray: (v) => v == null ? [] : Array.isArray(v) ? v : isObject(v) ? [ v ] : String(v).trim().split(/\s+/).filter((x) => x),
		resource: (...parts) => [ '/luci-static/resources', ...parts ].join('/'),
		url: (...parts) => [ '/cgi-bin/luci', ...parts ].join('/'),
		hasViewPermission: () => host.writable
	};

	const ui = {
		createHandlerFn: (self, f, ...bound) => function(ev) {
			const button = ev.currentTarget;
			button.disabled = true;
			button.classList.add('spinning');
			return Promise.resolve((typeof f == 'string' ? self[f] : f).call(self, ...bound, ev)).finally(() => {
				button.disabled = false;
				button.classList.remove('spinning');
			});
		},
		addNotification(title, children, ...classes) {
			const node = E('div', { 'class': [ 'alert-message', ...classes ].join(' '), 'role': 'alert' });
			if (title)
				dom.append(node, E('h4', [ title ]));
			dom.append(node, children);
			document.querySelector('#notifications').append(node);
		}
	};

	const poll = {
		add: (f) => {
			host.tick = f;
		}
	};

	/* A method that is refused or fails gives the empty value of what is expected. */
	const rpc = {
		declare: (options) => (...args) => {
			const named = {};
			(options.params || []).forEach((name, i) => {
				if (args[i] !== undefined)
					named[name] = args[i];
			});
			const [ key, empty ] = Object.entries(options.expect || { '': {} })[0];
			return host.ubus(options.object, options.method, named).then((reply) => {
				if (reply === null) {
					if (options.reject)
						throw new Error('RPC call to %s/%s failed with error -32002: Access denied'.format(options.object, options.method));
					return empty;
				}
				const v = key == '' ? reply : reply[key];
				return v === undefined ? empty : v;
			});
		}
	};

	const uci = {
		get: (file, section, option) => clone(((host.uci[file] || {})[section] || {})[option]),
		set: (file, section, option, value) => {
			host.uci[file][section][option] = clone(value);
		},
		unset: (file, section, option) => {
			delete host.uci[file][section][option];
		}
	};

	/* Forms. An option's value lives in its widget: get, set, and the events input and
	 * change of its node. */
	const widgets = {
		text(o, value, valid) {
			const input = E('input', { 'type': o.password ? 'password' : 'text', 'placeholder': o.placeholder });
			input.value = value ?? '';
			const reveal = o.password && E('button', { 'class': 'btn reveal', 'title': 'Reveal/hide password', 'click': (ev) => {
				ev.preventDefault();
				input.type = input.type == 'password' ? 'text' : 'password';
			} }, '∗');
			valid(input, () => input.value);
			return { node: E('div', [ input, reveal || null ]), get: () => input.value, input: input };
		},
		select(o, value, valid) {
			const select = E('select', o.keys.map((k, i) => E('option', { 'value': k, 'selected': k === (value ?? '') ? '' : null }, [ o.labels[i] ])));
			valid(select, () => select.value);
			return { node: E('div', [ select ]), get: () => select.value, input: select };
		},
		checkbox(o, value) {
			const box = E('input', { 'type': 'checkbox' });
			box.checked = (value ?? o.default) == o.enabled;
			return { node: E('div', [ box ]), get: () => box.checked ? o.enabled : o.disabled, input: box };
		},
		list(o, value, valid) {
			const items = E('span');
			const input = E('input', { 'type': 'text', 'placeholder': o.placeholder });
			const changed = () => input.dispatchEvent(new Event('change', { bubbles: true }));
			const addItem = (text) => items.append(E('span', { 'class': 'item', 'data-value': text, 'click': (ev) => {
				ev.currentTarget.remove();
				changed();
			} }, [ text ]));
			L.toArray(value).forEach(addItem);
			const valueOf = () => [ ...items.children ].map((n) => n.dataset.value);
			/* What was found wrong in typing is not added; the list must not be empty. */
			const judge = valid(input, () => input.value, () => valueOf().length > 0);
			const take = () => {
				if (input.value == '' || o.error)
					return;
				addItem(input.value);
				input.value = '';
				judge();
				changed();
			};
			const button = E('button', { 'class': 'btn', 'click': (ev) => {
				ev.preventDefault();
				take();
			} }, '+');
			input.addEventListener('keydown', (ev) => ev.key == 'Enter' && take());
			return { node: E('div', { 'class': 'list' }, [ items, input, button ]), get: () => valueOf().length ? valueOf() : null, input: input };
		}
	};

	class Option {
		constructor(section, name, title, description) {
			Object.assign(this, { section: section, map: section.map, option: name, title: title, description: description, deps: [], rmempty: true });
		}
		value(key, label) {
			(this.keys ??= []).push(String(key));
			(this.labels ??= []).push(label ?? key);
		}
		depends(name, value) {
			this.deps.push(isObject(name) ? name : { [name]: value });
		}
		load(section_id) {
			return uci.get('network', section_id, this.option);
		}
		cfgvalue() {
			return this.configured;
		}
		formvalue() {
			return this.widget ? this.widget.get() : null;
		}
		validate() {
			return true;
		}
		isActive() {
			return !this.frame.hidden;
		}
		getUIElement() {
			const { node, input } = this.widget;
			return { node: node, setPlaceholder: (text) => text ? input.setAttribute('placeholder', text) : input.removeAttribute('placeholder') };
		}
		triggerValidation() {
			if (this.judge)
				this.judge();
		}
		satisfied() {
			return this.deps.length == 0 || this.deps.some((d) =>
				Object.entries(d).every(([ name, value ]) => String(this.section.formvalue(this.section.id, name)) == value));
		}
		async render() {
			this.configured = await this.load(this.section.id);
			const message = E('div', { 'class': 'cbi-value-error' });
			/* valid(input, value, filled): value is judged as it is typed. */
			const valid = (input, value, filled) => {
				const judge = this.judge = () => {
					const v = value();
					let verdict = v === '' && !this.rmempty && !(this.keys || []).includes('') && !(filled && filled()) ? 'Expecting: non-empty value' : true;
					if (verdict === true)
						verdict = this.validate(this.section.id, v);
					this.error = verdict === true ? null : String(verdict);
					message.textContent = this.error ?? '';
					input.classList.toggle('cbi-input-invalid', this.error != null);
					return verdict;
				};
				[ 'keyup', 'blur', 'change' ].forEach((event) => input.addEventListener(event, judge));
				return judge;
			};
			this.widget = widgets[this.kind](this, this.configured ?? (this.kind == 'checkbox' ? null : this.default), valid);
			let before = this.formvalue();
			this.widget.node.addEventListener('change', (ev) => {
				const now = this.formvalue();
				if (this.onchange && !same(before, now))
					this.onchange(ev, this.section.id, now);
				before = now;
				this.map.show();
			});
			if (this.judge)
				setTimeout(this.judge);
			this.frame = E('div', { 'class': 'cbi-value', 'data-name': this.option }, [
				E('label', { 'class': 'cbi-value-title' }, this.title),
				E('div', { 'class': 'cbi-value-field' }, [ this.widget.node, message,
					this.description ? E('div', { 'class': 'cbi-value-description' }, this.description) : null ])
			]);
			return this.frame;
		}
		async parse() {
			if (!this.isActive())
				return this.remove(this.section.id);
			if (this.judge)
				this.judge();
			if (this.error)
				throw new Error('Option "%s" contains an invalid input value. %s'.format(this.title, this.error));
			const v = this.formvalue();
			if (v == null || v == '' || (v == this.default && this.rmempty)) {
				if (!this.rmempty)
					throw new Error('Option "%s" must not be empty.'.format(this.title));
				return this.remove(this.section.id);
			}
			if (!same(v, this.configured))
				return this.write(this.section.id, v);
		}
		write(section_id, value) {
			uci.set('network', section_id, this.option, value);
		}
		remove(section_id) {
			uci.unset('network', section_id, this.option);
		}
	}

	const kind = (name, more) => class extends Option {
		constructor(...args) {
			super(...args);
			Object.assign(this, { kind: name }, more);
		}
	};

	const form = {
		Value: kind('text'),
		ListValue: kind('select'),
		DynamicList: kind('list'),
		Flag: kind('checkbox', { enabled: '1', disabled: '0', default: '0' })
	};

	/* Of the device picker, what is typed for a device that is not there yet. */
	const Widgets = Base.extend({ DeviceSelect: kind('text') });

	class Section {
		constructor(id) {
			Object.assign(this, { id: id, map: this, children: [] });
		}
		taboption(tab, Type, ...args) {
			const o = new Type(this, ...args);
			o.tab = tab;
			this.children.push(o);
			return o;
		}
		formvalue(section_id, name) {
			const o = this.children.find((c) => c.option == name);
			return o ? o.formvalue(section_id) : null;
		}
		show() {
			/* What is hidden may hide more. */
			for (let i = 0; i < 3; i++)
				this.children.forEach((o) => {
					o.frame.hidden = !o.satisfied();
				});
		}
		async render() {
			const pages = {};
			for (const o of this.children)
				(pages[o.tab] ??= E('fieldset', { 'data-tab': o.tab }, [ E('legend', [ o.tab ]) ])).append(await o.render());
			this.show();
			return Object.values(pages);
		}
		async save() {
			for (const o of this.children)
				await o.parse();
		}
	}

	/* The network: interfaces are what netifd's dump says of them. */
	const protocols = {};
	const errorCodes = { NO_DEVICE: 'Network device is not present' };

	const Protocol = Base.extend({
		__init__: function(name) {
			this.sid = name;
		},
		_ubus: function(key) {
			return (host.dump.find((i) => i.interface == this.sid) || {})[key];
		},
		get: function(option) {
			return uci.get('network', this.sid, option);
		},
		isUp: function() {
			return this._ubus('up') == true;
		},
		isDynamic: function() {
			return this._ubus('dynamic') == true;
		},
		isVirtual: () => false,
		getL3Device: function() {
			return this._ubus('l3_device') ? network.instantiateDevice(this._ubus('l3_device')) : null;
		}
	});

	const network = {
		registerProtocol: (name, methods) => protocols[name] = Protocol.extend(Object.assign({}, methods, { getProtocol: () => name })),
		getProtocol: (name, sid) => new protocols[name](sid),
		registerErrorCode: (code, message) => !Object.hasOwn(errorCodes, code) && !!(errorCodes[code] = message),
		registerPatternVirtual: () => {},
		getIfnameOf: (v) => v,
		instantiateDevice: (name) => ({ getMTU: () => (host.devices || {})[name] || null })
	};
	host.errorCodes = errorCodes;
	host.interface = network.getProtocol;

	const View = Base.extend({});

	/* Modules: the directives 'require NAME as VARIABLE' in front name what is needed. */
	const modules = {
		baseclass: Promise.resolve(Base), view: Promise.resolve(View), dom: Promise.resolve(dom), ui: Promise.resolve(ui),
		poll: Promise.resolve(poll), rpc: Promise.resolve(rpc), uci: Promise.resolve(uci), form: Promise.resolve(form),
		network: Promise.resolve(network), 'tools.widgets': Promise.resolve(new Widgets())
	};

	function load(name) {
		return modules[name] ??= (async () => {
			const source = await (await fetch(L.resource(name.replaceAll('.', '/') + '.js'))).text();
			const names = [], needs = [];
			const directive = /\s*'(?:use strict|require (\S+?)(?: as (\w+))?)';/y;
			for (let m; (m = directive.exec(source)) != null;) {
				if (m[1]) {
					names.push(m[2] || m[1].replace(/\W/g, '_'));
					needs.push(load(m[1]));
				}
			}
			const factory = new Function('window', 'document', 'L', ...names, source);
			return new (factory(window, document, L, ...(await Promise.all(needs))))();
		})();
	}

	/* host.form(PROTO, SECTION): the dialogue of an interface, as the page of the
	 * interfaces makes it. */
	host.form = async (proto, id) => {
		await load('protocol.' + proto);
		const s = host.section = new Section(id);
		let o = s.taboption('general', form.ListValue, 'proto', 'Protocol');
		o.value(proto, host.interface(proto, '__dummy__').getI18n());
		o.value('dhcp', 'DHCP client');
		if (!host.interface(proto, id).isVirtual()) {
			o = s.taboption('general', form.Value, 'device', 'Device');
			o.rmempty = false;
		}
		host.interface(proto, id).renderFormOptions(s);
		o = s.taboption('advanced', form.Flag, 'defaultroute', 'Use default gateway');
		o.default = '1';
		s.taboption('advanced', form.Value, 'metric', 'Use gateway metric');
		s.taboption('advanced', form.Value, 'ip4table', 'Override IPv4 routing table');
		s.taboption('advanced', form.Value, 'ip6ifaceid', 'IPv6 suffix');
		s.children.forEach((c) => {
			if (c.option == 'proto')
				return;
			if (c.deps.length)
				c.deps.forEach((d) => {
					d.proto = proto;
				});
			else
				c.depends('proto', proto);
		});
		document.querySelector('#view').replaceChildren(E('h3', [ 'Interfaces » ' + id ]), ...(await s.render()));
	};

	host.save = () => host.section.save().then(() => null, (e) => e.message);

	/* host.view(NAME): a page of its own; host.tick() is one round of polling. */
	host.view = async (name) => {
		const view = await load('view.' + name);
		dom.content(document.querySelector('#view'), await view.render(view.load ? await view.load() : null));
	};

	host.load = load;
})();
