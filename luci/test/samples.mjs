// What the tests and the pictures show.
import { readFileSync } from 'node:fs';

// Options of each protocol, and what may be entered: [option, value, true or what is said
// against it, options besides].
export const tables = JSON.parse(readFileSync(new URL('values.json', import.meta.url)));

// A line that is up, as `sofu-proto status --json` says it.
export const up = JSON.parse(readFileSync(new URL('status.json', import.meta.url)));

// One with a home gateway behind the router.
export const withHGW = JSON.parse(readFileSync(new URL('hgw.json', import.meta.url)));

// The same as netifd's dump has it.
export const wan = { interface: 'wan', proto: 'sofutobanku', up: true, uptime: 2879, data: {} };

// showStatus opens the page of lines, each [interface of netifd's dump, answer of status];
// every call is kept in host.calls, and replies has the answers of the others.
export async function showStatus(page, lines, replies = {}) {
	await page.evaluate(([lines, replies]) => {
		Object.assign(host, { lines, replies, calls: [] });
		host.ubus = async (object, method, args) => {
			host.calls.push([object, method, args]);
			if (object == 'network.interface' && method == 'dump')
				return { interface: [{ interface: 'lan', proto: 'static' }, ...host.lines.map((l) => l[0])] };
			if (object == 'luci.sofutobanku' && method == 'status')
				return host.lines.find((l) => l[0].interface == args.interface)[1];
			return host.replies[method] ?? null;
		};
		return host.view('status.sofutobanku');
	}, [lines, replies]);
	await page.waitForFunction(() => [...document.styleSheets].some((s) => s.href));
}

export const answer = (doc, code = 0) => ({ code, message: '', data: doc });

// showForm opens the form of an interface with these options.
export const showForm = (page, section) => page.evaluate((section) => {
	host.uci = { network: { wan: section } };
	return host.form(section.proto, 'wan');
}, section);
