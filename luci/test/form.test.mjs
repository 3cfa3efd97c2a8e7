// The form of an interface: each option typed in comes out as the UCI value and goes
// back in, and what the handler would refuse is refused.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { launch, open, out, project } from './browser.mjs';
import { showForm as show, tables } from './samples.mjs';

let browser;
before(async () => {
	mkdirSync(out, { recursive: true });
	browser = await launch();
});
after(() => browser.close());

const configured = (page) => page.evaluate(() => host.uci.network.wan);
const save = (page) => page.evaluate(() => host.save());
const field = (page, option) => page.locator(`.cbi-value[data-name="${option}"]`);
const message = (page, option) => field(page, option).locator('.cbi-value-error').textContent();

// uncover shows an option that a switch hides.
async function uncover(page, option) {
	for (const name of ['_dhcpv6', '_radius'])
		if (!await field(page, option).isVisible())
			await field(page, name).locator('input').check();
}

// enter runs in the page: it types a value as a person does, in one call.
const enter = (page, option, value) => page.evaluate(([option, value]) => {
	const f = document.querySelector(`.cbi-value[data-name="${option}"]`);
	const input = f.querySelector('input, select');
	const fire = (...events) => events.forEach((e) => input.dispatchEvent(e));
	const change = new Event('change', { bubbles: true });
	if (f.hidden)
		document.querySelectorAll('.cbi-value[data-name^=_] input').forEach((box) => !box.checked && box.click());
	if (Array.isArray(value)) {
		f.querySelectorAll('.item').forEach((item) => item.click());
		for (const item of value) {
			input.value = item;
			fire(new Event('keyup'), new KeyboardEvent('keydown', { key: 'Enter' }));
		}
	}
	else if (input.type == 'checkbox') {
		if (input.checked != (value == '1'))
			input.click();
	}
	else {
		input.value = value;
		fire(new Event('keyup'), change, new Event('blur'));
	}
	return [input.type, f.querySelector('.cbi-value-error').textContent];
}, [option, value]);

const shown = async (page, option) => page.evaluate((option) => host.section.formvalue('wan', option), option);

for (const [proto, { base, cases }] of Object.entries(tables)) {
	test(`each option of ${proto}, in and out`, async () => {
		const page = await open(browser);
		for (const [option, value, verdict, others] of cases) {
			const start = { ...base, ...others };
			const about = `${option} ${JSON.stringify(value).slice(0, 60)}`;
			await show(page, start);
			const [kind, message] = await enter(page, option, value);
			if (verdict === true) {
				assert.equal(await save(page), null, about);
				const now = await configured(page);
				const isDefault = [ 'checkbox', 'select-one' ].includes(kind) && now[option] === undefined;
				assert.deepEqual(now, isDefault ? start : { ...start, [option]: value }, `${about}: comes out`);

				// What equals a switch's default may be written all the same.
				const written = { ...start, [option]: value };
				await show(page, written);
				assert.deepEqual(await shown(page, option), value, `${about}: goes back in`);
				assert.equal(await save(page), null, `${about}: saved untouched`);
				assert.deepEqual(await configured(page), written, `${about}: nothing changed by an untouched form`);
			}
			else {
				if (value.length)
					assert.match(message, new RegExp(`^Accepted: .*${verdict.replace(/[[\]]/g, '\\$&')}`), about);
				assert.match(await save(page) ?? 'saved', /invalid input value|must not be empty/, about);
				assert.deepEqual(await configured(page), start, `${about}: refused, and written`);
			}
		}
		assert.deepEqual(page.problems, []);
		await page.context().close();
	});
}

test('by hand', async () => {
	const page = await open(browser);
	await show(page, { proto: 'sofutobanku', device: 'eth1' });
	assert.match(await message(page, 'line'), /the line of the contract/);
	await field(page, 'line').locator('select').selectOption('cross');
	await field(page, 'auth_server').locator('input').fill('2001:db8::1');
	await field(page, 'auth_server').locator('button').click();
	await field(page, 'shared_secret').locator('input').fill('secret');
	await field(page, 'password').locator('input').fill('word');
	await field(page, 'mtu').locator('input').fill('100');
	await field(page, 'mtu').locator('input').press('Tab');
	assert.match(await message(page, 'mtu'), /Accepted: 576 to 9000/);
	await field(page, 'mtu').locator('input').fill('1400');
	assert.equal(await save(page), null);
	assert.deepEqual(await configured(page), { ...tables.sofutobanku.base, line: 'cross', mtu: '1400' });
	await page.context().close();
});

