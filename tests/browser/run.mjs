// The pages in a real browser, against the real binary: what a person does, in the order a person does it.

import assert from 'node:assert/strict';
import { password, pressIn, runAll, runLine, startBrowser, startServer, startStranger, test } from './world.mjs';

const ACCOUNTS = Number(process.env.BROWSER_ACCOUNTS ?? 10_000);
const model = 'mlx-community/gemma-4-26b-a4b-it-8bit';

const server = await startServer();
const browser = await startBrowser();
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, acceptDownloads: true });
const complaints = [];

/** A page whose every console error counts, except the failed requests that a test asks for. */
async function open(path, within = context) {
  const page = await within.newPage();
  const name = path.split('#')[0];
  page.on('pageerror', (error) => complaints.push(`${name}: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(`${name}: ${message.text()}`);
  });
  page.setDefaultTimeout(10_000);
  await page.goto(server.url + path);
  return page;
}

async function view(name) {
  const url = `${server.url}/admin#/${name}`;
  await (page.url() === url ? page.reload() : page.goto(url));
  await page.getByRole('heading', { level: 1 }).waitFor();
}
const dialog = () => page.getByRole('dialog');
const press = (name, at = page) => pressIn(at, name);
const figure = async (label) => (await page.locator('.figures div', { has: page.locator('dt', { hasText: new RegExp(`^${label}$`) }) }).locator('dd').first().textContent()).replace(/^(−?\$?[\d.,]+).*/s, '$1');
const cookie = async () => (await context.cookies(server.url)).find((one) => one.name.includes('coordinator'));

/** The API as the signed-in page would call it. */
async function api(method, path, body, headers = {}) {
  const sent = { cookie: `${(await cookie())?.name}=${(await cookie())?.value}`, origin: server.url, 'sec-fetch-site': 'same-origin', ...headers };
  if (body !== undefined) sent['content-type'] = 'application/json';
  return fetch(server.url + path, { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body) });
}
const json = async (...request) => (await api(...request)).json();

/** One chat completion with `key`, as a program would send it. */
const ask = (key) => fetch(`${server.url}/v1/chat/completions`, {
  method: 'POST',
  headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
  body: JSON.stringify({ model, max_tokens: 40, messages: [{ role: 'user', content: 'Say hello.' }] }),
});

async function signIn(at, name = 'ada', secret = password) {
  await at.getByLabel('Name').fill(name);
  await at.getByLabel('Password').fill(secret);
  await at.getByRole('button', { name: 'Sign in' }).click();
}

let page;
let account;
let key;

test('the pages send a strict policy, and nothing is inline', async () => {
  for (const path of ['/', '/admin']) {
    const response = await fetch(server.url + path);
    const policy = response.headers.get('content-security-policy');
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    assert.equal((await fetch(server.url + path, { headers: { 'if-none-match': response.headers.get('etag') } })).status, 304);
  }
  console.log(`       ${(await fetch(`${server.url}/admin`)).headers.get('content-security-policy')}`);
});

test('the one-time link sets up the first admin, once', async () => {
  page = await open(new URL(server.setup).pathname + new URL(server.setup).hash);
  await page.getByRole('heading', { name: 'Set up the first admin' }).waitFor();
  assert.equal(new URL(page.url()).hash, '', 'the secret left the address bar');
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByLabel('Password again').fill('something else entirely');
  await press('Create admin');
  await page.getByText('Not the same as above.').waitFor();
  await page.getByLabel('Password again').fill(password);
  await press('Create admin');
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
  const again = await fetch(`${server.url}/v1/admin/setup`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token: new URL(server.setup).hash.slice(7), name: 'eve', password: 'another long password' }) });
  assert.equal(again.status, 401);
});

test('the cookie is kept from scripts and from other sites', async () => {
  const one = await cookie();
  assert.ok(one.httpOnly && one.sameSite === 'Strict' && one.path === '/', JSON.stringify(one));
  assert.equal(await page.evaluate(() => document.cookie), '');
});

test('sign out, a wrong password, sign in with a new session', async () => {
  const before = await cookie();
  await press('Sign out');
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await cookie(), undefined);
  const replayed = await fetch(`${server.url}/v1/admin/overview`, { headers: { cookie: `${before.name}=${before.value}` } });
  assert.equal(replayed.status, 401, 'the old session is over on the server too');
  await signIn(page, 'ada', 'wrong password');
  await page.getByRole('alert').filter({ hasText: /wrong/i }).waitFor();
  assert.equal(await page.getByLabel('Name').inputValue(), 'ada', 'what was typed stays');
  const [response] = await Promise.all([page.waitForResponse((r) => r.url().endsWith('/session') && r.request().method() === 'POST'), signIn(page)]);
  console.log(`       set-cookie: ${(await response.headersArray()).find((h) => h.name.toLowerCase() === 'set-cookie')?.value.replace(/=[^;]{8,};/, '=…;')}`);
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
  assert.notEqual((await cookie()).value, before.value);
});

