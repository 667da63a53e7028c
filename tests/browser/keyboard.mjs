// The dialogs by keyboard alone: the focus goes in, reaches every control in order, is seen, stays in, and comes back.

import assert from 'node:assert/strict';
import { adminApi, runAll, setUp, startBrowser, startServer, test } from './world.mjs';

const server = await startServer();
const browser = await startBrowser();
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce' });
const admin = await context.newPage();
admin.setDefaultTimeout(20_000);
const api = (method, path, body) => adminApi(context, server, method, path, body);
let mine;

/** What has the focus: its label or its text, and whether a person sees that it has. */
const focused = (page) => page.evaluate(() => {
  const node = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(node);
  return {
    name: (node.getAttribute('aria-label') ?? node.labels?.[0]?.textContent ?? node.textContent).trim(),
    seen: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2,
    inside: Boolean(node.closest('dialog[open]')),
    tag: node.tagName,
  };
});
const nameHere = async (page) => (await focused(page)).name;

/** Waits until the focus is on `name`: what is asked for from the server comes in its own time. */
async function comesTo(page, name) {
  for (let n = 0; n < 100 && await nameHere(page) !== name; n += 1) await page.waitForTimeout(50);
  assert.equal(await nameHere(page), name);
}

/** Goes to a button by its name, as Tab would, and presses Enter. */
async function enter(page, name) {
  await page.getByRole('button', { name, exact: true }).focus();
  await page.keyboard.press('Enter');
}

/**
 * Opens a dialog from `opener`, goes through it by Tab and back, and closes it by Escape. `expected`: its controls in the
 * order of the page; the first is the one that has the focus at once.
 */
async function through(page, opener, expected) {
  await enter(page, opener);
  await page.getByRole('dialog').waitFor();
  assert.equal(await nameHere(page), expected[0], 'the first field has the focus');
  const reached = [];
  for (let n = 0; n < expected.length; n += 1) {
    const here = await focused(page);
    assert.ok(here.inside, `${here.tag} ${here.name} is outside`);
    assert.ok(here.seen, `nobody sees that ${here.name} has the focus`);
    reached.push(here.name);
    await page.keyboard.press('Tab');
  }
  assert.deepEqual(reached, expected);
  // Beyond the last one there is the browser's own, or the dialog from its beginning; never the page below.
  for (let n = 0; n < 3; n += 1) {
    const here = await focused(page);
    assert.ok(here.inside || here.tag === 'BODY', `${here.tag} ${here.name} is below the dialog`);
    await page.keyboard.press('Tab');
  }
  await page.getByRole('dialog').locator('input, textarea, select').first().focus();
  await page.keyboard.press('Shift+Tab');
  assert.equal(await nameHere(page), 'Close');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await comesTo(page, opener);
}

test('“Invite a machine” of the admin: in, through, out by Escape; from its line back to its button', async () => {
  await setUp(admin, server);
  await api('POST', '/v1/admin/accounts', { name: 'Barbara' });
  await admin.goto(`${server.url}/admin#/providers`);
  await admin.getByRole('heading', { name: 'Providers' }).waitFor();
  await through(admin, 'Invite a machine', ['Account that earns', 'Models optional', 'How many machines', 'New machines wait for approval', 'Cancel', 'Make the line']);
  await enter(admin, 'Invite a machine');
  await admin.keyboard.type('Nobody');
  await admin.keyboard.press('Enter');
  await admin.getByRole('alert').filter({ hasText: /Nobody/ }).waitFor();
  assert.equal(await nameHere(admin), 'Account that earns', 'what is wrong has the focus');
  await admin.keyboard.press('Control+A');
  await admin.keyboard.type('Barbara');
  await admin.keyboard.press('Enter');
  await admin.getByRole('heading', { name: 'The line, shown once' }).waitFor();
  assert.ok((await focused(admin)).inside);
  await admin.keyboard.press('Escape');
  await admin.getByRole('dialog').waitFor({ state: 'detached' });
  await comesTo(admin, 'Invite a machine');
});

