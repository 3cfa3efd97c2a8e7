// The pictures of the README: `make screenshots`.
import { join } from 'node:path';
import { mkdirSync, statSync } from 'node:fs';
import { launch, open, project } from './browser.mjs';
import { answer, showForm, showStatus, tables, up, wan } from './samples.mjs';

const dir = join(project, 'docs/img');
mkdirSync(dir, { recursive: true });
const browser = await launch();
const take = async (name, page, height) => {
	const path = join(dir, name);
	await page.screenshot({ path, clip: { x: 0, y: 0, width: 900, height } });
	console.log(`docs/img/${name}: ${statSync(path).size} bytes`);
};
try {
	const form = await open(browser);
	await showForm(form, tables.sofutobanku.base);
	await take('luci-form.png', form, 610);
	const status = await open(browser);
	await showStatus(status, [[wan, answer(up)]]);
	await take('luci-status.png', status, 690);
}
finally {
	await browser.close();
}
