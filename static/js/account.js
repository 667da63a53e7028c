// The account page: prices and samples for anybody; with a key, what its account has and did.

import { balanceAlert } from './alert.js';
import { call, configure, get, idempotencyKey, query } from './api.js';
import { fill, h, redrawn } from './dom.js';
import { ownEarnings, ownMachines } from './earnings.js';
import { csvButton } from './export.js';
import { createKey, keyTable } from './keys.js';
import { bothTimes } from './format.js';
import { decimal, micro, usd } from './money.js';
import { poll } from './poll.js';
import { base, samples } from './samples.js';
import { table } from './table.js';
import { FieldError, amount, badge, button, dialog, field, figures, form, into, money, price, say, section, segmented, snippet, when, zoneNote } from './ui.js';
import { tryPanel } from './try.js';
import { ledgerTable, usageChart, usageTable } from './usage.js';

// The key stays in this tab: session storage ends with it, and nothing else ever holds it.
const store = 'coordinator-key';
// A link may bring the key, as the demo's does: it does not stay in the address bar or the history.
const brought = /^#key=(.+)$/.exec(location.hash)?.[1];
if (brought) {
  history.replaceState(null, '', location.pathname + location.search);
  sessionStorage.setItem(store, decodeURIComponent(brought));
}
let key = sessionStorage.getItem(store);
configure({ headers: () => (key ? { authorization: `Bearer ${key}` } : {}) });

const mine = document.getElementById('mine');
const who = document.getElementById('who');
let leave = new AbortController();

function forget() {
  leave.abort();
  sessionStorage.removeItem(store);
  key = null;
  ask();
  mine.querySelector('input').focus();
}

/** The form that takes a key. A key that is refused is not kept. */
function ask() {
  fill(who);
  const one = field({ label: 'Your key', name: 'key', kind: 'password', required: true, autocomplete: 'off', placeholder: 'sk-db-…', spellcheck: 'false', hint: 'Kept in this tab until you close it, and sent only to this server.' });
  fill(mine, h('div.gate.open', {}, h('h1', { tabindex: '-1' }, 'Your account'), h('p', {}, 'Paste a key to see its balance and usage.'), form({
    fields: [one], submit: 'Open account',
    async save(values) {
      key = values.key.trim();
      try {
        open(await get('/v1/key'));
      } catch (error) {
        key = null;
        throw error.status === 401 ? new FieldError('key', 'The server does not know this key, or it was revoked. Paste all of it, from sk-db- to the end.') : error;
      }
      sessionStorage.setItem(store, key);
      mine.querySelector('h1').focus();
    },
  })));
}

function redeem(done) {
  dialog('Redeem an invite code', (close) => form({
    fields: [field({ label: 'Code', name: 'code', required: true, spellcheck: 'false' })], submit: 'Redeem', cancel: close,
    async save({ code }) {
      const result = await call('POST', '/v1/invite/redeem', { body: { code } });
      close();
      say(`${usd(result.credited_micro_usd)} added. The balance is ${usd(result.balance_micro_usd)}.`);
      done();
    },
  }));
}

function withdraw(balance, done) {
  const sent = idempotencyKey();
  dialog('Withdraw earnings', (close) => [
    h('p', {}, money(balance.withdrawable_micro_usd), ' can be withdrawn. It leaves the balance at once and is paid by an admin.'),
    form({
      fields: [
        field({ label: 'Amount in USD', name: 'amount_usd', prefix: '$', inputmode: 'decimal', required: true, value: decimal(micro(balance.withdrawable_micro_usd)) }),
        field({ label: 'Note', name: 'note', maxlength: 500, hint: 'How to pay you.' }),
      ],
      submit: 'Ask for it', cancel: close,
      async save({ amount_usd, note }) {
        const sum = amount('amount_usd', amount_usd);
        await call('POST', '/v1/payments/withdrawals', { body: { amount_usd: decimal(sum), note: note || null }, idempotencyKey: sent });
        close();
        say(`${usd(sum)} will be paid by an admin.`);
        done();
      },
    }),
  ]);
}

