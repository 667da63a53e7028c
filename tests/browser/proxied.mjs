// The pages as people reach them: through nginx and Caddy, set up as people do, and over the server's own https.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { password, runAll, startBrowser, startServer, test } from './world.mjs';

const dir = mkdtempSync(join(tmpdir(), 'coordinator-proxied-'));
const there = (program) => {
  try {
    execFileSync('which', [program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

const [cert, certKey] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
  '-subj', '/CN=ai.example.test', '-addext', 'subjectAltName=DNS:ai.example.test', '-keyout', certKey, '-out', cert], { stdio: 'ignore' });

/** Starts a program, and waits until its port takes connections. */
async function startProxy(program, args, port) {
  let log = '';
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir } });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { log += text; });
  for (let tries = 0; ; tries += 1) {
    try {
      await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(1_000) });
      break;
    } catch (error) {
      // A TLS port hangs up on plain http: it listens.
      if (error.cause && error.cause.code !== 'ECONNREFUSED') break;
      if (tries > 100 || child.exitCode !== null) throw new Error(`${program} did not start: ${log}`);
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
  }
  return () => new Promise((resolve) => { child.once('exit', resolve); child.kill('SIGTERM'); });
}

async function nginx(location, tls) {
  const port = await freePort();
  const prefix = mkdtempSync(join(dir, 'nginx-'));
  mkdirSync(join(prefix, 'tmp'));
  writeFileSync(join(prefix, 'nginx.conf'), `
daemon off; worker_processes 1; pid ${prefix}/pid; error_log stderr; events {}
http {
  access_log off; client_body_temp_path ${prefix}/tmp; proxy_temp_path ${prefix}/tmp;
  fastcgi_temp_path ${prefix}/tmp; uwsgi_temp_path ${prefix}/tmp; scgi_temp_path ${prefix}/tmp;
  server {
    listen 127.0.0.1:${port}${tls ? ' ssl' : ''};
    ${tls ? `ssl_certificate ${cert}; ssl_certificate_key ${certKey};` : ''}
    ${location}
  }
}`);
  return { port, stop: await startProxy('nginx', ['-p', prefix, '-c', join(prefix, 'nginx.conf')], port) };
}

async function caddy(block) {
  const port = await freePort();
  const file = join(mkdtempSync(join(dir, 'caddy-')), 'Caddyfile');
  writeFileSync(file, `{\n admin off\n auto_https disable_redirects\n}\nhttps://ai.example.test:${port} {\n tls ${cert} ${certKey}\n ${block}\n}\n`);
  return { port, stop: await startProxy('caddy', ['run', '--adapter', 'caddyfile', '--config', file], port) };
}

const browser = await startBrowser(['--host-resolver-rules=MAP ai.example.test 127.0.0.1']);

/** Sets up the first admin, signs out and in, adds credit, reads the docs, saves a CSV: at `url`, of `server`. */
async function walk(url, server) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, acceptDownloads: true, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('response', (response) => { if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`); });
  const press = (name, at = page) => at.getByRole('button', { name, exact: true }).click();
  await page.goto(`${url}admin${new URL(server.setup).hash}`);
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByLabel('Password again').fill(password);
  await press('Create admin');
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
  await press('Sign out');
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password').fill(password);
  await press('Sign in');
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
  assert.equal(page.url().split('#')[0], `${url}admin`);

  await page.goto(`${url}admin#/accounts`);
  await page.getByRole('link', { name: 'demo', exact: true }).click();
  await press('Add credit');
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel(/Amount/).fill('12.50');
  await dialog.getByRole('button', { name: /review|continue/i }).click();
  await dialog.getByRole('button', { name: /^Add \$/ }).click();
  await page.getByText('$17.50').first().waitFor();
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.locator('section', { has: page.getByRole('heading', { name: 'Ledger' }) }).getByRole('button', { name: 'Export CSV' }).click(),
  ]);
  assert.match(readFileSync(await file.path(), 'utf8'), /12500000/);

  await page.goto(`${url}docs`);
  await page.getByText('POST /v1/chat/completions', { exact: true }).waitFor();

  await page.goto(url);
  await page.getByText('Gemma 4 26B').first().waitFor();
  const base = await page.evaluate(() => document.body.innerText);
  assert.ok(base.includes(`${url}v1/chat/completions`), 'the line to paste has the address of the proxy');
  const api = await page.evaluate(async ([root, key]) => {
    const response = await fetch(`${root}v1/payments/balance`, { headers: { authorization: `Bearer ${key}` } });
    return response.json();
  }, [url, server.key]);
  assert.equal(api.balance_micro_usd, 17_500_000);
  const cookies = await context.cookies(`${url}admin`);
  assert.deepEqual(complaints, []);
  await context.close();
  return cookies.find((one) => one.name.includes('coordinator'));
}

