'use strict';
'require view';
'require dom';
'require poll';
'require rpc';
'require ui';
'require tools.sofutobanku as sofu';

const callDump = rpc.declare({
	object: 'network.interface',
	method: 'dump',
	expect: { interface: [] }
});

const callStatus = rpc.declare({
	object: 'luci.sofutobanku',
	method: 'status',
	params: [ 'interface' ],
	expect: { '': {} }
});

const call = (method) => rpc.declare({
	object: 'luci.sofutobanku',
	method: method,
	params: [ 'interface' ],
	expect: { '': {} },
	reject: true
});
const actions = { renew: call('renew'), reconnect: call('reconnect'), check: call('check'), report: call('report') };

const INTERVAL = 3;

/* What a state is called, and its sign, so that nobody needs to see colours. */
const states = {
	ok: [ '✓', _('in order') ],
	warn: [ '!', _('worth a look') ],
	fail: [ '✕', _('failed') ],
	busy: [ '…', _('under way') ],
	wait: [ '·', _('waits') ],
	skip: [ '–', _('skipped') ]
};

const phases = {
	down: [ 'fail', _('No link') ],
	starting: [ 'busy', _('Connecting') ],
	ipv6: [ 'warn', _('IPv6 only') ],
	up: [ 'ok', _('Connected') ]
};

/* Each step with the events that tell of it, newest last. */
const steps = [
	[ 'link', _('Link'), [ 'link-up', 'link-down' ] ],
	[ 'ra', _('Router'), [ 'router-advertisement' ] ],
	[ 'lease', _('Lease'), [ 'reply' ] ],
	[ 'auth', _('RADIUS'), [ 'access-accept', 'access-reject', 'access-failed' ] ],
	[ 'tunnel', _('Tunnel'), [ 'tunnel-up', 'tunnel-moved', 'tunnel-down' ] ]
];

/* The events in words, and what they are: sent, received (ok), or bad news (fail). */
const moments = {
	'link-up': [ 'ok', _('The link is up') ],
	'link-down': [ 'fail', _('The link is down') ],
	'link-local': [ 'ok', _('The link-local address is usable') ],
	'router-solicitation': [ 'wait', _('Asks for a router') ],
	'router-advertisement': [ 'ok', _('A router advertises itself') ],
	'solicit': [ 'wait', _('Asks for a prefix') ],
	'advertise': [ 'ok', _('A DHCPv6 server offers a prefix') ],
	'request': [ 'wait', _('Requests the prefix') ],
	'renew': [ 'wait', _('Asks to renew the lease') ],
	'rebind': [ 'wait', _('Asks any server to extend the lease') ],
	'release': [ 'wait', _('Gives the prefix back') ],
	'information-request': [ 'wait', _('Asks for information only') ],
	'reply': [ 'ok', _('The DHCPv6 server replies') ],
	'reconfigure': [ 'ok', _('The DHCPv6 server wants a renewal') ],
	'expired': [ 'fail', _('The lease has ended') ],
	'access-request': [ 'wait', _('Asks RADIUS') ],
	'access-accept': [ 'ok', _('RADIUS grants an IPv4 address') ],
	'access-reject': [ 'fail', _('RADIUS refuses') ],
	'access-challenge': [ 'fail', _('RADIUS wants more') ],
	'access-failed': [ 'fail', _('RADIUS did not grant') ],
	'tunnel-up': [ 'ok', _('The tunnel is up') ],
	'tunnel-moved': [ 'ok', _('The tunnel has moved') ],
	'tunnel-down': [ 'fail', _('The tunnel is down') ],
	'echo-request': [ 'wait', _('Asks for an echo through the tunnel') ],
	'echo-reply': [ 'ok', _('The echo came back through the tunnel') ],
	'echo-failed': [ 'fail', _('No echo came back through the tunnel') ],
	'dhcp4-discover': [ 'wait', _('Asks for an address in the telephone network') ],
	'dhcp4-request': [ 'wait', _('Requests the telephone address') ],
	'dhcp4-reboot': [ 'wait', _('Asks for the telephone address of before') ],
	'dhcp4-renew': [ 'wait', _('Asks to renew the telephone address') ],
	'dhcp4-rebind': [ 'wait', _('Asks any server to extend the telephone address') ],
	'dhcp4-offer': [ 'ok', _('The telephone network offers an address') ],
	'dhcp4-ack': [ 'ok', _('The telephone network grants an address') ],
	'dhcp4-nak': [ 'fail', _('The telephone network refuses the address') ],
	'dhcp4-decline': [ 'fail', _('The telephone address is taken by another device') ],
	'dhcp4-expired': [ 'fail', _('The telephone address has ended') ],
	'phone-up': [ 'ok', _('The telephone network is joined') ],
	'phone-down': [ 'fail', _('The telephone network is left') ],
	'phone-error': [ 'fail', _('Error of the telephone network') ],
	'hgw-up': [ 'ok', _('The home gateway has a prefix') ],
	'hgw-down': [ 'fail', _('The home gateway has no prefix any more') ],
	'hgw-error': [ 'fail', _('Error of the home gateway') ],
	'error': [ 'fail', _('Error') ]
};

