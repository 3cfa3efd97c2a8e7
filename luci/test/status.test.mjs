// The status page: each state of a line is rendered and looked at, the buttons do what
// they say, and nothing that came from the network is markup.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { launch, open, out, project, root } from './browser.mjs';
import { answer, showStatus as show, up, wan, withHGW } from './samples.mjs';

let browser;
before(async () => {
	mkdirSync(out, { recursive: true });
	browser = await launch();
});
after(() => browser.close());

const nothing = { prefix: null, tunnel: null, auth: null, phone: null, counters: {}, events: [] };
const noWAN = { ...up.wan, routers: [], dns: [], domains: [], ntp: [], mtu: 0 };
const only = (...names) => up.events.filter((e) => names.includes(e.name));
const error = (code) => ({ code, text: `eth1: the program's own words about ${code}` });

const down = (code) => ({ ...up, ...nothing, state: 'down', wan: noWAN, error: error(code), events: [{ ms: 0, name: 'link-down' }] });
const noRouter = (code) => ({ ...up, ...nothing, state: 'starting', wan: noWAN, error: code && error(code), events: only('link-up', 'solicit') });
const noLease = (code) => ({ ...up, ...nothing, state: 'starting', error: code && error(code), events: only('link-up', 'solicit', 'router-advertisement') });
const noAuth = (code) => ({ ...up, state: 'ipv6', tunnel: null, auth: null, error: code && error(code), events: up.events.slice(0, 7) });
const noTunnel = (code) => ({ ...up, state: 'ipv6', tunnel: null, error: error(code), events: up.events.slice(0, 8) });

// name: the document, and the state of each step of the chain.
const pictures = {
	'up': [up, 'ok ok ok ok ok'],
	'no-device': [down('NO_DEVICE'), 'fail wait wait wait wait'],
	'no-carrier': [down('NO_CARRIER'), 'fail wait wait wait wait'],
	'dad-failed': [{ ...noRouter(), state: 'starting', error: error('DAD_FAILED') }, 'fail busy wait wait wait'],
	'connecting': [noRouter(null), 'ok busy wait wait wait'],
	'ra-socket': [noRouter('RA_SOCKET'), 'ok fail wait wait wait'],
	'no-ra': [noRouter('NO_RA'), 'ok fail wait wait wait'],
	'waiting-for-a-lease': [noLease(null), 'ok ok busy wait wait'],
	'dhcp-socket': [noLease('DHCP_SOCKET'), 'ok ok fail wait wait'],
	'no-prefix': [noLease('NO_PREFIX'), 'ok ok fail wait wait'],
	'asking-radius': [noAuth(null), 'ok ok ok busy wait'],
	'auth-silent': [noAuth('AUTH_SILENT'), 'ok ok ok fail wait'],
	'auth-rejected': [noAuth('AUTH_REJECTED'), 'ok ok ok fail wait'],
	'auth-secret': [noAuth('AUTH_SECRET'), 'ok ok ok fail wait'],
	'auth-failed': [noAuth('AUTH_FAILED'), 'ok ok ok fail wait'],
	'no-ip6tnl': [noTunnel('NO_IP6TNL'), 'ok ok ok ok fail'],
	'no-ipv4-interface': [noTunnel('NO_IPV4_INTERFACE'), 'ok ok ok ok fail'],
	'apply': [noTunnel('APPLY'), 'ok ok ok ok fail'],
	'ubus': [noTunnel('UBUS'), 'ok ok ok ok fail'],
	'refused-later': [{ ...up, error: error('AUTH_REJECTED') }, 'ok ok ok warn ok'],
	'advertised-prefix': [{
		...up, prefix: null, phone: null,
		wan: { ...up.wan, addresses: [{ address: '2001:db8:1100::1/64', preferred: 0, valid: 300 }] }
	}, 'ok ok ok ok ok'],
	'for-ever': [{ ...up, prefix: { ...up.prefix, preferred: null, valid: null } }, 'ok ok ok ok ok']
};
const badge = { down: 'fail', starting: 'busy', ipv6: 'warn', up: 'ok' };
const words = { down: 'No link', starting: 'Connecting', ipv6: 'IPv6 only', up: 'Connected' };

const chain = (page) => page.locator('.sofu-step').evaluateAll((all) => all.map((s) => s.dataset.state).join(' '));
const picture = (page, name) => page.screenshot({ path: join(out, `status-${name}.png`), fullPage: true });
const calls = (page) => page.evaluate(() => host.calls.splice(0).filter((c) => !['dump', 'status'].includes(c[1])));
const click = (page, action) => page.locator(`[data-action=${action}]`).click();
const text = (page, selector) => page.locator(selector).textContent();