const upstream = (server) => server.url;

async function through(start, args, path, check) {
  const server = await startServer(args);
  try {
    const proxy = await start(server);
    try {
      check(await walk(`https://ai.example.test:${proxy.port}${path}`, server));
    } finally {
      await proxy.stop();
    }
  } finally {
    await server.stop();
  }
}

const secure = (path, name) => (cookie) => {
  assert.ok(cookie.secure && cookie.httpOnly && cookie.sameSite === 'Strict', JSON.stringify(cookie));
  assert.equal(cookie.path, path);
  assert.equal(cookie.name, name);
};
const host = secure('/', '__Host-coordinator');

if (there('nginx')) {
  test('through nginx with a bare proxy_pass', () => through((server) => nginx(`location / { proxy_pass ${upstream(server)}; }`, true), [], '/', host));
  test('through nginx below a path, with a bare proxy_pass', () => through((server) => nginx(`location /ai/ { proxy_pass ${upstream(server)}/; }`, true), [], '/ai/', host));
  test('through nginx below a path that it leaves on, with --public-url', () => through(
    (server) => nginx(`location /ai/ { proxy_pass ${upstream(server)}; }`, true),
    ['--public-url', 'https://ai.example.test/ai/'], '/ai/', secure('/ai/', '__Secure-coordinator'),
  ));
} else console.log('skipped: nginx is not installed');

if (there('caddy')) {
  test('through Caddy', () => through((server) => caddy(`reverse_proxy ${new URL(upstream(server)).host}`), [], '/', host));
  test('through Caddy below a path', () => through((server) => caddy(`redir /ai /ai/\n handle_path /ai/* {\n reverse_proxy ${new URL(upstream(server)).host}\n }`), [], '/ai/', host));
} else console.log('skipped: caddy is not installed');

test('over its own https', async () => {
  const server = await startServer(['--tls-cert', cert, '--tls-key', certKey]);
  try {
    host(await walk(`https://ai.example.test:${new URL(server.url).port}/`, server));
  } finally {
    await server.stop();
  }
});

test('over plain http from another machine the page says why not, before a password is typed, and the link lives on', async () => {
  const server = await startServer();
  const { port, hash } = new URL(server.setup);
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  try {
    await page.goto(`http://ai.example.test:${port}/admin${hash}`);
    await page.getByRole('heading', { name: 'Not over plain http' }).waitFor();
    assert.equal(await page.locator('input').count(), 0);
    await page.getByText('The one-time link is not used up').waitFor();
    await page.getByText(`ssh -N -L ${port}:ai.example.test:${port} ai.example.test`).waitFor();
    await page.goto(`http://ai.example.test:${port}/admin`);
    await page.reload();
    await page.getByRole('heading', { name: 'Not over plain http' }).waitFor();
    const body = JSON.stringify({ token: hash.slice(7), name: 'ada', password });
    const refused = await fetch(`${server.url}/v1/admin/setup`, { method: 'POST', body, headers: { 'content-type': 'application/json', host: 'ai.example.test', origin: `http://ai.example.test:${port}` } });
    assert.equal(refused.status, 403);
    // As the page says: through the tunnel.
    const cookie = await walk(`${server.url}/`, server);
    assert.deepEqual([cookie.name, cookie.secure], ['coordinator', false]);
  } finally {
    await context.close();
    await server.stop();
  }
});

test('--insecure-http-sign-in lets people sign in over plain http', async () => {
  const server = await startServer(['--insecure-http-sign-in']);
  try {
    const cookie = await walk(`http://ai.example.test:${new URL(server.url).port}/`, server);
    assert.deepEqual([cookie.name, cookie.secure, cookie.httpOnly], ['coordinator', false, true]);
  } finally {
    await server.stop();
  }
});

await runAll(async () => {
  await browser.close();
  rmSync(dir, { recursive: true, force: true });
});