test('failures are answered later and later', async () => {
  const attempt = (secret) => fetch(`${server.url}/v1/admin/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: 'ada', password: secret }) });
  const statuses = [];
  for (let i = 0; i < 5; i += 1) statuses.push((await attempt(`wrong password ${i}`)).status);
  assert.deepEqual(statuses.slice(0, 4), [401, 401, 401, 401]);
  const held = await attempt(password);
  assert.equal(held.status, 429, 'even the right password waits');
  const wait = Number(held.headers.get('retry-after'));
  assert.ok(wait >= 1 && wait <= 4, String(wait));
  await new Promise((resolve) => { setTimeout(resolve, wait * 1_000 + 50); });
  assert.equal((await attempt(password)).status, 200);
});

test('the overview says what needs attention, and checks the books', async () => {
  await page.goto('about:blank');
  await view('overview');
  await page.getByText('Providers up').waitFor();
  await press('Check now');
  await page.getByText(/^The books agree, checked/).waitFor();
});

test('create an account; its first key is shown once, with a line that works', async () => {
  await view('accounts');
  await press('New account');
  await dialog().getByLabel('Name', { exact: true }).fill('Grace Hopper');
  await dialog().getByLabel('Email').fill('grace@example.org');
  await press('Create account', dialog());
  await dialog().getByRole('heading', { name: 'Grace Hopper is ready' }).waitFor();
  key = (await dialog().getByRole('status', { name: 'The key' }).textContent()).trim();
  assert.match(key, /^sk-db-/);
  const line = await dialog().locator('pre').textContent();
  assert.ok(line.includes(key) && line.includes(`${server.url}/v1/chat/completions`), line);
  await press('I have copied it', dialog());
  await page.getByRole('heading', { name: 'Grace Hopper', level: 1 }).waitFor();
  account = /acct_\w+/.exec(page.url())[0];
  assert.ok(!(await page.content()).includes(key), 'nowhere else');
  assert.equal((await ask(key)).status, 402, 'an empty account buys nothing');
});

test('a name taken is said at its field, and nothing typed is lost', async () => {
  await view('accounts');
  await press('New account');
  await dialog().getByLabel('Name', { exact: true }).fill('Grace Hopper');
  await press('Create account', dialog());
  await dialog().getByRole('alert').filter({ hasText: /Grace Hopper|already|exists|taken/ }).waitFor();
  assert.equal(await dialog().getByLabel('Name', { exact: true }).inputValue(), 'Grace Hopper');
  await page.keyboard.press('Escape');
});

test('a script in an account name stays text', async () => {
  const name = '<img src=x onerror="document.title=1"><script>window.hacked=1</script>';
  const made = await json('POST', '/v1/admin/accounts', { name, email: null });
  await view('accounts');
  await page.getByRole('link', { name }).waitFor();
  await view(`accounts/${made.id}`);
  await page.getByRole('heading', { name, level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator('#main img, #main script').count(), 0);
});

test('search as you type finds the account', async () => {
  await view('accounts');
  await page.getByLabel('Find an account').pressSequentially('grace@', { delay: 20 });
  await page.getByText(/^1 account$/).waitFor();
  await page.getByRole('link', { name: 'Grace Hopper' }).click();
  await page.getByRole('heading', { name: 'Grace Hopper', level: 1 }).waitFor();
  await page.goBack();
  assert.equal(await page.getByLabel('Find an account').inputValue(), 'grace@', 'back comes to the same search');
});

test('add credit: the balance after is shown, a double click adds it once', async () => {
  await view(`accounts/${account}`);
  await press('Add credit');
  for (const [typed, why] of [['ten', /a dot \(no comma\)/], ['0,125', /a dot \(no comma\)/], ['1,000', /a dot \(no comma\)/], ['$5', /a dot/], ['0.0000001', /six decimals/], ['99999999999999', /too large/], ['0', /more than zero/]]) {
    await dialog().getByLabel('Amount in USD').fill(typed);
    await press('Continue', dialog());
    await dialog().getByRole('alert').filter({ hasText: why }).waitFor();
  }
  await dialog().getByLabel('Amount in USD').fill('10.5');
  await dialog().getByLabel('Note').fill('Invoice 114');
  await press('Continue', dialog());
  const sum = await dialog().locator('.figures').textContent();
  assert.ok(sum.includes('Balance now$0.00') && sum.includes('Balance after$10.50'), sum);
  await page.evaluate(() => { window.stayed = true; });
  await dialog().getByRole('button', { name: 'Add $10.50' }).dblclick();
  await page.getByRole('cell', { name: /Top-up.*Invoice 114/ }).waitFor();
  assert.equal(await figure('Balance'), '$10.50');
  assert.equal((await json('GET', `/v1/admin/accounts/${account}`)).balance_micro_usd, 10_500_000);
  assert.equal((await json('GET', `/v1/admin/accounts/${account}/ledger`)).length, 1);
  assert.ok(await page.evaluate(() => window.stayed), 'without a reload');
});

test('an answer that is lost: pressing again adds the credit once', async () => {
  let lost = 0;
  await page.route('**/v1/admin/credit', async (route) => {
    if (lost++) return route.continue();
    await route.fetch();
    return route.abort();
  });
  await press('Add credit');
  await dialog().getByLabel('Amount in USD').fill('1');
  await press('Continue', dialog());
  await press('Add $1.00', dialog());
  await dialog().getByRole('alert').filter({ hasText: 'not known whether' }).waitFor();
  await press('Add $1.00', dialog());
  await dialog().waitFor({ state: 'detached' });
  await page.unroute('**/v1/admin/credit');
  assert.equal((await json('GET', `/v1/admin/accounts/${account}`)).balance_micro_usd, 11_500_000);
  assert.equal(await figure('Balance'), '$11.50');
});

test('a request of the demo arrives in the usage, and its cost leaves the balance', async () => {
  const answer = await ask(key);
  assert.equal(answer.status, 200);
  const { usage } = await answer.json();
  const row = page.getByRole('table', { name: 'Requests' }).getByRole('row').filter({ hasText: answer.headers.get('x-request-id') });
  await row.waitFor();
  assert.match(await row.textContent(), new RegExp(`${usage.prompt_tokens}.*${usage.completion_tokens}`));
  const { balance_micro_usd: balance } = await json('GET', `/v1/admin/accounts/${account}`);
  assert.equal(balance, 11_500_000 - usage.cost_micro_usd);
  await page.locator('.uplot canvas').waitFor();
});

test('a charge is refunded once', async () => {
  await press(/^Refund request/);
  await dialog().getByLabel('Reason').fill('a test');
  await press('Refund', dialog());
  await page.getByRole('cell', { name: /Refund.*a test/ }).waitFor();
  await page.getByText('refunded', { exact: true }).waitFor();
  assert.equal(await page.getByRole('button', { name: /^Refund request/ }).count(), 0);
  assert.equal((await json('GET', `/v1/admin/accounts/${account}`)).balance_micro_usd, 11_500_000);
});

test('credit added by mistake is taken back, but no more than is there', async () => {
  await press('Take credit back');
  await dialog().getByLabel('Amount in USD').fill('12');
  await dialog().getByLabel('Note').fill('a slip');
  await press('Take back', dialog());
  await dialog().getByText(/at most \$11\.50 can be taken back/).waitFor();
  await dialog().getByLabel('Amount in USD').fill('1.5');
  await press('Take back', dialog());
  await page.getByRole('cell', { name: /Adjustment.*a slip/ }).waitFor();
  assert.equal((await json('GET', `/v1/admin/accounts/${account}`)).balance_micro_usd, 10_000_000);
  assert.equal((await api('POST', '/v1/admin/credit', { account, amount_usd: '1.50' })).status, 200);
  await page.getByText('$11.50').first().waitFor();
});

test('suspend refuses the keys, resume lets them in again', async () => {
  await press('Suspend');
  await press('Suspend', dialog());
  await page.getByText('suspended', { exact: true }).waitFor();
  assert.equal((await ask(key)).status, 403);
  await press('Resume');
  await press('Resume', dialog());
  await page.getByRole('button', { name: 'Suspend' }).waitFor();
  assert.equal((await ask(key)).status, 200);
});

test('a key is made with a cap, and revoked', async () => {
  await press('New key');
  await dialog().getByLabel('Name').fill('capped');
  await dialog().getByLabel('Spend cap').fill('2.5');
  await dialog().getByLabel('The cap starts anew').selectOption('monthly');
  await press('Create key', dialog());
  // A limit is looked at before it applies; on the way back nothing typed is lost.
  assert.match(await dialog().locator('.figures').textContent(), /It may spend\$2\.50 a month/);
  await press('Back', dialog());
  assert.equal(await dialog().getByLabel('Spend cap').inputValue(), '2.5');
  await press('Create key', dialog());
  await press('Create key', dialog());
  const made = (await dialog().getByRole('status', { name: 'The key' }).textContent()).trim();
  await press('I have copied it', dialog());
  await page.getByRole('cell', { name: /\$0\.00 of \$2\.50 a month/ }).waitFor();
  assert.equal((await ask(made)).status, 200);
  await press('Revoke key capped');
  await press('Revoke key', dialog());
  await page.getByRole('cell', { name: /capped.*revoked/ }).waitFor();
  assert.equal((await ask(made)).status, 401);
});

test('the usage is exported as CSV', async () => {
  const [download] = await Promise.all([page.waitForEvent('download'), press('Export CSV', page.getByRole('region', { name: 'Requests' }))]);
  assert.equal(download.suggestedFilename(), 'Grace-Hopper-usage.csv');
  const saved = await (await import('node:fs/promises')).readFile(await download.path(), 'utf8');
  assert.ok(saved.startsWith('\ufeff'), 'a spreadsheet sees that it is UTF-8');
  const lines = saved.trim().split('\n');
  assert.equal(lines.length, 4, lines.join('\n'));
});

test('a price is changed: the effect is shown first, the old version stays in the history', async () => {
  await view('prices');
  await press('Edit the price of Gemma 4 26B');
  await dialog().getByLabel('Output, per 1M tokens').fill('0.25');
  // ceil((1000 × 65,000 + 500 × 250,000) / 1,000,000) = 190 micro-USD, before it 165.
  await dialog().getByText('costs $0.00019 instead of $0.000165 (+15.1 %)').waitFor();
  await press('Continue', dialog());
  const changed = dialog().getByRole('table', { name: 'What changes' }).getByRole('row');
  assert.equal(await changed.count(), 2, 'one value, and no other');
  assert.match(await changed.nth(1).textContent(), /Output\$0\.20\$0\.25\+25\.0 %/);
  assert.equal((await (await fetch(`${server.url}/v1/pricing`)).json()).prices.find((one) => one.model === model).output_price, 200_000, 'not yet');
  await press('Save as a new version', dialog());
  await page.getByRole('table', { name: 'Prices in force' }).getByRole('row').filter({ hasText: model }).filter({ hasText: '$0.25' }).waitFor();
  const versions = page.getByRole('table', { name: 'Versions' }).getByRole('row').filter({ hasText: model });
  await versions.nth(1).waitFor();
  const { prices } = await (await fetch(`${server.url}/v1/pricing`)).json();
  assert.equal(prices.find((one) => one.model === model).output_price, 250_000);
});

test('every field of money reads amounts as the command line does: a comma is refused, naming the dot', async () => {
  const refuses = async (label, submit) => {
    const box = dialog().getByLabel(label, { exact: true });
    const before = await box.inputValue();
    await box.fill('0,125');
    await press(submit, dialog());
    await dialog().locator('.field', { has: page.getByLabel(label, { exact: true }) }).getByText(/a dot \(no comma\)/).waitFor();
    await box.fill(before);
  };
  await view('prices');
  await press('Edit the price of Qwen3.5 27B');
  for (const label of ['Input', 'Output', 'Cached input', 'Written to the cache', 'Written for an hour']) {
    await refuses(new RegExp(`^${label}, per 1M tokens`), 'Continue');
  }
  await page.keyboard.press('Escape');
  const { prices } = await (await fetch(`${server.url}/v1/pricing`)).json();
  assert.equal(prices.find((one) => one.model.startsWith('qwen3.5-27b')).output_price, 780_000);
  await view('invites');
  await press('New code');
  await refuses('Credit for each account', 'Continue');
  await page.keyboard.press('Escape');
  await view(`accounts/${account}`);
  await press('Take credit back');
  await dialog().getByLabel('Note').fill('never');
  await refuses('Amount in USD', 'Take back');
  await page.keyboard.press('Escape');
  await press('New key');
  await dialog().getByLabel('Name').fill('never');
  await refuses(/^Spend cap/, 'Create key');
  await page.keyboard.press('Escape');
});

test('an address is one account, however it is spelled, and a slip is named', async () => {
  const made = await json('POST', '/v1/admin/accounts', { name: 'José', email: 'Jose\u0301@example.org' });
  const taken = await api('POST', '/v1/admin/accounts', { name: 'another', email: 'JOS\u00c9@example.org' });
  assert.equal(taken.status, 409);
  assert.match((await taken.json()).error.message, /one address.*José/);
  assert.equal((await json('POST', '/v1/admin/credit', { email: 'jos\u00e9@EXAMPLE.org', amount_usd: '0.25' })).account_id, made.id);
  const slip = await json('POST', '/v1/admin/credit', { email: 'josé@exmaple.org', amount_usd: '0.25' });
  assert.match(slip.error.message, /nearly the same: "José@example.org"/);
});

test('the provider is probed, disabled and enabled', async () => {
  await view('providers');
  await press(/^Probe/);
  await page.getByText(/answered in/).first().waitFor();
  await page.locator('.endpoints code', { hasText: '/v1/chat/completions' }).first().waitFor();
  await press(/^Disable/);
  await press('Disable', dialog());
  await page.getByText('disabled', { exact: true }).waitFor();
  assert.ok((await ask(key)).status >= 400);
  await press(/^Enable/);
  await press('Enable', dialog());
  await page.getByRole('button', { name: /^Disable/ }).waitFor();
  assert.equal((await ask(key)).status, 200);
});

test('an invite code is made, and redeemed on the account page', async () => {
  await view('invites');
  await press('New code');
  await dialog().getByLabel('Credit for each account').fill('0.75');
  await press('Continue', dialog());
  await press('Create code', dialog());
  const code = (await dialog().getByRole('status', { name: 'The code' }).textContent()).trim();
  await press('Done', dialog());
  const mine = await open('/');
  await mine.getByLabel('Your key').fill(key);
  await press('Open account', mine);
  await press('Redeem a code', mine);
  await mine.getByRole('textbox', { name: 'Code' }).fill(code);
  await press('Redeem', mine);
  await mine.getByRole('cell', { name: /Invite code/ }).waitFor();
  await mine.close();
  await view('invites');
  await page.getByText('used up').waitFor();
});

test('a provider asks to be paid, and an admin says that it is', async () => {
  const [{ account_id: owner }] = await json('GET', '/v1/admin/providers');
  const { key: owners } = await json('POST', `/v1/admin/accounts/${owner}/keys`, { name: 'owner', scopes: ['manage'] });
  const mine = await open('/');
  await mine.getByLabel('Your key').fill(owners);
  await press('Open account', mine);
  await press('Withdraw', mine);
  await mine.getByRole('dialog').getByLabel('Note').fill('to the bank');
  await press('Ask for it', mine);
  await mine.getByRole('table', { name: 'Withdrawals' }).getByText('pending').waitFor();
  await mine.close();
  await view('overview');
  await page.getByRole('link', { name: /1 withdrawal pending/ }).click();
  await press(/^Mark the withdrawal/);
  await dialog().getByText('to the bank').waitFor();
  await press('Mark as paid', dialog());
  await page.getByText('None here.').waitFor();
  await page.getByText('Paid', { exact: true }).click();
  await page.getByRole('cell', { name: /to the bank/ }).waitFor();
});

test('the chart is stacked by model, each in the colour of its row', async () => {
  const other = 'qwen3.5-27b-claude-opus-8bit';
  const asked = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: other, max_tokens: 40, messages: [{ role: 'user', content: 'Say hello.' }] }),
  });
  assert.equal(asked.status, 200);
  await view(`accounts/${account}`);
  const usage = page.getByRole('region', { name: 'Usage' });
  await usage.getByRole('button', { name: new RegExp(other) }).waitFor();
  await usage.locator('.uplot canvas').waitFor();
  /** The colours of the canvas that are those of models, by their names in the style sheet. */
  const drawn = () => usage.evaluate((node) => {
    const canvas = node.querySelector('.uplot canvas');
    const style = getComputedStyle(document.documentElement);
    const hex = (i, data) => `#${[0, 1, 2].map((k) => data[i + k].toString(16).padStart(2, '0')).join('')}`;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) seen.add(hex(i, data));
    return [1, 2, 3].filter((n) => seen.has(style.getPropertyValue(`--model-${n}`).trim()));
  });
  const until = async (expected) => {
    for (let n = 0; n < 50 && JSON.stringify(await drawn()) !== JSON.stringify(expected); n += 1) await page.waitForTimeout(100);
    assert.deepEqual(await drawn(), expected);
  };
  await usage.getByText('Tokens', { exact: true }).last().click();
  await until([1, 2]);
  await usage.getByRole('button', { name: /gemma/ }).click();
  const chosen = await usage.getByRole('listitem').filter({ has: page.locator('[aria-pressed=true]') }).locator('.share').evaluate((bar) => bar.style.background);
  await until([Number(/\d/.exec(chosen)[0])]);
});

