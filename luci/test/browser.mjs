// A headless Chromium with a page that stands in for LuCI; see host.js. Nothing is
// fetched but files of this directory and of the package.
import { chromium } from 'playwright-core';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { readPo } from './po.mjs';

export const root = fileURLToPath(new URL('../luci-proto-sofutobanku/', import.meta.url));
export const project = fileURLToPath(new URL('../../', import.meta.url));
// Screenshots are kept here.
export const out = join(project, 'out', 'luci');

const here = fileURLToPath(new URL('.', import.meta.url));
const types = { html: 'text/html', js: 'text/javascript', css: 'text/css' };

export async function launch() {
	const path = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
	if (!path)
		throw new Error('no Chromium: lab/setup test installs it');
	// Chromium refuses to make its sandbox as root, and loads nothing but our own files.
	return chromium.launch({ executablePath: path, args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'] });
}

// open gives a page with the host in it. What the page says of errors is in page.problems,
// and fails the test that looks there.
export async function open(browser, { lang = 'en', dark = false, width = 900, height = 700, writable = true } = {}) {
	const context = await browser.newContext({ viewport: { width, height }, acceptDownloads: true, locale: 'en' });
	const page = await context.newPage();
	page.problems = [];
	page.on('pageerror', (e) => page.problems.push(String(e)));
	page.on('console', (m) => m.type() == 'error' && page.problems.push(m.text()));
	page.on('dialog', (d) => { page.problems.push('a dialogue: ' + d.message()); d.dismiss(); });
	await context.route('**/*', (route) => {
		const path = new URL(route.request().url()).pathname;
		const file = path.startsWith('/luci-static/') ? join(root, 'htdocs', path) : join(here, path == '/' ? 'host.html' : path);
		if (!existsSync(file))
			return route.fulfill({ status: 404, body: '' });
		route.fulfill({ contentType: types[file.split('.').pop()], body: readFileSync(file) });
	});
	await page.goto('http://luci.test/');
	await page.evaluate(({ dark, writable, catalogue }) => {
		document.documentElement.dataset.darkmode = dark;
		Object.assign(host, { writable, catalogue, dump: [] });
	}, { dark, writable, catalogue: lang == 'en' ? {} : readPo(join(root, 'po', lang, 'sofutobanku.po')) });
	return page;
}