/* Everything below that came from the network is a child in a list, never a child
 * alone: E() takes that for HTML. */

/* fill leaves the page alone where nothing changed, and with it what has the focus. */
function fill(node, children) {
	const next = E('div', {}, children);
	if (next.innerHTML != node.innerHTML)
		dom.content(node, Array.from(next.childNodes));
}

const sign = (state) => E('span', { 'class': 'sofu-sign', 'title': states[state][1], 'aria-label': states[state][1], 'role': 'img' }, [ states[state][0] ]);

const ago = (doc, event) => doc.ms == null ? null : _('%s ago').format(sofu.duration((doc.ms - event.ms) / 1000));

/* After the link came up: the first seconds are what one wants to see finely. */
const after = (ms) => ms < 10000 ? '+%s ms'.format(ms.toFixed(1)) : '+%s'.format(sofu.duration(ms / 1000));

const last = (doc, accepts) => doc.events.filter(accepts).pop();

/* rows is a table of names and values, without the empty ones. */
const rows = (list, kind) => E('dl', { 'class': kind }, list.filter((r) => r[1] != null && r[1] !== '' && r[1].length !== 0).flatMap((r) => [
	E('dt', {}, [ r[0] ]), E('dd', {}, Array.isArray(r[1]) ? r[1] : [ r[1] ])
]));

const card = (title, children) => E('div', { 'class': 'sofu-card' }, [ E('h4', {}, [ title ]) ].concat(children));

/* What is wrong with one part, and not with the line. */
const failure = (error) => error ? E('p', { 'class': 'sofu-alert is-warn' }, [ sofu.explain(error.code, error.text) ]) : null;

/* The steps of the chain: what is there is in order, unless the error is of that step;
 * the first that is not there is under way, unless it failed. */
function chainOf(doc) {
	const broken = doc.error ? (sofu.errors[doc.error.code] || [ '' ])[0] : null;
	const address = doc.wan.addresses[0];
	const there = {
		link: doc.state != 'down' ? doc.wan.device : null,
		ra: doc.wan.routers.map((r) => r.address).join(', '),
		lease: doc.prefix ? doc.prefix.prefix : address ? address.address : null,
		auth: doc.auth ? _('answered in %s ms').format(doc.auth.rtt_ms.toFixed(1)) : null,
		tunnel: doc.tunnel ? doc.tunnel.ipv4 : null
	};
	let waiting = false;
	return steps.map(([ id, title, names ]) => {
		const event = last(doc, (e) => names.includes(e.name));
		const step = { id: id, title: title, value: there[id], when: event ? ago(doc, event) : null };
		if (broken == id)
			step.state = there[id] && id != 'link' && doc.tunnel ? 'warn' : 'fail';
		else if (there[id])
			step.state = 'ok';
		else
			step.state = waiting ? 'wait' : 'busy';
		waiting = waiting || !there[id];
		if (broken == id)
			step.error = sofu.errors[doc.error.code][1];
		return step;
	});
}

const renderChain = (chain) => chain.map((step) => E('li', { 'class': 'sofu-step is-' + step.state, 'data-step': step.id, 'data-state': step.state }, [
	sign(step.state),
	E('div', {}, [
		E('strong', {}, [ step.title ]),
		E('span', { 'class': 'sofu-value' }, [ step.value || states[step.state][1] ]),
		step.error ? E('span', { 'class': 'sofu-error' }, [ step.error ]) : null,
		step.when ? E('small', {}, [ step.when ]) : null
	])
]));

