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
export const axeSource = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const binary = process.env.COORDINATOR_BIN ?? join(root, 'target/debug/coordinator');

/** A server with the built-in demo provider on a new data directory; resolves once it listens. */
export async function startServer(args = []) {
  const dir = mkdtempSync(join(tmpdir(), 'coordinator-browser-'));
  const child = spawn(binary, ['serve', '--demo', '--json', '--listen', '127.0.0.1:0', '--data-dir', join(dir, 'data'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
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
