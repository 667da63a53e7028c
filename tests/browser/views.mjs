// Every view, with a life's worth of data in it and with none, at the widths and in the schemes that people have: nothing
// sticks out, axe finds nothing, and a picture of each is left in target/screenshots for somebody to look at.
// VIEWS=name,name takes those alone, LOOKS=all each at both widths in both schemes.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adminApi, pressIn as press, runAll, runLine, setUp, settled, shoot, shots, startBrowser, startServer, test } from './world.mjs';

const seed = join(dirname(fileURLToPath(import.meta.url)), 'seed.py');
let seeded;
const server = await startServer([], { fill: (binary, data) => { seeded = JSON.parse(execFileSync('python3', [seed, binary, data])); } });
const bare = await startServer([], { demo: false });
// A name that is not this machine's to a browser: plain http from elsewhere.
const browser = await startBrowser(['--host-resolver-rules=MAP elsewhere.test 127.0.0.1']);
const { accounts, keys } = seeded;
const chosen = process.env.VIEWS?.split(',');
const all = process.env.LOOKS === 'all';
const chat = 'mlx-community/gemma-4-26b-a4b-it-8bit';

/** What the machines that join run. */
let local;
const machines = [];
/** Takes every alert and says that it cannot. */
const receiver = createServer((_, response) => response.writeHead(503).end('busy'));
await new Promise((resolve) => { receiver.listen(0, '127.0.0.1', resolve); });
const context = await browser.newContext();
const bareContext = await browser.newContext();
const api = (method, path, body) => adminApi(context, server, method, path, body);