test('every option of the handler is in the form, and in the table', () => {
	const handler = readFileSync(join(project, 'files/lib/netifd/proto/sofutobanku.sh'), 'utf8');
	const declared = (name) => [...handler.slice(handler.indexOf(`proto_${name}_init_config`)).split('\n}')[0]
		.matchAll(/proto_config_add_(?:string|array|int|boolean) (.*)/g)].flatMap((m) => m[1].trim().split(/ +/));
	for (const proto of ['sofutobanku', 'sofutobanku4']) {
		const options = declared(proto);
		assert.ok(options.length > 5);
		for (const option of options.filter((o) => o != 'ip6ifaceid'))
			assert.ok(tables[proto].cases.some((c) => c[0] == option && c[2] === true), `${proto}: ${option} is not tested`);
	}
});

test('the spellings of yes and no are understood and kept', async () => {
	const page = await open(browser);
	for (const [value, checked] of [['on', true], ['yes', true], ['true', true], ['enabled', true], ['off', false], ['no', false], ['false', false], ['disabled', false]]) {
		for (const option of ['norelease', 'strict_rfc']) {
			const section = { ...tables.sofutobanku.base, [option]: value };
			await show(page, section);
			assert.equal(await field(page, option).locator('input').isChecked(), checked, value);
			assert.equal(await save(page), null);
			assert.deepEqual(await configured(page), section);
		}
	}
	await page.context().close();
});

test('servers in one option are a list', async () => {
	const page = await open(browser);
	const section = { ...tables.sofutobanku.base, auth_server: '2001:db8::1 2001:db8::2' };
	await show(page, section);
	assert.deepEqual(await shown(page, 'auth_server'), ['2001:db8::1', '2001:db8::2']);
	assert.equal(await save(page), null);
	assert.deepEqual(await configured(page), section);
	await page.context().close();
});

test('a server that is pasted is judged too', async () => {
	const page = await open(browser);
	for (const wrong of [['ff02::1'], Array.from({ length: 8 }, (_, i) => `2001:db8::${i + 2}`)]) {
		await show(page, tables.sofutobanku.base);
		for (const server of wrong) {
			await field(page, 'auth_server').locator('input').fill(server);
			await field(page, 'auth_server').locator('input').press('Enter');
		}
		assert.match(await save(page), wrong.length == 1 ? /^RADIUS server: ff02::1: Accepted: an IPv6 address like/ : /^RADIUS server: Accepted: at most 8 servers/);
		assert.match(await field(page, 'auth_server').locator('.sofu-wrong').textContent(), wrong.length == 1 ? /^ff02::1: / : /^Accepted: at most 8/);
		assert.deepEqual(await configured(page), tables.sofutobanku.base);
	}
	await field(page, 'auth_server').locator('.item').last().click();
	assert.equal(await save(page), null);
	assert.equal(await field(page, 'auth_server').locator('.sofu-wrong').textContent(), '');
	await page.context().close();
});

test('the line comes first, and its values are placeholders that follow it', async () => {
	const page = await open(browser);
	await show(page, { proto: 'sofutobanku', device: 'eth1' });
	const names = await page.locator('.cbi-value').evaluateAll((all) => all.map((n) => n.dataset.name));
	assert.equal(names[names.indexOf('device') + 1], 'line');
	assert.match(await save(page), /Option "Line"/);

	const placeholder = (option) => field(page, option).locator('input').getAttribute('placeholder');
	await uncover(page, 'model');
	assert.equal(await placeholder('model'), null);
	await enter(page, 'line', 'next');
	assert.equal(await placeholder('model'), 'e-wmta2.3,V5.0.0.1.rc35');
	assert.equal(await placeholder('chap_ident'), '1');
	await enter(page, 'line', 'cross');
	assert.equal(await placeholder('model'), 'BAPP');
	assert.equal(await placeholder('iid'), 'ipv4');
	await page.context().close();
});

