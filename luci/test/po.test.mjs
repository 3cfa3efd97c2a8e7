// The catalogues: complete, in step with the sources, and the same placeholders in both.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { japanese, languageHeader, messages, readPo, template, writePo } from './po.mjs';

const renew = 'run: node luci/test/po.mjs';

test('the template is what the sources say', () => {
	assert.equal(readFileSync(template, 'utf8'), writePo({}), renew);
});

test('the Japanese catalogue is complete, and nothing else is in it', () => {
	const translations = readPo(japanese);
	const all = [...messages().keys()];
	assert.ok(all.length > 150);
	assert.deepEqual(all.filter((id) => !translations[id]), [], 'not translated');
	assert.equal(readFileSync(japanese, 'utf8'), writePo(translations, languageHeader), renew);
	for (const [id, text] of Object.entries(translations)) {
		const placeholders = (s) => s.match(/%[a-z]/g) ?? [];
		assert.deepEqual(placeholders(text), placeholders(id), id);
	}
});

// LuCI's hash of other characters is not the same in all of its programs, and it
// makes one space of several.
test('the sources are written in plain characters', () => {
	for (const id of messages().keys())
		assert.match(id, /^(?! )(?!.* {2})[\x20-\x7e]+(?<! )$/);
});
