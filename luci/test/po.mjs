// The texts of the package: `node luci/test/po.mjs` writes po/templates from the sources
// and brings po/ja in the same order, with an empty msgstr for what is new.
import { readFileSync, writeFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../luci-proto-sofutobanku/', import.meta.url));
export const template = join(root, 'po/templates/sofutobanku.pot');
export const japanese = join(root, 'po/ja/sofutobanku.po');

const quote = (s) => JSON.stringify(s);

// files below dir with this end, sorted.
function files(dir, end) {
	return readdirSync(join(root, dir), { withFileTypes: true }).flatMap((e) =>
		e.isDirectory() ? files(join(dir, e.name), end) : e.name.endsWith(end) ? [join(dir, e.name)] : []).sort();
}

// messages maps each text to where it stands: the literals in _('…'), and what LuCI
// translates of the menu and of the ACL.
export function messages() {
	const found = new Map();
	const add = (text, where) => found.set(text, [...(found.get(text) ?? []), where]);
	for (const file of files('htdocs', '.js'))
		for (const line of readFileSync(join(root, file), 'utf8').split('\n'))
			for (const [, text, other] of line.matchAll(/\b_\((?:'((?:[^'\\]|\\.)*)'\)|(.?))/g)) {
				if (text === undefined)
					throw new Error(`${file}: _(${other}: not one literal in single quotes: ${line}`);
				add(text.replace(/\\(.)/g, '$1'), file);
			}
	for (const file of files('root/usr/share', '.json'))
		for (const [, text] of readFileSync(join(root, file), 'utf8').matchAll(/"(?:title|description)": "(.*)"/g))
			add(text, file);
	return found;
}

// readPo maps the texts of a catalogue to their translations; each is one line.
export function readPo(file) {
	const all = {};
	for (const [, id, str] of readFileSync(file, 'utf8').matchAll(/^msgid (".*")\nmsgstr (".*")$/gm))
		if (id != '""')
			all[JSON.parse(id)] = JSON.parse(str);
	return all;
}

const header = (more) => `msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n${more}"\n`;

export function writePo(translations, more = '') {
	let text = header(more);
	for (const [id, places] of messages())
		text += `\n${[...new Set(places)].map((p) => `#: ${p}\n`).join('')}msgid ${quote(id)}\nmsgstr ${quote(translations[id] ?? '')}\n`;
	return text;
}

export const languageHeader = 'Language: ja\\nPlural-Forms: nplurals=1; plural=0;\\n';

if (process.argv[1] == fileURLToPath(import.meta.url)) {
	writeFileSync(template, writePo({}));
	let known = {};
	try {
		known = readPo(japanese);
	}
	catch (e) {
		if (e.code != 'ENOENT')
			throw e;
	}
	writeFileSync(japanese, writePo(known, languageHeader));
}
