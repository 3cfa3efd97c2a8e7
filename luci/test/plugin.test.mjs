// The program that rpcd runs for the status page, with doubles of sofu-proto and ubus,
// in the shells that a router and Debian have.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { root } from './browser.mjs';

const plugin = join(root, 'root/usr/libexec/rpcd/luci.sofutobanku');

// world makes a directory with the doubles; what ubus was asked is in its file asked.
function world(t) {
	const dir = mkdtempSync(join(tmpdir(), 'sofu-plugin-'));
	t.after(() => rmSync(dir, { recursive: true }));
	const write = (name, text) => {
		writeFileSync(join(dir, name), '#!/bin/sh\n' + text);
		chmodSync(join(dir, name), 0o755);
	};
	for (const applet of ['awk', 'cat', 'grep', 'mktemp', 'rm', 'sed', 'tr', 'sleep'])
		symlinkSync('/bin/busybox', join(dir, applet));
	mkdirSync(join(dir, 'run'));
	mkdirSync(join(dir, 'tmp'));
	// proto is what ubus says of the interface.
	write('ubus', `echo "$*" >>${dir}/asked
case $* in
"call network.interface.wan status") printf '{\\n\\t"up": false,\\n\\t"proto": "%s"\\n}\\n' "$(cat ${dir}/proto)" ;;
"call network.interface.wan up") ;;
*) exit 4 ;;
esac
`);
	return { dir, write, asked: () => existsSync(join(dir, 'asked')) ? readFileSync(join(dir, 'asked'), 'utf8') : '' };
}

function run(w, args, input, [command, ...first] = ['/bin/busybox', 'ash']) {
	const result = spawnSync(command, [...first, plugin, ...args], {
		input: typeof input == 'string' ? input : JSON.stringify(input ?? {}), encoding: 'utf8',
		env: { PATH: w.dir, RUN_DIR: join(w.dir, 'run'), TMPDIR: join(w.dir, 'tmp') }
	});
	return { status: result.status, out: result.stdout && result.status == 0 ? JSON.parse(result.stdout) : result.stdout, err: result.stderr };
}

for (const shell of [['/bin/busybox', 'ash'], ['/bin/dash']]) {
	test(`what it prints, in ${shell.join(' ')}`, (t) => {
		const w = world(t);
		assert.deepEqual(Object.keys(run(w, ['list'], '', shell).out), ['status', 'renew', 'reconnect', 'check', 'report']);

		w.write('sofu-proto', `printf '%s\\n' '{"args":"'"$*"'"}'; printf 'it said: "\\\\n"\\tand\\001\\nmore\\n' >&2; exit 5\n`);
		const said = 'it said: "\\n" and \nmore';
		assert.deepEqual(run(w, ['call', 'status'], { interface: 'wan', ubus_rpc_session: '0' }, shell).out,
			{ code: 5, message: said, data: { args: 'status --json --interface wan' } });
		assert.deepEqual(run(w, ['call', 'check'], { interface: 'wan' }, shell).out,
			{ code: 5, message: said, data: { args: 'check --json --interface wan' } });
		assert.deepEqual(run(w, ['call', 'report'], { interface: 'wan' }, shell).out,
			{ code: 5, message: said, text: '{"args":"report --interface wan"}' });

		w.write('sofu-proto', 'echo "needs the package sofutobanku-tools" >&2; exit 69\n');
		assert.deepEqual(run(w, ['call', 'check'], { interface: 'wan' }, shell).out, { code: 69, message: 'needs the package sofutobanku-tools' });
		// Nothing is left behind.
		assert.equal(spawnSync('ls', [join(w.dir, 'tmp')], { encoding: 'utf8' }).stdout, '');
		assert.equal(w.asked(), '');
	});
}

test('a large report', (t) => {
	const w = world(t);
	w.write('sofu-proto', 'i=0; while [ $i -lt 3000 ]; do echo "line $i of the report, with some \\"text\\""; i=$((i+1)); done\n');
	const { out } = run(w, ['call', 'report'], { interface: 'wan' });
	assert.equal(out.text.split('\n').length, 3000);
});

test('nothing but the name of an interface gets in', (t) => {
	const w = world(t);
	w.write('sofu-proto', `echo "$*" >>${w.dir}/asked; echo '{}'\n`);
	for (const bad of [{}, { interface: '' }, { interface: 'a b' }, { interface: '../x' }, { interface: '--run-dir' }, { interface: '$(id)' }, { interface: 7 },
		{ interface: 'x\n"interface": "wan"' }, '', '{', '[]'])
		assert.equal(run(w, ['call', 'status'], bad).status, 2, JSON.stringify(bad));
	for (const bad of [['call', 'run'], ['call'], ['run'], []])
		assert.equal(run(w, bad, { interface: 'wan' }).status, 2, bad.join(' '));
	assert.equal(w.asked(), '');
});

test('renew and reconnect signal the daemon of that interface', async (t) => {
	const w = world(t);
	w.write('sofu-proto', `trap 'echo USR1 >>${w.dir}/signals' USR1; trap 'echo USR2 >>${w.dir}/signals' USR2; echo ready >>${w.dir}/signals
while :; do sleep 0.05; done
`);
	const daemon = spawn(join(w.dir, 'sofu-proto'), { env: { PATH: w.dir }, stdio: 'ignore' });
	t.after(() => daemon.kill('SIGKILL'));
	const signals = async (want) => {
		for (let i = 0; ; i++) {
			const got = existsSync(join(w.dir, 'signals')) ? readFileSync(join(w.dir, 'signals'), 'utf8').trim().split('\n').join(' ') : '';
			if (got == want || i == 200)
				return assert.equal(got, want);
			await setTimeout(20);
		}
	};
	await signals('ready');
	writeFileSync(join(w.dir, 'run/wan.lock'), `${daemon.pid}\n`);
	assert.deepEqual(run(w, ['call', 'renew'], { interface: 'wan' }).out, { code: 0, message: '' });
	await signals('ready USR1');
	assert.deepEqual(run(w, ['call', 'reconnect'], { interface: 'wan' }).out, { code: 0, message: '' });
	await signals('ready USR1 USR2');
	assert.equal(w.asked(), '');

	// A lock that names another process by now.
	writeFileSync(join(w.dir, 'run/wan.lock'), `${process.pid}\n`);
	assert.deepEqual(run(w, ['call', 'renew'], { interface: 'wan' }).out, { code: 1, message: 'sofu-proto does not run for wan' });
	await signals('ready USR1 USR2');
});

test('reconnect brings up an interface of this protocol, and of no other', (t) => {
	const w = world(t);
	writeFileSync(join(w.dir, 'proto'), 'sofutobanku');
	assert.deepEqual(run(w, ['call', 'reconnect'], { interface: 'wan' }).out, { code: 0, message: '' });
	assert.equal(w.asked(), 'call network.interface.wan status\ncall network.interface.wan up\n');
	for (const proto of ['dhcp', 'sofutobanku4']) {
		rmSync(join(w.dir, 'asked'));
		writeFileSync(join(w.dir, 'proto'), proto);
		assert.deepEqual(run(w, ['call', 'reconnect'], { interface: 'wan' }).out, { code: 1, message: 'wan is no interface of this protocol' });
		assert.equal(w.asked(), 'call network.interface.wan status\n');
	}
	assert.equal(run(w, ['call', 'reconnect'], { interface: 'lan' }).out.code, 1);
});