/** Everything of the account that owns the key. */
function open(own) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const manages = own.scopes?.includes('manage');
  const top = h('div');
  const ledger = ledgerTable({ path: '/v1/payments/ledger', signal, limit: 6, actors: false });
  const chart = usageChart({ path: '/v1/payments/usage/summary', signal });
  let newest = null;
  const requests = usageTable({
    path: '/v1/payments/usage', signal,
    onload: ({ rows }) => {
      const now = rows[0]?.request_id ?? '';
      if (newest !== null && now !== newest) chart.refresh();
      newest = now;
    },
  });
  let balance = null;
  const withdrawals = h('div');
  /** What was asked for and what became of it; nothing at all for an account that never did. */
  async function drawWithdrawals() {
    const rows = await get('/v1/payments/withdrawals', { signal });
    if (signal.aborted || !rows.length) return;
    const grid = table({ label: 'Withdrawals', key: (row) => row.id, columns: [
      { name: 'Asked', kind: 'main', cell: (row) => [when(row.created_at), row.note && h('small', {}, row.note)] },
      { name: 'State', cell: (row) => [badge(row.status, { pending: 'warn', paid: 'good' }[row.status]), row.reason && h('small', {}, row.reason), row.reference && h('small', {}, row.reference)] },
      { name: 'Amount', kind: 'num sum lead', cell: (row) => money(row.amount_micro_usd, { aligned: true }) },
    ] });
    grid.set(rows);
    fill(withdrawals, section('Withdrawals', {}, grid.node));
  }
  // What it is to those who serve; nothing at all for the others.
  const earnings = ownEarnings({ signal, withdraw: (found) => manages && micro(found.withdrawable_micro_usd) > 0n && button('Withdraw', () => withdraw(found, () => Promise.all([refresh(), drawWithdrawals(), earnings.refresh()])), 'small') });
  const machines = ownMachines({ may: manages && own.account?.may_provide, signal, onchange: () => earnings.refresh().catch(() => {}), invited: () => keys.refresh() });
  const trying = h('div');
  /** For a key that may ask, where something answers. */
  async function drawTry() {
    const { data } = await get('/v1/models', { signal });
    const models = data.filter((model) => !model.endpoints || model.endpoints.includes('/v1/chat/completions'));
    if (!signal.aborted && models.length) fill(trying, tryPanel({ models, signal, settled: () => refresh().catch(() => {}) }));
  }
  async function draw() {
    const fresh = await get('/v1/payments/balance', { signal });
    if (signal.aborted || JSON.stringify(fresh) === JSON.stringify(balance)) return;
    balance = fresh;
    const earns = micro(balance.withdrawable_micro_usd) > 0n;
    redrawn(top, () => fill(top, figures([
      ['Balance', money(balance.balance_micro_usd)],
      ['On hold', money(balance.held_micro_usd), 'for requests in flight'],
      ['Available', money(balance.available_micro_usd)],
      earns && ['Withdrawable', money(balance.withdrawable_micro_usd), 'earned as a provider'],
    ], 'big'), micro(balance.balance_micro_usd) === 0n && h('p.books', {}, 'Nothing to spend yet: redeem a code, or ask whoever runs this server for credit.'), h('div.tools.left', {}, button('Redeem a code', () => redeem(refresh), 'small'))));
  }
  const refresh = () => Promise.all([draw(), ledger.refresh(), requests.refresh(), machines.refresh().catch(() => {})]);

  const keys = keyTable({ path: '/v1/keys', manage: () => manages, rotate: true, current: () => own.id, changed: (old, fresh) => {
    if (old.id !== own.id) return;
    // The key in use was replaced or revoked: go on with the new one, or leave.
    if (!fresh) return forget();
    key = fresh.key;
    own.id = fresh.id;
    sessionStorage.setItem(store, key);
  } });
  const keyBox = h('div');
  const csv = (path, name) => csvButton(() => query(path, { format: 'csv' }), () => `${name}.csv`);
  fill(who, h('span', {}, own.name || 'unnamed key'), button('Forget key', forget, 'quiet small'));
  fill(mine,
    h('header.bar.title', {}, h('h1', { tabindex: '-1' }, own.account?.name ?? 'Your account')),
    h('p.under', {}, 'Key ', h('span.mono', {}, own.id), own.limit_micro_usd !== null && own.limit_micro_usd !== undefined && [' · ', money(own.remaining_micro_usd), ' of its ', money(own.limit_micro_usd), ' cap left', own.limit_resets_at && `, anew ${bothTimes(own.limit_resets_at)}`]),
    top,
    balanceAlert(manages, signal),
    trying,
    section('Usage', {}, chart.node),
    section('Requests', { tools: csv('/v1/payments/usage', 'usage') }, requests.node),
    section('Ledger', { tools: csv('/v1/payments/ledger', 'ledger') }, ledger.node),
    machines.node,
    earnings.node,
    withdrawals,
    section('Keys', { tools: manages && button('New key', () => createKey('/v1/keys', keys.refresh), 'small') },
      manages ? keyBox : h('p.empty', {}, 'This key cannot manage keys. Paste one that can to create, rotate or revoke.')));
  into(top, async () => { await draw(); return [...top.childNodes]; }, signal);
  chart.refresh();
  requests.load();
  ledger.load();
  // Absent is as good as none: the section is for those who earn.
  drawWithdrawals().catch(() => {});
  machines.refresh().catch(() => {});
  earnings.refresh().catch(() => {});
  if (own.scopes?.includes('inference')) drawTry().catch(() => {});
  if (manages) into(keyBox, async () => { await keys.refresh(); return keys.node; }, signal);
  poll(signal, 4, refresh);
}

/** Prices and samples: no key needed. */
function offer() {
  const prices = document.getElementById('prices');
  const box = h('div');
  const code = h('div');
  let chosen = samples[0][0];
  let model;
  const draw = () => {
    const [, make] = samples.find(([name]) => name === chosen);
    fill(code, snippet(make({ model }), `${chosen} sample`));
  };
  const grid = table({
    label: 'Prices', key: (row) => row.model, empty: 'Nothing is offered yet.',
    columns: [
      { name: 'Model', kind: 'main', cell: (row) => [h('strong', {}, row.display_name || row.model), h('small.mono', {}, row.model)] },
      { name: 'Cached input', kind: 'num sum', cell: (row) => price(row.cache_read_price) },
      { name: 'Input', kind: 'num sum', cell: (row) => money(row.input_price, { aligned: true }) },
      { name: 'Output', kind: 'num sum', cell: (row) => money(row.output_price, { aligned: true }) },
    ],
  });
  const tools = segmented('Language', samples.map(([name]) => [name, name]), chosen, (name) => { chosen = name; draw(); });
  fill(prices,
    section('Prices', {}, h('p.intro', {}, 'USD per million tokens.'), box),
    section('Use it', { tools }, h('p.intro', {}, 'Any OpenAI or Anthropic client works. The base URL is ', h('code', {}, base()), '.'), code), zoneNote());
  into(box, async () => {
    const rows = (await get('/v1/pricing')).prices;
    model = rows[0]?.model;
    draw();
    grid.set(rows);
    return grid.node;
  });
  draw();
}

offer();
if (key) {
  get('/v1/key').then(open, (error) => {
    if (error.status === 401) {
      sessionStorage.removeItem(store);
      key = null;
    }
    ask();
    say(error.message);
  });
} else ask();