test('a session that ends under an open form: signing in goes on where it was', async () => {
  await view(`accounts/${account}`);
  await press('Edit');
  await dialog().getByLabel('Email').fill('hopper@example.org');
  assert.equal((await api('DELETE', '/v1/admin/session')).status, 204);
  await press('Save', dialog());
  const again = page.getByRole('dialog', { name: 'Sign in again' });
  await again.getByLabel('Password').fill(password);
  await press('Sign in', again);
  await page.getByText('hopper@example.org').waitFor();
  assert.equal(await page.getByRole('dialog').count(), 0);
});

test('a write from another origin is refused', async () => {
  const stranger = await startStranger();
  const there = await context.newPage();
  await there.goto(stranger.url);
  await there.evaluate(async ({ url, id }) => {
    const body = JSON.stringify({ account: id, amount_usd: '1000.00', note: 'stolen' });
    for (const type of ['text/plain', 'application/x-www-form-urlencoded']) await fetch(`${url}/v1/admin/credit`, { method: 'POST', mode: 'no-cors', credentials: 'include', headers: { 'content-type': type }, body }).catch(() => {});
  }, { url: server.url, id: account });
  await there.close();
  stranger.stop();
  for (const headers of [{ origin: stranger.url.slice(0, -1), 'sec-fetch-site': 'same-site' }, { origin: 'null', 'sec-fetch-site': 'cross-site' }]) {
    const response = await api('POST', '/v1/admin/credit', { account, amount_usd: '1000.00', note: 'stolen' }, headers);
    assert.equal(response.status, 403, JSON.stringify(headers));
  }
  const notes = (await json('GET', `/v1/admin/accounts/${account}/ledger`)).map((row) => row.note);
  assert.ok(!notes.includes('stolen'), notes.join());
});