test('the channels of alerts: in, through, out by Escape, and back after saving', async () => {
  await admin.goto(`${server.url}/admin#/alerts`);
  await admin.getByText('Nothing has needed anybody yet.').waitFor();
  await through(admin, 'Webhook', ['Address optional', 'Secret optional', 'Cancel', 'Save']);
  await through(admin, 'E-mail', ['Mail server optional', 'Port optional', 'Security', 'User optional', 'Password optional', 'From optional', 'To optional', 'Tell account holders, too', 'Cancel', 'Save']);
  await enter(admin, 'What is sent');
  await admin.getByText('set a webhook or e-mail first').waitFor();
  assert.equal(await nameHere(admin), 'What is sent');
  await api('PUT', '/v1/admin/alerts', { webhook: { url: 'http://127.0.0.1:9/hook' }, email: null, muted: [] });
  await admin.reload();
  await admin.getByText('http://127.0.0.1:9/hook').waitFor();
  await enter(admin, 'What is sent');
  await admin.getByRole('dialog').waitFor();
  assert.equal(await nameHere(admin), 'Balance below its threshold');
  await admin.keyboard.press('Space');
  await admin.getByRole('button', { name: 'Save' }).focus();
  await admin.keyboard.press('Enter');
  await admin.getByText('Not sent: Balance below its threshold.').waitFor();
  await comesTo(admin, 'What is sent');
});

test('a card that is drawn anew keeps the focus and what was open', async () => {
  await admin.goto(`${server.url}/admin#/providers`);
  await enter(admin, 'Edit demo');
  await admin.getByRole('dialog').getByLabel('Name').waitFor();
  await admin.keyboard.press('Control+A');
  await admin.keyboard.type('demo two');
  await admin.keyboard.press('Enter');
  await admin.getByRole('heading', { name: /^demo two/ }).waitFor();
  // Its button has another name now: the heading is what is left.
  await comesTo(admin, 'Providers');
  await admin.getByRole('button', { name: 'Edit demo two' }).focus();
  const [{ id }] = await api('GET', '/v1/admin/providers');
  await api('PATCH', `/v1/admin/providers/${id}`, { max_concurrent: 7 });
  await admin.getByText('0 of 7').waitFor();
  await comesTo(admin, 'Edit demo two');
});

test('the account’s own: its threshold, a machine of its own, its keys', async () => {
  const account = (await api('GET', '/v1/admin/accounts?q=Barbara'))[0].id;
  await api('PATCH', `/v1/admin/accounts/${account}`, { may_provide: true });
  const { key, id } = await api('POST', `/v1/admin/accounts/${account}/keys`, { name: 'hers', scopes: ['inference', 'manage'] });
  mine = await context.newPage();
  mine.setDefaultTimeout(20_000);
  await mine.goto(`${server.url}/#key=${key}`);
  await mine.getByRole('button', { name: 'Invite a machine' }).waitFor();
  await through(mine, 'Invite a machine', ['Name', 'Models optional', 'How many machines', 'Cancel', 'Make the line']);
  const change = 'Change when the balance is told of';
  await through(mine, change, ['Amount in USD optional', 'Cancel', 'Save']);
  await enter(mine, change);
  await mine.keyboard.type('2.50');
  await mine.keyboard.press('Enter');
  await mine.getByText('Alert when the balance falls below').waitFor();
  await comesTo(mine, change);
  // Somebody else has set a limit meanwhile: the row is drawn anew below the dialog that shows the new key.
  await enter(mine, 'Rotate key hers');
  for (let n = 0; n < 3; n += 1) await mine.keyboard.press('Tab');
  assert.equal(await nameHere(mine), 'Rotate key');
  const row = mine.getByRole('button', { name: 'Rotate key hers' });
  await row.evaluate((node) => { node.dataset.before = ''; });
  const limit = { method: 'PATCH', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: '{"limit_usd": "3.00"}' };
  assert.equal((await fetch(`${server.url}/v1/keys/${id}`, limit)).status, 200);
  await mine.keyboard.press('Enter');
  await mine.getByRole('heading', { name: 'The key, shown once' }).waitFor();
  await mine.waitForFunction(() => !document.querySelector('[data-before]'));
  await mine.keyboard.press('Escape');
  await comesTo(mine, 'Rotate key hers');
});

test('“Try it” by keyboard: a question is asked, stopped and asked again', async () => {
  await mine.goto('about:blank');
  await mine.goto(`${server.url}/#key=${server.key}`);
  const panel = mine.getByRole('region', { name: 'Try it' });
  await panel.getByLabel('Model').focus();
  await mine.keyboard.press('Tab');
  assert.equal(await nameHere(mine), 'Say something');
  await mine.keyboard.press('Control+A');
  await mine.keyboard.press('Delete');
  await mine.keyboard.press('Tab');
  assert.deepEqual([await nameHere(mine), (await focused(mine)).seen], ['Send', true]);
  await mine.keyboard.press('Enter');
  await panel.getByText('Needed.').waitFor();
  assert.equal(await nameHere(mine), 'Say something', 'what is wrong has the focus');
  await mine.keyboard.type('Say hello.');
  await mine.keyboard.press('Tab');
  await mine.keyboard.press('Enter');
  await panel.locator('.figures').waitFor();
  await comesTo(mine, 'Send');
});

await runAll(async () => {
  await browser.close();
  await server.stop();
});