/* The lease, or what an advertised prefix has in its place. Its whole lifetime is what
 * is left and what has passed since the last answer. */
function renderLease(doc) {
	const lease = doc.prefix || doc.wan.addresses[0];
	if (!lease)
		return null;
	const event = last(doc, (e) => doc.prefix ? e.name == 'reply' && /^from /.test(e.detail) : e.name == 'router-advertisement');
	const whole = event && lease.valid != null ? lease.valid + Math.max(0, doc.ms - event.ms) / 1000 : null;
	const left = lease.valid == null ? 100 : whole ? Math.round(100 * lease.valid / whole) : null;
	const state = lease.preferred === 0 ? 'warn' : left != null && left < 15 ? 'fail' : 'ok';
	return card(doc.prefix ? _('Lease of the prefix') : _('Advertised prefix'), [
		E('div', { 'class': 'sofu-big' }, [ doc.prefix ? lease.prefix : lease.address ]),
		left == null ? null : E('div', {
			'class': 'sofu-bar is-' + state, 'role': 'progressbar', 'aria-label': _('Lifetime left'),
			'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': left
		}, [ E('div', { 'style': 'width: %d%%'.format(left) }) ]),
		rows([
			[ _('Valid'), lease.valid == null ? _('for ever') : whole ? _('%s left of %s').format(sofu.duration(lease.valid), sofu.duration(whole)) : _('%s left').format(sofu.duration(lease.valid)) ],
			[ _('Preferred'), lease.preferred === 0 ? _('no more') : lease.preferred == null ? _('for ever') : _('%s left').format(sofu.duration(lease.preferred)) ],
			[ _('Last answer'), event ? ago(doc, event) : null ]
		])
	]);
}

const renderTunnel = (doc) => doc.tunnel && card(_('Tunnel'), [
	E('div', { 'class': 'sofu-big' }, [ doc.tunnel.ipv4 ]),
	rows([
		[ _('Echo'), doc.tunnel.echo_ms == null ? _('none yet') : _('%s ms').format(doc.tunnel.echo_ms.toFixed(1)) ],
		[ _('Far end (BR)'), doc.tunnel.remote ],
		[ _('Local end'), doc.tunnel.local ],
		[ _('Device'), doc.tunnel.device ],
		[ _('MTU'), String(doc.tunnel.mtu) ]
	])
]);

const renderNames = (doc) => {
	const list = [
		[ _('DNS servers'), doc.wan.dns.join(', ') ],
		[ _('Search domains'), doc.wan.domains.join(', ') ],
		[ _('NTP servers'), doc.wan.ntp.join(', ') ],
		[ _('MTU'), doc.wan.mtu ? String(doc.wan.mtu) : null ]
	];
	return list.some((r) => r[1]) && card(_('What the line says'), [ rows(list) ]);
};

const renderAuth = (doc) => doc.auth && card(_('RADIUS'), [
	rows([ [ _('Server'), doc.auth.server ] ].concat(doc.auth.attributes.map((a) => [ a.name, a.value ])))
]);

/* A number is shown when it is clicked, and hidden when it is clicked again. */
function renderPhone(doc, panel) {
	if (!doc.phone)
		return null;
	const number = (n) => E('button', {
		'class': 'sofu-number', 'aria-pressed': String(panel.revealed.has(n)),
		'title': panel.revealed.has(n) ? _('Hide the number') : _('Show the number'),
		'click': () => {
			panel.revealed.has(n) ? panel.revealed.delete(n) : panel.revealed.add(n);
			panel.show();
		}
	}, [ panel.revealed.has(n) ? n : '•'.repeat(10) ]);
	return card(_('Hikari Denwa'), [
		rows([
			[ _('Numbers'), doc.phone.numbers.map(number) ],
			[ _('Domain'), doc.phone.domain ],
			[ _('SIP servers'), [ ...doc.phone.sip4 || [], ...doc.phone.sip ].join(', ') ],
			[ _('Address'), doc.phone.address ],
			[ _('DSCP'), doc.phone.address && String(doc.phone.dscp) ]
		]),
		failure(doc.phone.error)
	]);
}