test('the account page: prices and samples for anybody, the rest with a key', async () => {
  const mine = await open('/');
  await mine.getByRole('cell', { name: /Gemma 4 26B/ }).waitFor();
  for (const language of ['Python', 'Node', 'curl']) {
    await mine.getByText(language, { exact: true }).click();
    assert.ok((await mine.locator('pre').textContent()).includes(`${server.url}/v1`), language);
  }
  // Another last character, whatever the key's own is: one key in 62 ends in any given one.
  await mine.getByLabel('Your key').fill(key.slice(0, -1) + (key.endsWith('0') ? '1' : '0'));
  await press('Open account', mine);
  await mine.locator('.field .wrong').filter({ hasText: /\w/ }).waitFor();
  assert.equal(await mine.evaluate(() => sessionStorage.length), 0, 'a refused key is not kept');
  await mine.getByLabel('Your key').fill(key);
  await press('Open account', mine);
  await mine.getByRole('heading', { name: 'Grace Hopper', level: 1 }).waitFor();
  await mine.getByRole('table', { name: 'Requests' }).getByRole('row').nth(1).waitFor();
  assert.deepEqual(await mine.evaluate(() => [sessionStorage.length, localStorage.length]), [1, 0]);
  await mine.reload();
  await mine.getByRole('heading', { name: 'Grace Hopper', level: 1 }).waitFor();
  await press('Forget key', mine);
  await mine.getByLabel('Your key').waitFor();
  assert.equal(await mine.evaluate(() => sessionStorage.length), 0);
  await mine.close();
});

