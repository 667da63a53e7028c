// The world the browser tests run in: the real binary on a fresh database, one Chromium, one list of tests.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
export const shots = join(root, 'target/screenshots');
const axeSource = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const binary = process.env.COORDINATOR_BIN ?? join(root, 'target/debug/coordinator');

/**
 * A server with the built-in demo provider, unless told otherwise, on a new data directory, which `fill` may fill first;
 * resolves once it listens.
 */
export async function startServer(args = [], { demo = true, fill } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'coordinator-browser-'));
  fill?.(binary, join(dir, 'data'));
  const child = spawn(binary, ['serve', ...(demo ? ['--demo'] : []), '--json', '--listen', '127.0.0.1:0', '--data-dir', join(dir, 'data'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (text) => { log += text; });
  const ready = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}\n${log}`)));
    createInterface({ input: child.stdout }).once('line', (line) => resolve(JSON.parse(line)));
  });
  return {
    url: `http://${ready.listening}`,
    key: ready.key,
    setup: ready.setup_url,
    data: join(dir, 'data'),
    get log() { return log; },
    async stop() {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await gone;
      clearTimeout(late);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/**
 * Runs the line of an invitation as a person pastes it into a shell, beside a local server. `ended` resolves to when its
 * program ended, and what it said.
 */
export function runLine(line, { name, local }) {
  const bin = mkdtempSync(join(tmpdir(), 'coordinator-bin-'));
  symlinkSync(binary, join(bin, 'coordinator'));
  const child = spawn('sh', ['-c', `exec ${line} --name ${name} --to ${local.url}/v1 --local-key ${local.key}`], { env: { ...process.env, PATH: `${bin}:${process.env.PATH}` }, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (text) => { log += text; });
  const ended = new Promise((resolve) => child.once('exit', () => {
    rmSync(bin, { recursive: true, force: true });
    resolve({ at: performance.now(), log });
  }));
  return { ended, stop: async () => { child.kill('SIGKILL'); await ended; } };
}

/** Headless Chromium that talks to nobody else. */
export function startBrowser(args = []) {
  mkdirSync(shots, { recursive: true });
  return chromium.launch({
    executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...args],
  });
}

/** Presses a button: by its whole name, or by what its name is like. */
export const pressIn = (at, name) => at.getByRole('button', { name, exact: typeof name === 'string' }).click();

export const password = 'correct horse battery';

/** Sets up the first admin on the page, by the link that the server printed. */
export async function setUp(page, server) {
  await page.goto(server.setup);
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByLabel('Password again').fill(password);
  await pressIn(page, 'Create admin');
  await page.getByRole('heading', { name: 'Overview', level: 1 }).waitFor();
}

/** The API as the signed-in page would call it: what it answers, which must be a success. */
export async function adminApi(context, server, method, path, body) {
  const cookie = (await context.cookies(server.url)).map((one) => `${one.name}=${one.value}`).join('; ');
  const headers = { cookie, origin: server.url, 'sec-fetch-site': 'same-origin', 'content-type': 'application/json' };
  const answer = await fetch(server.url + path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.status === 204 ? null : answer.json();
}

/** Nothing is being fetched any more, and what came is drawn. */
export async function settled(page) {
  await page.locator('h1').first().waitFor();
  await page.waitForTimeout(100);
  await page.waitForFunction(() => !document.querySelector('[aria-busy]'));
  await page.evaluate(() => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); }));
}

/** The rows of a list are alike: the first stand for all. What axe takes to look at hundreds is minutes. */
const alike = ['tbody tr:nth-child(n+7)', 'details:nth-of-type(n+7)', '.models > li:nth-child(n+7)'];

/**
 * Takes a picture, and says what is wrong with what a person sees: what sticks out, and what axe finds. The page's
 * context must let scripts in (`bypassCSP`).
 */
export async function shoot(page, name) {
  const found = [];
  const { width } = page.viewportSize();
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) found.push(`${name} at ${width}: ${over} px too wide`);
  const scheme = await page.evaluate(() => (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
  await page.screenshot({ path: join(shots, `${name}-${width}-${scheme}.png`), fullPage: !await page.locator('dialog[open]').count() });
  if (!await page.evaluate(() => 'axe' in window)) await page.addScriptTag({ path: axeSource });
  const { violations } = await page.evaluate((exclude) => window.axe.run({ exclude }, { resultTypes: ['violations'] }), alike);
  for (const one of violations) found.push(`${name} at ${width}, ${scheme}: ${one.impact} ${one.id}: ${one.nodes.map((node) => node.target.join(' ')).slice(0, 3).join(' | ')}`);
  return found;
}

/** A page of another origin on this machine: same host, other port, which is "same-site" to a browser. */
export async function startStranger() {
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>stranger</title>'));
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return { url: `http://127.0.0.1:${server.address().port}/`, stop: () => server.close() };
}

const tests = [];
export const test = (name, run) => tests.push([name, run]);

/** Runs the tests in order, each told with its time. Later ones build on what earlier ones made. */
export async function runAll(after) {
  let failed = 0;
  for (const [name, run] of tests) {
    const began = performance.now();
    let wrong = null;
    try {
      await run();
    } catch (error) {
      wrong = error;
      failed += 1;
    }
    console.log(`${wrong ? 'FAIL' : 'ok  '} ${String(Math.round(performance.now() - began)).padStart(6)} ms  ${name}`);
    if (wrong) console.log(String(wrong.stack ?? wrong).split('\n').slice(0, 12).map((line) => `       ${line}`).join('\n'));
  }
  await after();
  console.log(`\n${tests.length - failed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}