test('every state of a line', async () => {
	const page = await open(browser);
	for (const [name, [doc, want]] of Object.entries(pictures)) {
		await show(page, [[wan, answer(doc, doc.state == 'up' ? 0 : 5)]]);
		assert.equal(await chain(page), want, name);
		assert.equal(await page.locator('.sofu-badge').getAttribute('data-state'), badge[doc.state], name);
		assert.equal(await text(page, '.sofu-badge'), words[doc.state], name);
		const alert = await page.locator('.sofu-alert').allTextContents();
		assert.equal(alert.length, doc.error ? 1 : 0, name);
		if (doc.error) {
			assert.ok(alert[0].endsWith(`(${doc.error.text})`) && alert[0].length > doc.error.text.length + 20, alert[0]);
			const step = page.locator('.sofu-step .sofu-error');
			assert.equal(await step.count(), 1, name);
			assert.ok(alert[0].startsWith(await step.textContent()), name);
		}
		await picture(page, name);
	}
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('what is shown of a line that is up', async () => {
	const page = await open(browser);
	await show(page, [[wan, answer(up)]]);
	const all = await text(page, '#view');
	for (const part of ['192.0.2.1', '2001:db8:1100::/56', '2001:db8::1919', '1460', 'for 47 min 59 s', '4.3 ms', 'answered in 5.5 ms',
		'3 h 12 min left of 3 h 59 min', '2001:db8::53, 2001:db8::153', 'example.net', 'ims.example.ne.jp', 'ra.drop.hop-limit3', 'dhcp6.drop.transaction1',
		'Softbankbb-Unknown-2500x0102', 'The tunnel is up', '+15.6 ms', '47 min 59 s ago'])
		assert.ok(all.includes(part), `${part}: not in ${all}`);
	assert.ok(!all.includes('echo.drop.code') && !all.includes('ra.received'));
	const bar = page.locator('.sofu-bar');
	assert.equal(await bar.getAttribute('aria-valuenow'), '80');
	const width = await bar.evaluate((b) => b.firstChild.getBoundingClientRect().width / b.getBoundingClientRect().width);
	assert.ok(Math.abs(width - 0.8) < 0.01, `${width}`);
	// The latest is on top.
	assert.match(await text(page, '.sofu-timeline li:first-child'), /The echo came back/);
	await page.context().close();
});

test('what does not run, and nothing at all', async () => {
	const page = await open(browser);
	const silent = { code: 1, message: 'sofu-proto: control: nobody answers' };
	await show(page, [[{ ...wan, up: false, errors: [{ code: 'CONFIG', data: ['option line: missing'] }] }, silent]]);
	assert.equal(await text(page, '.sofu-badge'), 'Not running');
	assert.match(await text(page, '.sofu-alert'), /^The configuration cannot work\. Correct it.* \(option line: missing\)$/);
	assert.equal(await page.locator('.sofu-chain').isVisible(), false);
	await picture(page, 'not-running');

	await show(page, [[{ ...wan, up: false }, silent]]);
	assert.equal(await text(page, '.sofu-alert'), silent.message);

	await show(page, []);
	assert.equal(await page.locator('.sofu-none').isVisible(), true);
	await picture(page, 'no-interface');
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('it follows the line, and leaves alone what did not change', async () => {
	const page = await open(browser);
	await show(page, [[wan, answer(up)]]);
	await page.evaluate(() => {
		host.kept = [...document.querySelectorAll('.sofu-card')].find((c) => c.textContent.includes('RADIUS'));
	});
	await page.locator('.sofu-number').first().click();
	await page.evaluate(() => {
		host.lines[0][1].data.tunnel.ipv4 = '192.0.2.99';
		host.lines[0][1].data.ms += 60000;
		return host.tick();
	});
	assert.match(await text(page, '.sofu-chain'), /192\.0\.2\.99/);
	assert.ok(await page.evaluate(() => document.contains(host.kept)), 'a card that did not change was replaced');
	assert.equal(await page.locator('.sofu-number').first().textContent(), '0312345678');

	await page.evaluate(() => {
		const second = JSON.parse(JSON.stringify(host.lines[0]));
		second[0].interface = 'wan2';
		host.lines.push(second);
		return host.tick();
	});
	assert.equal(await page.locator('.sofu-line').count(), 2);
	await page.evaluate(() => {
		host.lines.shift();
		return host.tick();
	});
	assert.equal(await page.locator('.sofu-line').getAttribute('data-interface'), 'wan2');
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

// rowsOf is the names and values of a card.
const rowsOf = (card) => card.locator('dl').evaluate((list) => Object.fromEntries([...list.querySelectorAll('dt')].map((t) => [t.textContent, t.nextSibling.textContent])));

test('the telephone network', async () => {
	const page = await open(browser);
	const card = page.locator('.sofu-card').filter({ hasText: 'Hikari Denwa' });
	await show(page, [[wan, answer(up)]]);
	assert.deepEqual(await rowsOf(card), {
		'Numbers': '•'.repeat(20), 'Domain': 'ims.example.ne.jp', 'SIP servers': '203.0.113.5, 2001:db8::5060',
		'Address': '198.51.100.2/30', 'DSCP': '32'
	});
	assert.equal(await card.locator('.sofu-alert').count(), 0);

	// What fails there is shown there, and the line stays in order.
	const phone = { ...up.phone, sip4: [], address: null, error: { code: 'PHONE_REFUSED', text: 'a <b>NAK</b>' } };
	const events = ['dhcp4-discover', 'dhcp4-request', 'dhcp4-reboot', 'dhcp4-renew', 'dhcp4-rebind', 'dhcp4-offer', 'dhcp4-ack', 'dhcp4-nak',
		'dhcp4-decline', 'dhcp4-expired', 'phone-up', 'phone-down', 'phone-error', 'hgw-up', 'hgw-down', 'hgw-error'].map((name, ms) => ({ ms, name }));
	await show(page, [[wan, answer({ ...up, phone, events })]]);
	assert.deepEqual(Object.keys(await rowsOf(card)), ['Numbers', 'Domain', 'SIP servers']);
	assert.match(await card.locator('.sofu-alert').textContent(), /^The telephone network refuses an address\. Another gateway .* \(a <b>NAK<\/b>\)$/);
	assert.equal(await page.locator('.sofu-alerts .sofu-alert').count(), 0);
	assert.equal(await chain(page), 'ok ok ok ok ok');
	assert.doesNotMatch(await text(page, '.sofu-timeline'), /dhcp4-|phone-|hgw-/);
	await picture(page, 'telephone-refused');
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('a home gateway', async () => {
	const page = await open(browser);
	const card = page.locator('.sofu-card').filter({ has: page.locator('h4', { hasText: 'Home gateway' }) });
	await show(page, [[wan, answer(up)]]);
	assert.equal(await card.count(), 0);

	await show(page, [[wan, answer(withHGW)]]);
	assert.deepEqual(await rowsOf(card), {
		'Port': 'lan4', 'MAC address': '00:00:5e:00:53:10', 'Prefix': '2001:db8:1100:f0::/60', 'Address': '2001:db8:1100:ef::/64',
		'Lease': '3 h 12 min left', 'Next hop': 'fe80::200:5eff:fe00:5310', 'Last seen': '12 s ago', 'IPv4 forwarded by': 'nft'
	});
	assert.equal(await card.locator('.sofu-alert').count(), 0);
	await picture(page, 'hgw');

	const hgw = { ...withHGW.hgw, carrier: false, mac: '', link_local: null, prefix: null, address: null, valid: null, last_seen: null, forwarding: '',
		error: { code: 'HGW_FORWARD', text: 'no <b>nft</b>' } };
	await show(page, [[wan, answer({ ...withHGW, hgw })]]);
	assert.deepEqual(await rowsOf(card), { 'Port': 'lan4, no link', 'MAC address': 'not heard yet', 'Last seen': 'never', 'IPv4 forwarded by': 'nothing' });
	assert.match(await card.locator('.sofu-alert').textContent(), /^The kernel cannot forward IPv4 to the home gateway\. Install .* \(no <b>nft<\/b>\)$/);
	assert.equal(await page.locator('.sofu-alerts .sofu-alert').count(), 0);
	assert.equal(await chain(page), 'ok ok ok ok ok');

	await show(page, [[wan, answer({ ...withHGW, hgw: { ...withHGW.hgw, valid: null } })]]);
	assert.equal((await rowsOf(card)).Lease, 'for ever');
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

test('telephone numbers are masked until clicked', async () => {
	const page = await open(browser);
	await show(page, [[wan, answer(up)]]);
	assert.doesNotMatch(await page.content(), /03123456/);
	await page.locator('.sofu-number').nth(1).click();
	assert.match(await text(page, '.sofu-cards'), /0312345679/);
	assert.doesNotMatch(await page.content(), /0312345678/);
	await page.locator('.sofu-number').nth(1).click();
	assert.doesNotMatch(await page.content(), /03123456/);
	await page.context().close();
});

test('renew and reconnect', async () => {
	const page = await open(browser);
	await show(page, [[wan, answer(up)]], { renew: { code: 0, message: '' }, reconnect: { code: 1, message: 'it did <b>not</b>' } });
	await calls(page);
	await click(page, 'renew');
	assert.deepEqual(await calls(page), [['luci.sofutobanku', 'renew', { interface: 'wan' }]]);
	assert.equal(await page.locator('[role=alert]').count(), 0);
	await click(page, 'reconnect');
	assert.deepEqual(await calls(page), [['luci.sofutobanku', 'reconnect', { interface: 'wan' }]]);
	assert.match(await text(page, '[role=alert]'), /it did <b>not<\/b>/);
	await page.context().close();
});

const checks = {
	checks: [
		{ name: 'link', verdict: 'ok', seen: 'eth1, 1 Gbit/s' }, { name: 'duid', verdict: 'warn', seen: 'DUID-UUID', remedy: 'Remove option clientid.' },
		{ name: 'radius', verdict: 'fail', seen: 'refused', remedy: 'Check the password.' }, { name: 'tunnel', verdict: 'skip', seen: 'no grant' },
		{ name: 'later', verdict: 'new', seen: 'a verdict of a later version' }
	],
	cause: { name: 'radius', text: 'The password is wrong.' }
};

test('check', async () => {
	const page = await open(browser);
	await show(page, [[wan, answer(noAuth('AUTH_REJECTED'), 5)]], { check: { code: 1, message: '', data: checks } });
	await click(page, 'check');
	await page.locator('.sofu-checks').waitFor();
	assert.deepEqual(await page.locator('.sofu-checks li').evaluateAll((all) => all.map((l) => l.dataset.state)), ['ok', 'warn', 'fail', 'skip', 'wait']);
	const shown = await text(page, '.sofu-check');
	for (const part of ['Most likely cause: The password is wrong.', 'DUID-UUID', 'Remove option clientid.'])
		assert.ok(shown.includes(part), shown);
	await picture(page, 'check');

	// As the program says it.
	const real = JSON.parse(readFileSync(join(project, 'internal/check/testdata/nothing.json')));
	await page.evaluate((data) => { host.replies.check = { code: 5, message: '', data }; }, real);
	await click(page, 'check');
	await page.locator('.sofu-check').filter({ hasText: real.cause.text }).waitFor();
	assert.deepEqual(await page.locator('.sofu-checks li').evaluateAll((all) => all.map((l) => l.dataset.state)), real.checks.map((c) => c.verdict));

	const missing = 'sofu-proto: check needs the package sofutobanku-tools';
	await page.evaluate((message) => { host.replies.check = { code: 69, message }; }, missing);
	await click(page, 'check');
	await page.locator('.sofu-check .sofu-alert').filter({ hasText: missing }).waitFor();
	await page.evaluate(() => { host.replies.check = null; });
	await click(page, 'check');
	await page.locator('[role=alert]').filter({ hasText: 'Access denied' }).waitFor();
	await page.context().close();
});

test('report', async () => {
	const page = await open(browser);
	const report = 'sofu-proto report\nprefix <1>\n日本語\n';
	await show(page, [[wan, answer(up)]], { report: { code: 0, message: '', text: report } });
	const [download] = await Promise.all([page.waitForEvent('download'), click(page, 'report')]);
	assert.equal(download.suggestedFilename(), 'sofu-report-wan.txt');
	assert.equal(readFileSync(await download.path(), 'utf8'), report);
	await page.evaluate(() => { host.replies.report = { code: 69, message: 'not installed' }; });
	await click(page, 'report');
	await page.locator('[role=alert]').filter({ hasText: 'not installed' }).waitFor();
	await page.context().close();
});

test('who may only look starts nothing', async () => {
	const page = await open(browser, { writable: false });
	await show(page, [[wan, answer(up)]]);
	await page.evaluate(() => host.tick());
	for (const button of await page.locator('[data-action]').all()) {
		assert.equal(await button.isDisabled(), true);
		await button.evaluate((b) => b.click());
	}
	await page.locator('.sofu-number').first().click();
	const acl = JSON.parse(readFileSync(join(root, 'root/usr/share/rpcd/acl.d/luci-proto-sofutobanku.json')))['luci-proto-sofutobanku'];
	assert.deepEqual(Object.keys(acl.read), ['ubus']);
	for (const [object, method] of await page.evaluate(() => host.calls))
		assert.ok(acl.read.ubus[object].includes(method), `${object} ${method}`);
	await picture(page, 'read-only');
	await page.context().close();
});

test('the ACL is what the page calls, and no more', async () => {
	const acl = JSON.parse(readFileSync(join(root, 'root/usr/share/rpcd/acl.d/luci-proto-sofutobanku.json')))['luci-proto-sofutobanku'];
	assert.deepEqual(acl.read, { ubus: { 'luci.sofutobanku': ['status'], 'network.interface': ['dump'] } });
	assert.deepEqual(acl.write, { ubus: { 'luci.sofutobanku': ['renew', 'reconnect', 'check', 'report'] } });
	const menu = JSON.parse(readFileSync(join(root, 'root/usr/share/luci/menu.d/luci-proto-sofutobanku.json')))['admin/status/sofutobanku'];
	assert.deepEqual(menu.depends.acl, ['luci-proto-sofutobanku']);
	readFileSync(join(root, 'htdocs/luci-static/resources/view', menu.action.path + '.js'));
});

// mark puts markup into every text of v that may come from the network.
const evil = '"><img src=x onerror="pwned=1"><b id=evil>x</b><script>pwned=1</script>';
const mark = (v) => typeof v == 'string' ? v + evil : Array.isArray(v) ? v.map(mark) :
	v && typeof v == 'object' ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, ['state', 'verdict', 'code', 'name'].includes(k) ? w : mark(w)])) : v;

test('markup is shown as text', async () => {
	const page = await open(browser);
	const doc = mark({ ...up, hgw: withHGW.hgw, state: 'up', error: error('AUTH_REJECTED') });
	doc.counters = { ['ra.drop.' + evil]: 1 };
	doc.auth.attributes = [{ name: 'Reply-Message' + evil, value: 'x' + evil }];
	doc.events.push({ ms: 1, name: 'unknown' + evil, detail: evil });
	const reply = { code: 1, message: evil, data: { checks: [{ name: evil, verdict: 'fail', seen: evil, remedy: evil }], cause: { text: evil } } };
	await show(page, [
		[wan, answer(doc)], [{ ...wan, interface: 'wan2', errors: [{ code: evil, data: [evil] }] }, { code: 1, message: evil }],
		[{ ...wan, interface: 'wan3' }, answer({ ...doc, state: evil, error: { code: evil, text: evil } })]
	], { check: reply, renew: { code: 1, message: evil } });
	for (const number of await page.locator('.sofu-number').all())
		await number.click();
	await page.locator('[data-action=check]').first().click();
	await page.locator('[data-action=renew]').first().click();
	await page.locator('[role=alert]').waitFor();
	await page.evaluate(() => host.tick());
	await picture(page, 'markup');
	assert.equal(await page.locator('#evil, #view img, #notifications img').count(), 0);
	assert.equal(await page.evaluate(() => window.pwned), undefined);
	const count = (await text(page, 'body')).split('<b id=evil>').length - 1;
	assert.ok(count > 40, `${count} texts with markup are shown`);
	assert.deepEqual(page.problems, []);
	await page.context().close();
});

for (const [name, options] of Object.entries({ 'up-dark': { dark: true }, 'up-phone': { width: 400 }, 'up-ja': { lang: 'ja' }, 'up-ja-phone-dark': { lang: 'ja', width: 360, dark: true } })) {
	test(`picture ${name}`, async () => {
		const page = await open(browser, options);
		await show(page, [[wan, answer({ ...up, hgw: withHGW.hgw, error: error('AUTH_SILENT') })]], { check: answer(checks) });
		await click(page, 'check');
		await page.locator('.sofu-checks').waitFor();
		await picture(page, name);
		const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
		assert.ok(wide <= 0, `${wide} pixels too wide`);
		if (options.lang) {
			// Of the page's own words none is left in English.
			const words = await page.locator('h4, .sofu-step strong, .sofu-badge, .btn, dt, .sofu-timeline strong').allTextContents();
			const names = [...Object.keys(up.counters), 'MTU', 'RADIUS', 'Softbankbb-Unknown-250'];
			assert.deepEqual(words.filter((w) => /^[\x20-\x7e]+$/.test(w) && !names.includes(w)), []);
		}
		await page.context().close();
	});
}