test('a key that may manage makes, rotates and revokes keys', async () => {
  const { key: manager } = await json('POST', `/v1/admin/accounts/${account}/keys`, { name: 'manager', scopes: ['inference', 'manage'] });
  const mine = await open('/');
  await mine.getByLabel('Your key').fill(manager);
  await press('Open account', mine);
  await press('New key', mine);
  await mine.getByRole('dialog').getByLabel('Name').fill('made here');
  await press('Create key', mine);
  const made = (await mine.getByRole('status', { name: 'The key' }).textContent()).trim();
  await press('I have copied it', mine);
  await press('Rotate key made here', mine);
  await press('Rotate key', mine.getByRole('dialog'));
  const rotated = (await mine.getByRole('status', { name: 'The key' }).textContent()).trim();
  assert.notEqual(rotated, made);
  assert.equal((await ask(made)).status, 401);
  assert.equal((await ask(rotated)).status, 200);
  await press('I have copied it', mine);
  await press('Revoke key made here', mine);
  await press('Revoke key', mine.getByRole('dialog'));
  await mine.getByRole('cell', { name: /made here.*revoked/ }).first().waitFor();
  assert.equal((await ask(rotated)).status, 401);
  await mine.close();
});

test('it works by keyboard: skip link, views, dialogs, focus', async () => {
  await page.goto('about:blank');
  await page.goto(`${server.url}/admin`);
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
  const focused = () => page.evaluate(() => `${document.activeElement.tagName} ${document.activeElement.textContent.trim().slice(0, 30)}`);
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'A Skip to content');
  await page.getByRole('link', { name: 'Accounts', exact: true }).focus();
  await page.keyboard.press('Enter');
  await page.getByLabel('Find an account').waitFor();
  assert.equal(await focused(), 'H1 Accounts', 'focus goes to the view');
  await page.getByRole('button', { name: 'New account' }).focus();
  await page.keyboard.press('Enter');
  await dialog().waitFor();
  assert.match(await focused(), /^INPUT/);
  await page.keyboard.press('Escape');
  await dialog().waitFor({ state: 'detached' });
  assert.equal(await focused(), 'BUTTON New account', 'focus comes back');
});