test('what the form says of a line is what the program has', () => {
	// The profiles of the program, where they are defined.
	const go = readFileSync(join(project, 'internal/softbank/options.go'), 'utf8');
	const form = readFileSync(join(project, 'luci/luci-proto-sofutobanku/htdocs/luci-static/resources/protocol/sofutobanku.js'), 'utf8');
	const [, next, cross] = go.match(/func Defaults([\s\S]*?)if line == CROSS([\s\S]*?)\n}\n/);
	for (const [name, text] of [['next', next], ['cross', cross]]) {
		const profile = form.match(new RegExp(`\\b${name}: {([^}]*manufacturer[^}]*)}`))[1];
		for (const [, value] of text.matchAll(/(?:Manufacturer|Model|HWRevision)\s*[:=]+\s*"(.*?)"/g))
			assert.ok(profile.includes(`'${value}'`), `${name}: ${value}`);
		assert.ok(profile.includes(`chap_ident: '${text.match(/CHAPIdent\s*[:=]+\s*(\d)/)[1]}'`), name);
	}
});

test('what is hidden stays, and goes with the protocol', async () => {
	const page = await open(browser);
	const section = { ...tables.sofutobanku.base, model: 'mine', iaid: '7', norelease: '1', unknown: 'kept' };
	await show(page, section);
	await field(page, '_radius').locator('input').uncheck();
	assert.equal(await field(page, 'model').isVisible(), false);
	assert.equal(await save(page), null);
	assert.deepEqual(await configured(page), section);

	await enter(page, 'proto', 'dhcp');
	assert.equal(await save(page), null);
	assert.deepEqual(await configured(page), { proto: 'dhcp', unknown: 'kept' });
	await page.context().close();
});

test('secrets are hidden until revealed', async () => {
	const page = await open(browser);
	await show(page, tables.sofutobanku.base);
	for (const option of ['shared_secret', 'password']) {
		const input = field(page, option).locator('input');
		assert.equal(await input.getAttribute('type'), 'password');
		await field(page, option).locator('.reveal').click();
		assert.equal(await input.getAttribute('type'), 'text');
	}
	await page.context().close();
});

test('ipv4 is refused when the line becomes another one', async () => {
	const page = await open(browser);
	await show(page, { ...tables.sofutobanku.base, line: 'cross', iid: 'ipv4' });
	await enter(page, 'line', 'next');
	assert.match(await message(page, 'iid'), /for CROSS only/);
	assert.match(await save(page), /for CROSS only/);
	await page.context().close();
});

const up = {
	interface: 'wan', proto: 'sofutobanku', up: true, l3_device: 'eth1',
	'ipv6-prefix': [{ address: '2001:db8:1100::', mask: 56, preferred: 9000, valid: 11520 }],
	data: { line: 'next', ipv4: '192.0.2.1', br: '2001:db8::1919', error: { code: '', text: '' } }
};
const row = (page, dump) => page.evaluate(async (dump) => {
	Object.assign(host, { dump, devices: { 'sofu-wan_4': 1460 } });
	for (const proto of ['sofutobanku', 'sofutobanku4', 'sofutobankuhgw'])
		await host.load('protocol.' + proto);
	const ask = (i) => ({ name: i.getI18n(), errors: i.getErrors()?.map((e) => e.childNodes.length == 1 ? e.firstChild.nodeValue : 'not one text') ?? null });
	return dump.map((d) => ask(host.interface(d.proto, d.interface)));
}, dump);

test('a telephone of the router and a home gateway exclude each other', async () => {
	const page = await open(browser);
	await show(page, { ...tables.sofutobanku.base, phone: '1' });
	await field(page, 'hgw_device').locator('input').fill('lan4');
	await field(page, 'hgw_device').locator('input').press('Tab');
	assert.match(await message(page, 'phone'), /beside a home gateway, which has the telephone line itself/);
	assert.match(await save(page), /Option "Telephone network"/);
	assert.equal((await configured(page)).hgw_device, undefined);
	await enter(page, 'phone', '0');
	assert.equal(await save(page), null);
	assert.deepEqual(await configured(page), { ...tables.sofutobanku.base, phone: '0', hgw_device: 'lan4' });
	await page.context().close();
});