/* The home gateway behind the router. Without a port to one there is none. */
const renderHGW = (doc) => doc.hgw && card(_('Home gateway'), [
	rows([
		[ _('Port'), doc.hgw.carrier ? doc.hgw.device : _('%s, no link').format(doc.hgw.device) ],
		[ _('MAC address'), doc.hgw.mac || _('not heard yet') ],
		[ _('Prefix'), doc.hgw.prefix ],
		[ _('Address'), doc.hgw.address ],
		[ _('Lease'), doc.hgw.prefix && (doc.hgw.valid == null ? _('for ever') : _('%s left').format(sofu.duration(doc.hgw.valid))) ],
		[ _('Next hop'), doc.hgw.link_local ],
		[ _('Last seen'), doc.hgw.last_seen == null ? _('never') : _('%s ago').format(sofu.duration(doc.hgw.last_seen)) ],
		[ _('IPv4 forwarded by'), doc.hgw.forwarding || _('nothing') ]
	]),
	failure(doc.hgw.error)
]);

function renderDrops(doc) {
	const drops = Object.keys(doc.counters).filter((name) => name.includes('.drop.') && doc.counters[name] > 0).sort();
	return card(_('Dropped packets'), drops.length ? [
		rows(drops.map((name) => [ name, String(doc.counters[name]) ]), 'sofu-counts')
	] : [ E('p', {}, [ _('none') ]) ]);
}

const renderTimeline = (doc) => doc.events.slice().reverse().map((e) => {
	const [ state, words ] = moments[e.name] || [ 'wait', e.name ];
	return E('li', { 'class': 'is-' + state }, [
		E('span', { 'class': 'sofu-when', 'title': after(e.ms) }, [ ago(doc, e) ]),
		E('span', {}, [
			E('strong', {}, [ words ]), ' ',
			E('span', { 'class': 'sofu-detail' }, [ e.detail || '' ]), ' ',
			E('small', {}, [ after(e.ms) ])
		])
	]);
});

/* The reply of "check", or why there is none. */
const renderCheck = (reply) => !reply.data ? [ E('p', { 'class': 'sofu-alert is-fail' }, [ reply.message ]) ] : [
	reply.data.cause && reply.data.cause.text ? E('p', { 'class': 'sofu-alert is-warn' }, [
		E('strong', {}, [ _('Most likely cause:') ]), ' ', reply.data.cause.text
	]) : null,
	E('ul', { 'class': 'sofu-checks' }, (reply.data.checks || []).map((c) => {
		const state = states[c.verdict] ? c.verdict : 'wait';
		return E('li', { 'class': 'is-' + state, 'data-state': state }, [
			sign(state),
			E('div', {}, [
				E('strong', {}, [ c.name ]), ' ', E('span', {}, [ c.seen || '' ]),
				c.remedy ? E('span', { 'class': 'sofu-error' }, [ c.remedy ]) : null
			])
		]);
	}))
];