test(`with ${ACCOUNTS} accounts: the overview is quick and the list is paged`, async () => {
  const names = Array.from({ length: ACCOUNTS }, (_, i) => `team-${String(i).padStart(5, '0')}`);
  const worker = async () => {
    for (let name = names.pop(); name; name = names.pop()) {
      const response = await api('POST', '/v1/admin/accounts', { name, email: null });
      assert.equal(response.status, 201);
    }
  };
  await Promise.all(Array.from({ length: 32 }, worker));
  const fresh = await browser.newContext({ viewport: { width: 1440, height: 900 }, storageState: await context.storageState() });
  const quick = await fresh.newPage();
  const began = performance.now();
  await quick.goto(`${server.url}/admin`);
  await quick.getByText('Credit held by accounts').waitFor();
  const seen = performance.now();
  await quick.locator('.uplot canvas').waitFor();
  console.log(`       figures after ${Math.round(seen - began)} ms, chart after ${Math.round(performance.now() - began)} ms`);
  await quick.getByRole('link', { name: 'Accounts', exact: true }).click();
  await quick.getByText(/accounts, 50 shown/).waitFor();
  assert.equal(await quick.locator('tbody tr').count(), 50);
  await quick.getByRole('button', { name: 'Show more' }).click();
  await quick.getByText(/accounts, 100 shown/).waitFor();
  await quick.getByLabel('Find an account').fill('team-00042');
  await quick.getByText(/^1 account$/).waitFor();
  await fresh.close();
});

test('each page weighs at most 150 kB over the wire', async () => {
  const weigh = async (path, then) => {
    const fresh = await browser.newContext({ storageState: await context.storageState() });
    const light = await fresh.newPage();
    const wire = await fresh.newCDPSession(light);
    await wire.send('Network.enable');
    let bytes = 0;
    let requests = 0;
    wire.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; requests += 1; });
    await light.goto(server.url + path);
    await then(light);
    await light.waitForLoadState('networkidle');
    await fresh.close();
    console.log(`       ${path}: ${bytes} bytes in ${requests} requests`);
    assert.ok(bytes <= 150_000, `${path}: ${bytes}`);
  };
  await weigh('/admin', (light) => light.locator('.uplot canvas').waitFor());
  await weigh('/', async (light) => {
    await light.getByLabel('Your key').fill(key);
    await press('Open account', light);
    await light.locator('.uplot canvas').waitFor();
  });
});