test('the row of the interface and of its child', async () => {
	const page = await open(browser);
	const child = { interface: 'wan_4', proto: 'sofutobanku4', up: true, dynamic: true, l3_device: 'sofu-wan_4' };
	const port = { interface: 'wan_hgw', proto: 'sofutobankuhgw', up: true, dynamic: true, l3_device: 'lan4' };
	assert.deepEqual(await row(page, [up, child, { interface: 'mine', proto: 'sofutobanku4' }, port, { interface: 'mine2', proto: 'sofutobankuhgw' }]), [
		{ name: 'SoftBank Hikari (IPv4 over IPv6): NEXT, 192.0.2.1, lease: 3 h 12 min left', errors: null },
		{ name: 'IPv4-in-IPv6 tunnel of wan, BR 2001:db8::1919, MTU 1460', errors: null },
		{ name: 'SoftBank Hikari, the tunnel alone', errors: null },
		{ name: 'Home gateway of wan', errors: null },
		{ name: 'SoftBank Hikari, the port to a home gateway (made by the line)', errors: null }
	]);
	const endless = { ...up, 'ipv6-prefix': [{ ...up['ipv6-prefix'][0], valid: 2147483646 }] };
	assert.equal((await row(page, [endless]))[0].name, 'SoftBank Hikari (IPv4 over IPv6): NEXT, 192.0.2.1');
	await page.context().close();
});

test('every error code has a sentence and a remedy', async () => {
	const page = await open(browser);
	const readme = readFileSync(join(project, 'README.md'), 'utf8');
	const part = (name) => {
		const page = readFileSync(join(project, `docs/${name}.md`), 'utf8');
		return page.slice(page.indexOf(`\`${name}.error\``)).split('\n## ')[0];
	};
	const table = readme.slice(readme.indexOf('names what is wrong by a code')) + part('phone') + part('hgw');
	const codes = [...table.matchAll(/^\| (`[A-Z0-9_]+`(?:, `[A-Z0-9_]+`)*) \|/gm)].flatMap((m) => m[1].replaceAll('`', '').split(', '));
	assert.ok(codes.length > 15 && codes.includes('PHONE_APPLY') && codes.includes('HGW_APPLY'), codes.join(' '));
	for (const code of [...codes, 'AUTH_FAILED', 'TUNNEL']) {
		const down = { interface: 'wan', proto: 'sofutobanku', up: false, errors: [{ code, data: ['<b>its text</b>'] }] };
		const later = { ...up, data: { ...up.data, error: { code, text: 'its text' } } };
		const [a, b] = await row(page, [down, { ...later, interface: 'wan2' }]);
		assert.match(a.errors[0], /^[A-Zs][^.]*\. [A-Z].*[.?] \(<b>its text<\/b>\)$/, code);
		assert.equal(b.errors[0], a.errors[0].replace(/<.?b>/g, ''), code);
		assert.ok((await page.evaluate((code) => host.errorCodes[code], code)).length > 20, code);
	}
	assert.deepEqual((await row(page, [{ interface: 'wan', proto: 'sofutobanku', errors: [{ code: 'NEWER' }] }]))[0].errors, ['NEWER']);
	await page.context().close();
});

for (const [name, options] of Object.entries({ en: {}, ja: { lang: 'ja' }, dark: { dark: true }, phone: { width: 400 } })) {
	test(`picture of the form, ${name}`, async () => {
		const page = await open(browser, options);
		await show(page, tables.sofutobanku.base);
		await page.screenshot({ path: join(out, `form-${name}.png`), fullPage: true });
		await enter(page, 'mtu', '1');
		assert.match(await message(page, 'mtu'), name == 'ja' ? /576 ～ 9000/ : /576 to 9000/);
		await page.context().close();
	});
}
