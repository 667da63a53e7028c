// Alerts on the pages: set, tried, seen to arrive, and the account's own threshold. On a server of its own.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { adminApi, pressIn, runAll, setUp, shoot, startBrowser, startServer, test } from './world.mjs';

const server = await startServer();
const browser = await startBrowser();
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, bypassCSP: true });
const page = await context.newPage();
const complaints = [];
page.on('pageerror', (error) => complaints.push(error.message));
page.on('console', (message) => { if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text()); });
page.setDefaultTimeout(10_000);

const got = [];
let status = 200;
const receiver = createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => { got.push({ id: request.headers['webhook-id'], ...JSON.parse(body) }); response.writeHead(status).end(); });
});
await new Promise((resolve) => { receiver.listen(0, '127.0.0.1', resolve); });
const hook = `http://127.0.0.1:${receiver.address().port}/hook`;

const dialog = () => page.getByRole('dialog');
const press = (name, at = page) => pressIn(at, name);

/** At both widths and in both schemes: nothing is cut off, axe finds nothing. */
async function look(name, at = page) {
  for (const [width, colorScheme] of [[1440, 'light'], [1440, 'dark'], [360, 'light'], [360, 'dark']]) {
    await at.setViewportSize({ width, height: 900 });
    await at.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    assert.deepEqual(await shoot(at, name), []);
  }
  await at.setViewportSize({ width: 1440, height: 900 });
  await at.emulateMedia({ colorScheme: 'light' });
}

test('alerts are set, the made secret is shown once, and a test says that it arrived', async () => {
  await setUp(page, server);
  await page.goto(`${server.url}/admin#/alerts`);
  await page.getByText('Nothing has needed anybody yet.').waitFor();
  await look('alerts-empty');
  await press('Send a test');
  await page.getByText('alerts go nowhere').waitFor();
  await press('Webhook');
  await dialog().getByLabel('Address').fill('http://169.254.169.254/latest');
  await press('Save', dialog());
  await dialog().getByText(/no address of a provider/).waitFor();
  await dialog().getByLabel('Address').fill(hook);
  await press('Save', dialog());
  const secret = await dialog().getByLabel('The secret').textContent();
  assert.match(secret, /^whsec_/);
  await press('Done', dialog());
  await page.getByText(hook).waitFor();
  assert.ok(!(await page.content()).includes(secret));
  await press('Send a test');
  await page.getByText('arrived', { exact: true }).waitFor();
  assert.equal(got.at(-1).type, 'test');
  status = 500;
  await press('Send a test');
  await page.getByText(/it answered 500/).waitFor();
  status = 200;
});

test('mail is set, what is wrong stands at its field, and what is typed stays', async () => {
  await press('E-mail');
  await dialog().getByLabel('Mail server').fill('127.0.0.1');
  await dialog().getByLabel('Port').fill('1');
  await dialog().getByLabel('Security').selectOption('none');
  await dialog().getByLabel('From').fill('not an address');
  await dialog().locator('[name="email.to"]').fill('ops@example.org, more@example.org');
  await press('Save', dialog());
  await dialog().getByText(/is no e-mail address/).waitFor();
  await look('alerts-mail');
  await dialog().getByLabel('From').fill('coordinator@example.org');
  await press('Save', dialog());
  await page.getByText('ops@example.org, more@example.org').waitFor();
  await press('What is sent');
  await dialog().getByLabel('Provider back').uncheck();
  await look('alerts-kinds');
  await press('Save', dialog());
  await page.getByText('Not sent: Provider back.').waitFor();
});

test('an account sets its threshold, and what follows is listed with where it went', async () => {
  const api = (method, path, body) => adminApi(context, server, method, path, body);
  const account = await api('POST', '/v1/admin/accounts', { name: 'grace' });
  await api('POST', '/v1/admin/credit', { account: account.id, amount_usd: '10' });
  const { key } = await api('POST', `/v1/admin/accounts/${account.id}/keys`, { scopes: ['inference', 'manage'] });
  const own = await context.newPage();
  await own.goto(`${server.url}/#key=${key}`);
  await own.getByText('No alert before the balance is used up.').waitFor();
  await own.getByRole('button', { name: 'Change when the balance is told of' }).click();
  await own.getByRole('dialog').getByLabel('Amount in USD').fill('5,00');
  await own.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await own.getByRole('dialog').getByText(/with a dot/).waitFor();
  await own.getByRole('dialog').getByLabel('Amount in USD').fill('5.00');
  await look('account-alert-dialog', own);
  await own.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await own.getByText('Alert when the balance falls below').waitFor();
  await look('account-alert', own);
  await own.close();
  await api('POST', '/v1/admin/debit', { account: account.id, amount_usd: '6' });
  await page.getByText('Balance below its threshold').first().waitFor({ timeout: 15_000 });
  await page.getByText('delivered').first().waitFor({ timeout: 15_000 });
  assert.equal(got.at(-1).type, 'balance.below');
  await look('alerts');
});

test('no page complained', () => { assert.deepEqual(complaints, []); });

await runAll(async () => {
  await browser.close();
  receiver.close();
  await server.stop();
});