test('an admin is made, signs in, and is out at once with a new password', async () => {
  await view('admins');
  await press('New admin');
  await dialog().getByLabel('Name', { exact: true }).fill('bob');
  await dialog().getByLabel('Password', { exact: true }).fill('first password of bob');
  await dialog().getByLabel('Password again').fill('first password of bob');
  await press('Create admin', dialog());
  const row = page.getByRole('row').filter({ hasText: 'bob' });
  await row.waitFor();
  const other = await browser.newContext();
  const his = await open('/admin#/admins', other);
  await signIn(his, 'bob', 'first password of bob');
  await his.getByRole('row').filter({ hasText: 'bobyou' }).or(his.getByRole('row').filter({ hasText: /bob\s*you/ })).first().waitFor();
  await press('New password for bob');
  await dialog().getByLabel('Password', { exact: true }).fill('second password of bob');
  await dialog().getByLabel('Password again').fill('second password of bob');
  await press('Set password', dialog());
  await page.getByText('bob has another password.').waitFor();
  const cookies = await other.cookies(server.url);
  const { name, value } = cookies.find((one) => one.name.includes('coordinator'));
  const replayed = await fetch(`${server.url}/v1/admin/overview`, { headers: { cookie: `${name}=${value}` } });
  assert.equal(replayed.status, 401, 'the session ended with the old password');
  await other.close();
  await press('Remove bob');
  await press('Remove admin', dialog());
  await row.waitFor({ state: 'detached' });
  await press('Remove ada');
  await press('Remove admin', dialog());
  await dialog().getByText(/last admin/).waitFor();
  await page.keyboard.press('Escape');
});

test('the demo’s link opens the account; a question is answered, charged, and moves the balance', async () => {
  const mine = await open(`/#key=${server.key}`, await browser.newContext());
  await mine.getByRole('heading', { name: 'demo', level: 1 }).waitFor();
  assert.equal(new URL(mine.url()).hash, '', 'the key left the address bar');
  const panel = mine.getByRole('region', { name: 'Try it' });
  const balance = () => mine.locator('.figures div', { has: mine.locator('dt', { hasText: /^Balance$/ }) }).locator('dd').first().textContent();
  const before = await balance();
  await panel.getByLabel('Model').selectOption(model);
  await panel.getByLabel('Say something').fill('Say hello.');
  await press('Send', panel);
  const receipt = panel.locator('.figures');
  await receipt.waitFor();
  assert.ok((await panel.getByRole('status', { name: 'The answer' }).textContent()).length > 5);
  assert.match(await receipt.textContent(), /Charged\$0\.0000/);
  await mine.waitForFunction((was) => [...document.querySelectorAll('.figures dd')].every((one) => one.textContent !== was), before);
  const id = /req_\w+/.exec(await receipt.textContent())[0];
  await mine.getByRole('table', { name: 'Requests' }).getByRole('row').filter({ hasText: id }).waitFor();
  assert.match(await mine.getByRole('region', { name: 'Usage' }).locator('.figures').textContent(), /Requests1.*Charged\$0\.0000/);
  await mine.context().close();
});

test('one press of “create key” makes one key, however often it is sent', async () => {
  const body = { name: 'once', scopes: ['inference'] };
  const post = () => api('POST', `/v1/admin/accounts/${account}/keys`, body, { 'idempotency-key': 'browser-once' });
  const [first, second] = [await post(), await post()];
  assert.deepEqual([first.status, second.status], [201, 201]);
  const [made, again] = [await first.json(), await second.json()];
  assert.equal(again.id, made.id);
  assert.deepEqual([made.key.startsWith('sk-db-'), again.key], [true, null]);
});

// What runs on the machines that join: another demo, as if it were their local server.
let local;
let owner;
let ownerKey;
const machines = [];

/** The machine's row on its owner's page. */
const machineRow = (at, name) => at.getByRole('table', { name: 'Machines' }).getByRole('row').filter({ hasText: name });