/* One line: what stays in the page, and what each round of polling fills in. */
function makePanel(name) {
	const part = (tag, kind) => E(tag, { 'class': 'sofu-' + kind });
	const panel = {
		revealed: new Set(),
		head: part('div', 'head'), alert: part('div', 'alerts'), chain: part('ol', 'chain'),
		cards: part('div', 'cards'), check: part('div', 'check'), timeline: part('ol', 'timeline')
	};

	const failed = (title, error) => ui.addNotification(title, E('p', {}, [ error.message || String(error) ]), 'danger');
	/* An action is over when the program has answered. */
	const button = (method, title, done, kind) => E('button', {
		'class': 'btn cbi-button cbi-button-' + kind,
		'data-action': method,
		'disabled': L.hasViewPermission() ? null : '',
		'title': L.hasViewPermission() ? null : _('You may only look'),
		'click': ui.createHandlerFn(panel, () => actions[method](name).then(done, (e) => failed(title, e)))
	}, [ title ]);
	const orMessage = (title) => (reply) => {
		if (reply.code)
			failed(title, reply);
	};

	panel.section = E('div', { 'class': 'sofu-line', 'data-interface': name }, [
		E('div', { 'class': 'sofu-top' }, [
			panel.head,
			E('div', { 'class': 'sofu-buttons' }, [
				button('renew', _('Renew'), orMessage(_('Renew')), 'neutral'),
				button('reconnect', _('Reconnect'), orMessage(_('Reconnect')), 'neutral'),
				button('check', _('Check'), (reply) => dom.content(panel.check, [ card(_('Check'), renderCheck(reply)) ]), 'action'),
				button('report', _('Download report'), (reply) => {
					if (reply.code || !reply.text)
						return failed(_('Download report'), reply);
					const url = URL.createObjectURL(new Blob([ reply.text ], { type: 'text/plain' }));
					E('a', { 'href': url, 'download': 'sofu-report-%s.txt'.format(name) }).click();
					URL.revokeObjectURL(url);
				}, 'neutral')
			])
		]),
		panel.alert, panel.chain, panel.check, panel.cards, panel.timelineCard = card(_('Timeline'), [ panel.timeline ])
	]);

	const alerts = (state, list) => fill(panel.alert, list.map((text) => E('p', { 'class': 'sofu-alert is-' + state }, [ text ])));
	const head = (state, words, iface) => fill(panel.head, [
		E('h3', {}, [ name ]),
		E('span', { 'class': 'sofu-badge is-' + state, 'role': 'status', 'data-state': state }, [ words ]),
		iface.up && iface.uptime ? E('small', {}, [ _('for %s').format(sofu.duration(iface.uptime)) ]) : null
	]);

	panel.show = (iface, reply) => {
		panel.last = iface ? [ iface, reply ] : panel.last;
		[ iface, reply ] = panel.last;
		const doc = reply.data;
		panel.chain.hidden = panel.cards.hidden = panel.timelineCard.hidden = !doc;
		if (!doc) {
			const errors = (iface.errors || []).map((e) => sofu.explain(e.code, (e.data || [])[0]));
			head('fail', _('Not running'), iface);
			alerts('fail', errors.length ? errors : [ reply.message || _('sofu-proto does not answer.') ]);
			return;
		}
		const [ state, words ] = phases[doc.state] || [ 'busy', doc.state ];
		head(state, words, iface);
		alerts(doc.tunnel ? 'warn' : 'fail', doc.error ? [ sofu.explain(doc.error.code, doc.error.text) ] : []);
		fill(panel.chain, renderChain(chainOf(doc)));
		const cards = [ renderTunnel(doc), renderLease(doc), renderPhone(doc, panel), renderHGW(doc), renderNames(doc), renderAuth(doc), renderDrops(doc) ].filter((c) => c);
		while (panel.cards.children.length > cards.length)
			panel.cards.lastChild.remove();
		cards.forEach((next, i) => {
			const node = panel.cards.children[i];
			if (!node)
				panel.cards.appendChild(next);
			else if (node.innerHTML != next.innerHTML)
				node.replaceWith(next);
		});
		fill(panel.timeline, renderTimeline(doc));
	};
	return panel;
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	/* The interfaces of this protocol, each with what its daemon says. */
	load: function() {
		return callDump().then((all) => Promise.all(all.filter((i) => i.proto == 'sofutobanku').map((i) =>
			callStatus(i.interface).then((reply) => [ i, reply ]))));
	},

	render: function(lines) {
		const panels = {};
		const list = E('div');
		const none = E('p', { 'class': 'sofu-none' }, [
			_('No interface has this protocol.'), ' ',
			E('a', { 'href': L.url('admin/network/network') }, [ _('Set one up') ])
		]);
		const show = (lines) => {
			none.hidden = lines.length > 0;
			Object.keys(panels).filter((name) => !lines.some((l) => l[0].interface == name)).forEach((name) => {
				panels[name].section.remove();
				delete panels[name];
			});
			lines.forEach(([ iface, reply ]) => {
				const name = iface.interface;
				if (!panels[name])
					list.appendChild((panels[name] = makePanel(name)).section);
				panels[name].show(iface, reply);
			});
		};
		show(lines);
		poll.add(() => this.load().then(show), INTERVAL);
		return E('div', { 'class': 'sofu' }, [
			E('link', { 'rel': 'stylesheet', 'href': L.resource('view/status/sofutobanku.css') }),
			E('h2', {}, [ _('SoftBank Hikari') ]),
			none, list
		]);
	}
});