async function withKey(key, method, path, body) {
  const answer = await fetch(server.url + path, { method, headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
  return answer.json();
}

const input = (at, label, text) => at.getByRole('dialog').getByLabel(label, { exact: true }).fill(text);
const drawn = (at) => at.locator('.uplot canvas').first().waitFor();
const own = (key) => `/#key=${key}`;
const account = (name) => `/admin#/accounts/${accounts[name]}`;
const refused = (status, message) => (route) => route.fulfill({ status, json: { error: { message } } });
const twoStepsOf = (name) => async (at) => {
  await press(at, name);
  // The label says more than that: what stands before the amount, and that a note may be left out.
  await at.getByRole('dialog').getByLabel('Amount in USD').fill('25');
  await at.getByRole('dialog').getByLabel('Note').fill('Invoice 115');
  await press(at, 'Continue');
};

/** As a browser without a session would see it: signing out for good would end that of all. */
async function signedOut(at) {
  const answers = { GET: { json: { admin: null, expires_at: null, setup_required: false } }, POST: { status: 401, json: { error: { message: 'The name or the password is wrong.' } } } };
  await at.route('**/v1/admin/session', (route) => route.fulfill(answers[route.request().method()]));
  await at.reload();
  await at.getByLabel('Password').waitFor();
}

/** name: [address, what a person does there]. */
const empties = {
  'setup': [() => new URL(bare.setup).pathname + new URL(bare.setup).hash],
  'no-admin-yet': ['/admin'],
};
const fresh = {
  'overview-fresh': ['/admin#/overview'],
  'accounts-fresh': ['/admin#/accounts'],
  'providers-fresh': ['/admin#/providers'],
  'withdrawals-fresh': ['/admin#/withdrawals'],
  'invites-fresh': ['/admin#/invites'],
  'alerts-fresh': ['/admin#/alerts'],
};
const views = {
  'sign-in': ['/admin', signedOut],
  'sign-in-wrong': ['/admin', async (at) => {
    await signedOut(at);
    await at.getByLabel('Name').fill('ada');
    await at.getByLabel('Password').fill('not this one');
    await press(at, 'Sign in');
    await at.getByRole('alert').filter({ hasText: /\w/ }).waitFor();
  }],
  overview: ['/admin#/overview', drawn],
  'overview-failed': ['/admin#/overview', async (at) => {
    await at.route('**/v1/admin/overview*', refused(503, 'The database is busy.'));
    await at.reload();
    await at.getByText('The database is busy.').waitFor();
  }],
  accounts: ['/admin#/accounts'],
  'accounts-none': ['/admin#/accounts?q=nobody-of-that-name', (at) => at.getByText(/No account/).waitFor()],
  'account-new': ['/admin#/accounts', (at) => press(at, 'New account')],
  account: [account('grace'), drawn],
  'account-big': [account('bulk'), drawn],
  'account-long': [account('long'), drawn],
  'account-empty': [account('empty')],
  'account-owner': [account('owner')],
  'account-edit': [account('owner'), (at) => press(at, 'Edit')],
  'account-suspend': [account('grace'), (at) => press(at, 'Suspend')],
  credit: [account('grace'), twoStepsOf('Add credit')],
  debit: [account('bulk'), (at) => press(at, 'Take credit back')],
  refund: [account('grace'), (at) => at.getByRole('button', { name: /^Refund request/ }).first().click()],
  'key-new': [account('grace'), (at) => press(at, 'New key')],
  'key-review': [account('grace'), async (at) => {
    await press(at, 'New key');
    await input(at, 'Name', 'nightly');
    await at.getByLabel('Spend cap').fill('25');
    await at.getByLabel('The cap starts anew').selectOption('monthly');
    await at.getByLabel('Requests a minute').fill('600');
    await press(at, 'Create key');
  }],
  'key-shown': [account('empty'), async (at) => {
    await press(at, 'New key');
    await input(at, 'Name', 'laptop');
    await press(at, 'Create key');
    await at.getByRole('status', { name: 'The key' }).waitFor();
  }],
  'key-revoke': [account('grace'), (at) => press(at, 'Revoke key laptop')],
  prices: ['/admin#/prices'],
  'price-new': ['/admin#/prices', async (at) => {
    await press(at, 'New price');
    await at.getByLabel('Input, per 1M tokens', { exact: false }).first().fill('0,5');
    await press(at, 'Continue');
  }],
  'price-edit': ['/admin#/prices', (at) => press(at, /^Edit the price of DeepSeek/)],
  'price-review': ['/admin#/prices', async (at) => {
    await press(at, /^Edit the price of DeepSeek/);
    await at.getByLabel('Input, per 1M tokens', { exact: false }).first().fill('0.98');
    await at.getByLabel('Context length').fill('131072');
    await press(at, 'Continue');
  }],
  'price-remove': ['/admin#/prices', (at) => press(at, /^Remove the price of DeepSeek/)],
  providers: ['/admin#/providers', (at) => at.getByText('waiting for approval').waitFor()],
  'provider-new': ['/admin#/providers', (at) => press(at, 'New provider')],
  'provider-edit': ['/admin#/providers', (at) => press(at, /^Edit a-provider/)],
  'provider-disable': ['/admin#/providers', (at) => press(at, 'Disable rack-1')],
  'machine-invite': ['/admin#/providers', (at) => press(at, 'Invite a machine')],
  'machine-line': ['/admin#/providers', async (at) => {
    await press(at, 'Invite a machine');
    await at.getByLabel('Account that earns').fill('Barbara Liskov');
    await press(at, 'Make the line');
    await at.getByRole('heading', { name: 'The line, shown once' }).waitFor();
  }],
  'machine-edit': ['/admin#/providers', (at) => press(at, 'Edit kitchen')],
  'machine-disconnect': ['/admin#/providers', (at) => press(at, 'Disconnect kitchen')],
  withdrawals: ['/admin#/withdrawals'],
  'withdrawals-all': ['/admin#/withdrawals', (at) => at.getByText('All', { exact: true }).click()],
  'withdrawal-paid': ['/admin#/withdrawals', (at) => at.getByRole('button', { name: /^Mark the withdrawal/ }).first().click()],
  'withdrawal-reject': ['/admin#/withdrawals', (at) => at.getByRole('button', { name: /^Reject the withdrawal/ }).first().click()],
  invites: ['/admin#/invites'],
  'invite-new': ['/admin#/invites', (at) => press(at, 'New code')],
  'invite-review': ['/admin#/invites', async (at) => {
    await press(at, 'New code');
    await input(at, 'Credit for each account', '12.50');
    await input(at, 'How many accounts', '400');
    await press(at, 'Continue');
  }],
  admins: ['/admin#/admins'],
  'admin-new': ['/admin#/admins', (at) => press(at, 'New admin')],
  'admin-password': ['/admin#/admins', (at) => press(at, 'New password for ada')],
  alerts: ['/admin#/alerts'],
  'alerts-tested': ['/admin#/alerts', async (at) => {
    await press(at, 'Send a test');
    await at.getByText(/it answered 503/).first().waitFor();
  }],
  'alerts-webhook': ['/admin#/alerts', (at) => press(at, 'Webhook')],
  'alerts-mail': ['/admin#/alerts', (at) => press(at, 'E-mail')],
  'alerts-kinds': ['/admin#/alerts', (at) => press(at, 'What is sent')],
  events: ['/admin#/events'],
  'sign-in-again': [account('grace'), async (at) => {
    await press(at, 'Edit');
    await at.route('**/v1/admin/accounts/*', refused(401, 'Sign in.'));
    await press(at, 'Save');
    await at.getByRole('dialog', { name: 'Sign in again' }).waitFor();
  }],
  'not-over-http': [() => `${server.url.replace('127.0.0.1', 'elsewhere.test')}/admin`],
  home: ['/'],
  'home-refused': ['/', async (at) => {
    await at.getByLabel('Your key').fill('sk-db-0000000000000-0000000000000000000000000000');
    await press(at, 'Open account');
    await at.locator('.field .wrong').filter({ hasText: /\w/ }).waitFor();
  }],
  'home-with-key': [own(keys.grace), drawn],
  'home-big': [own(keys.bulk), drawn],
  'home-empty': [own(keys.empty)],
  'home-try': [own(keys.grace), async (at) => {
    const panel = at.getByRole('region', { name: 'Try it' });
    await press(panel, 'Send');
    await panel.locator('.figures').waitFor();
  }],
  'home-try-refused': [own(keys.empty), async (at) => {
    const panel = at.getByRole('region', { name: 'Try it' });
    await panel.getByLabel('Model').selectOption(chat);
    await press(panel, 'Send');
    await panel.locator('.wrong').filter({ hasText: /\w/ }).last().waitFor();
  }],
  'home-alert': [own(keys.grace), (at) => press(at, 'Change when the balance is told of')],
  'home-redeem': [own(keys.grace), (at) => press(at, 'Redeem a code')],
  'home-key-new': [own(keys.grace), (at) => press(at, 'New key')],
  'home-rotate': [own(keys.grace), (at) => press(at, 'Rotate key laptop')],
  owner: [own(keys.owner), (at) => at.getByRole('region', { name: 'Earnings' }).locator('.uplot canvas').waitFor()],
  'owner-invite': [own(keys.owner), (at) => press(at, 'Invite a machine')],
  'owner-line': [own(keys.owner), async (at) => {
    await press(at, 'Invite a machine');
    await press(at, 'Make the line');
    await at.getByRole('heading', { name: 'The line, shown once' }).waitFor();
  }],
  'owner-withdraw': [own(keys.owner), (at) => press(at, 'Withdraw')],
  docs: ['/docs', (at) => at.locator('details').first().waitFor()],
  'docs-open': ['/docs', async (at) => {
    await at.locator('summary').filter({ hasText: 'POST /v1/payments/withdrawals' }).click();
    await at.locator('summary').filter({ hasText: /^Balance/ }).first().click();
  }],
};

test('the seeded server gets what only requests and people make', async () => {
  await setUp(await context.newPage(), server);
  // Machines: one that serves, one that went away, one that waits.
  local = await startServer();
  for (const [name, hold] of [['kitchen', false], ['attic', false], ['studio-workstation-under-the-stairs.internal.example.org', true]]) {
    const { line, key } = await api('POST', '/v1/admin/providers/invite', { account: accounts.owner, models: null, machines: 1, hold });
    const machine = runLine(line ?? `coordinator join ${server.url} --key ${key}`, { name, local });
    machines.push(machine);
    let row;
    for (let n = 0; n < 200 && !row?.machine.connected; n += 1) {
      row = (await api('GET', '/v1/admin/providers')).find((one) => one.name === name);
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
    assert.ok(row?.machine.connected, `${name} joins`);
    if (name === 'attic') await machine.stop();
  }
  const [demo] = (await api('GET', '/v1/admin/providers')).filter((one) => one.name === 'demo');
  await api('PATCH', `/v1/admin/providers/${demo.id}`, { enabled: false });
  for (let n = 0; n < 6; n += 1) await withKey(keys.bulk, 'POST', '/v1/chat/completions', { model: n % 2 ? chat : 'qwen3.5-27b-claude-opus-8bit', max_tokens: 60, messages: [{ role: 'user', content: 'Say hello.' }] });
  await api('PATCH', `/v1/admin/providers/${demo.id}`, { enabled: true });
  await api('POST', `/v1/admin/providers/${demo.id}/probe`);
  // What the provider that nobody listens at makes of a request.
  await withKey(keys.bulk, 'POST', '/v1/chat/completions', { model: 'whisper-notes', max_tokens: 60, messages: [{ role: 'user', content: 'Say hello.' }] });
  const withdraw = async (amount_usd, note) => (await withKey(keys.owner, 'POST', '/v1/payments/withdrawals', { amount_usd, note })).id;
  const [paid, no] = [await withdraw('1.25', 'IBAN DE00 1234 5678 9012 3456 78'), await withdraw('0.50', '')];
  await api('POST', `/v1/admin/withdrawals/${paid}/paid`, { reference: 'SEPA 2026-11-0042', amount_usd: '1.25' });
  await api('POST', `/v1/admin/withdrawals/${no}/reject`, { reason: 'The account of the bank is not in the name of the account’s owner: please write to accounts@example.org.' });
  await withdraw('2.00', 'to the bank, as last time');
  await withdraw('123.456789', 'IBAN DE00 1234 5678 9012 3456 78, Barbara Liskov, reference: machines of October, November and the first half of December');
  for (const [amount_usd, max_redemptions, note, expires_at] of [['5.00', 100, 'The course of the summer', '2026-12-31T00:00:00Z'], ['250.125', 1, 'For the winner of the competition, to be handed over with the certificate in the great hall', null]]) {
    await api('POST', '/v1/admin/invite-codes', { amount_usd, max_redemptions, note, expires_at });
  }
  const once = await api('POST', '/v1/admin/invite-codes', { amount_usd: '0.75', max_redemptions: 1, note: '', expires_at: null });
  await withKey(keys.grace, 'POST', '/v1/invite/redeem', { code: once.code });
  const [newest] = (await api('GET', `/v1/admin/accounts/${accounts.grace}/usage?limit=20`)).filter((row) => row.charged_micro_usd > 0).slice(3);
  await api('POST', '/v1/admin/refund', { request_id: newest.request_id, reason: 'The answer was cut off in the middle of a word' });
  await withKey(keys.grace, 'PUT', '/v1/payments/alert', { below_usd: '5.00' });
  await api('PUT', '/v1/admin/alerts', { webhook: { url: `http://127.0.0.1:${receiver.address().port}/hooks/coordinator/alerts/of-the-operator` }, email: null, muted: ['provider.up'] });
  await api('POST', '/v1/admin/debit', { account: accounts.long, amount_usd: '0.01', note: 'a slip' });
  await api('POST', '/v1/admin/admins', { name: 'a-colleague-with-a-long-name@rechenzentrum.example.edu', password: 'another long password' });
  await api('GET', '/v1/admin/audit');
});

const found = [];
/** Told at once: somebody may wait for it. */
const find = (...what) => what.forEach((one) => { found.push(one); console.log(`       ${one}`); });
/** Views that are a dialog: as wide on any screen, so they are looked at on one. */
const dialogs = new Set();

/** Goes through the views at one width and in one scheme. */
async function walk(list, at, whose, width, colorScheme) {
  const look = await browser.newContext({ viewport: { width, height: width === 360 ? 760 : 900 }, colorScheme, reducedMotion: 'reduce', bypassCSP: true, storageState: whose && await whose.storageState() });
  for (const [name, [path, act]] of Object.entries(list).filter(([one]) => !chosen || chosen.includes(one))) {
    if (dialogs.has(name) && !all) continue;
    // A page of its own: what a view before left open or typed is gone.
    const page = await look.newPage();
    page.setDefaultTimeout(15_000);
    try {
      await page.goto(new URL(typeof path === 'function' ? path() : path, at.url).href);
      await settled(page);
      await act?.(page);
      await settled(page);
      if (await page.locator('dialog[open]').count()) dialogs.add(name);
      find(...await shoot(page, name));
    } catch (error) {
      find(`${name} at ${width}, ${colorScheme}: ${String(error).split('\n')[0]}`);
    }
    await page.close();
  }
  await look.close();
}

test('a page says whose its times are; an event and an alert tell amounts as money', async () => {
  const far = await browser.newContext({ timezoneId: 'Asia/Kolkata', locale: 'en-GB', storageState: await context.storageState() });
  const page = await far.newPage();
  await page.goto(`${server.url}/admin#/events`);
  await page.getByText('Times are those of Asia/Calcutta (GMT+5:30). Days begin at 00:00 UTC.').or(page.getByText('Times are those of Asia/Kolkata (GMT+5:30). Days begin at 00:00 UTC.')).waitFor();
  const debit = page.getByRole('row').filter({ hasText: 'credit.debit' });
  await debit.getByText(/^amount \$0\.01, /).waitFor();
  assert.match(await debit.locator('time').getAttribute('title'), /GMT\+5:30|IST/);
  // A word that breaks letter by letter is higher than wide.
  const by = await debit.getByText('ada', { exact: true }).boundingBox();
  assert.ok(by.width > by.height, JSON.stringify(by));
  await page.goto(`${server.url}/admin#/alerts`);
  await page.getByText('$4.987213 left, the threshold is $5.00').waitFor();
  await far.close();
});

// Both widths and both schemes: what sticks out does so in either scheme, and a colour is as faint at either width.
const looks = [[360, 'dark'], [1440, 'light'], ...(all ? [[360, 'light'], [1440, 'dark']] : [])];

test('every view at 360 and 1440, light and dark: nothing overflows, axe finds nothing', async () => {
  mkdirSync(shots, { recursive: true });
  for (const look of looks) await walk(views, server, context, ...look);
  for (const look of looks) await walk(empties, bare, null, ...look);
  await setUp(await bareContext.newPage(), bare);
  for (const look of looks) await walk(fresh, bare, bareContext, ...look);
  writeFileSync(join(shots, 'axe.txt'), found.length ? `${found.join('\n')}\n` : 'nothing found\n');
  assert.deepEqual(found, []);
});

await runAll(async () => {
  await browser.close();
  receiver.close();
  await Promise.all(machines.map((machine) => machine.stop()));
  await Promise.all([server, bare, local].map((one) => one?.stop()));
});