test('from “Invite a machine” to the first earning on its owner’s page', async () => {
  local = await startServer();
  const [demo] = await json('GET', '/v1/admin/providers');
  assert.equal((await api('PATCH', `/v1/admin/providers/${demo.id}`, { enabled: false })).status, 200);
  owner = (await json('POST', '/v1/admin/accounts', { name: 'Barbara', email: null })).id;
  ownerKey = (await json('POST', `/v1/admin/accounts/${owner}/keys`, { name: 'barbara', scopes: ['inference', 'manage'] })).key;
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
  await view('providers');
  await press('Invite a machine');
  await dialog().getByLabel('Account that earns').fill('Nobody');
  await press('Make the line', dialog());
  await dialog().getByRole('alert').filter({ hasText: /Nobody/ }).waitFor();
  await dialog().getByLabel('Account that earns').fill('Barbara');
  await dialog().getByLabel('Models').fill(model);
  await dialog().getByLabel('New machines wait for approval').check();
  await press('Make the line', dialog());
  await dialog().getByRole('heading', { name: 'The line, shown once' }).waitFor();
  await press('Copy line', dialog());
  const line = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(line, new RegExp(`^coordinator join ${server.url} --key sk-db-\\w+-\\w+$`));
  await press('I have copied it', dialog());
  // Once the dialog is gone, which takes a moment.
  const shown = async () => (await page.content()).includes(line.split(' ').at(-1));
  for (let i = 0; i < 100 && await shown(); i += 1) await page.waitForTimeout(50);
  assert.ok(!await shown(), 'shown once');
  machines.push(runLine(line, { name: 'kitchen', local }));
  const card = page.getByRole('article').filter({ hasText: 'kitchen' });
  await card.getByText('waiting for approval').waitFor();
  assert.notEqual((await ask(key)).status, 200, 'it waits');
  await view('overview');
  await page.getByRole('link', { name: 'Machine kitchen has joined and waits for your approval' }).click();
  await press('Approve kitchen');
  await card.getByText('connected', { exact: true }).waitFor();
  const answer = await ask(key);
  assert.equal(answer.status, 200);
  const { usage } = await answer.json();
  assert.ok(usage.cost_micro_usd > 0);
  const mine = await open('/', await browser.newContext());
  await mine.getByLabel('Your key').fill(ownerKey);
  await press('Open account', mine);
  await machineRow(mine, 'kitchen').waitFor();
  const cells = await machineRow(mine, 'kitchen').getByRole('cell').allTextContents();
  assert.match(cells.join('|'), new RegExp(`^kitchen connected.*${model}.*\\|1\\|${usage.prompt_tokens + usage.completion_tokens}${usage.prompt_tokens} in, ${usage.completion_tokens} out\\|`));
  const earned = `$0.${String(usage.cost_micro_usd).padStart(6, '0').replace(/0+$/, '')}`;
  const earnings = mine.getByRole('region', { name: 'Earnings' });
  assert.ok((await earnings.locator('.figures').textContent()).startsWith(`Earned${earned}`), await earnings.locator('.figures').textContent());
  await earnings.getByRole('table', { name: 'Earnings by model' }).getByRole('row').filter({ hasText: model }).filter({ hasText: earned }).waitFor();
  await earnings.locator('.uplot canvas').waitFor();
  // A second one, and the page that is open shows it.
  const more = await (await ask(key)).json();
  const sum = `$0.${String(usage.cost_micro_usd + more.usage.cost_micro_usd).padStart(6, '0').replace(/0+$/, '')}`;
  await earnings.locator('.figures').getByText(sum).first().waitFor();
  await press('Withdraw', earnings);
  await press('Ask for it', mine.getByRole('dialog'));
  await mine.getByRole('table', { name: 'Withdrawals' }).getByText('pending').waitFor();
  await mine.context().close();
  const [asked] = await json('GET', '/v1/admin/withdrawals?status=pending');
  assert.equal((await api('POST', `/v1/admin/withdrawals/${asked.id}/reject`, { reason: 'a test' })).status, 200);
});

test('a machine is named and limited; sent away it is gone within two seconds, and both pages say so', async () => {
  await press('Edit kitchen');
  await dialog().getByLabel('Name').fill('the kitchen');
  await dialog().getByLabel('Requests at once').fill('0');
  await press('Save', dialog());
  await dialog().getByRole('alert').filter({ hasText: /1 or more/ }).waitFor();
  await dialog().getByLabel('Requests at once').fill('2');
  await press('Save', dialog());
  const card = page.getByRole('article').filter({ hasText: 'the kitchen' });
  await card.getByText('0 of 2').waitFor();
  const mine = await open('/', await browser.newContext());
  await mine.getByLabel('Your key').fill(ownerKey);
  await press('Open account', mine);
  await machineRow(mine, 'the kitchen').getByText('0 of 2').waitFor();
  await press('Disconnect the kitchen');
  await dialog().getByLabel('Revoke its key too').check();
  const began = performance.now();
  await press('Disconnect', dialog());
  const { at, log } = await machines[0].ended;
  console.log(`       the agent ended after ${Math.round(at - began)} ms: ${log.trim().split('\n').at(-1)}`);
  assert.ok(at - began < 2_000);
  assert.match(log, /its key was revoked/);
  await card.getByText('away', { exact: true }).waitFor();
  await card.getByText('its key was revoked').waitFor();
  await machineRow(mine, 'the kitchen').getByText('its key was revoked').waitFor();
  assert.equal(await card.getByRole('button', { name: /^Disconnect/ }).count(), 0);
  await mine.context().close();
  const [demo] = (await json('GET', '/v1/admin/providers')).filter((one) => !one.machine);
  assert.equal((await api('PATCH', `/v1/admin/providers/${demo.id}`, { enabled: true })).status, 200);
});

test('an account that may invites its own machine; it waits for an admin', async () => {
  await view(`accounts/${owner}`);
  await press('Edit');
  await dialog().getByLabel('May invite machines of its own').check();
  await press('Save', dialog());
  await dialog().waitFor({ state: 'detached' });
  const mine = await open('/', await browser.newContext());
  await mine.getByLabel('Your key').fill(ownerKey);
  await press('Open account', mine);
  await press('Invite a machine', mine);
  await mine.getByRole('dialog').getByLabel('How many machines').fill('2');
  await press('Make the line', mine.getByRole('dialog'));
  const line = await mine.getByRole('dialog').locator('pre').textContent();
  await press('I have copied it', mine);
  for (const name of ['attic', 'cellar']) {
    machines.push(runLine(line, { name, local }));
    await machineRow(mine, name).getByText('waiting for approval').waitFor();
  }
  await mine.context().close();
  await view('providers');
  await press('Approve cellar');
  await page.getByRole('article').filter({ hasText: 'cellar' }).getByText('connected', { exact: true }).waitFor();
});

test('no page complained: no script error, no breach of the policy', () => assert.deepEqual(complaints, []));

await runAll(async () => {
  await browser.close();
  await Promise.all(machines.map((machine) => machine.stop()));
  await local?.stop();
  await server.stop();
  if (process.exitCode) console.log(server.log.split('\n').slice(-20).join('\n'));
});
