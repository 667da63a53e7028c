// Usage, for the admin's view of an account and for the account itself: the chart, the models, the requests.

import { get, query } from './api.js';
import { fill, h } from './dom.js';
import { dayChart } from './chart.js';
import { lastDays, number, plural } from './format.js';
import { micro, sumBy, usd } from './money.js';
import { paged } from './table.js';
import { badge, button, field, figures, money, problem, when, who } from './ui.js';

const charged = (row) => row.charged_micro_usd ?? row.cost_micro_usd;

/** So many models have a colour of their own, --model-1 and so on; the others are one. */
const COLORS = 5;

const summed = (rows, key) => sumBy(rows, key, ['requests', 'prompt_tokens', 'completion_tokens'], ['charged_micro_usd', 'refunded_micro_usd']);

/** The dearest first; of those that cost the same, by name. */
const byCharge = (a, b) => Number(b.charged_micro_usd > a.charged_micro_usd) - Number(b.charged_micro_usd < a.charged_micro_usd) || (a.model < b.model ? -1 : 1);

/** The bars' layers: the days of each of the first models. */
function layersOf(byDayAndModel, names) {
  return names.slice(0, COLORS).map((name, i) => ({
    color: `--model-${i + 1}`,
    rows: new Map(byDayAndModel.filter((row) => row.model === name).map((row) => [row.day, row])),
  }));
}

/** The chart by day, stacked by model, with the models beside it; choosing one filters the chart. */
export function usageChart({ path, signal }) {
  let days = 30;
  let model = null;
  const range = field({ label: 'Period', name: 'days', kind: 'select', value: '30', options: [['7', '7 days'], ['30', '30 days'], ['90', '90 days']], onchange: (event) => { days = Number(event.target.value); refresh(); } });
  range.node.classList.add('inline');
  const chart = dayChart({ label: 'Usage by day', tools: [range.node], signal });
  const models = h('div');
  const totals = h('div');
  const status = h('div');

  /** What the whole period comes to. */
  function drawTotals(rows) {
    const sum = (name) => rows.reduce((all, row) => all + micro(row[name]), 0n);
    const [paid, back] = [sum('charged_micro_usd'), sum('refunded_micro_usd')];
    fill(totals, rows.length > 0 && figures([
      ['Requests', number(sum('requests'))],
      ['Tokens', number(sum('prompt_tokens') + sum('completion_tokens')), `${number(sum('prompt_tokens'))} in, ${number(sum('completion_tokens'))} out`],
      ['Charged', money(paid)],
      back > 0n && ['Refunded', money(back), h('span', {}, money(paid - back), ' in the end')],
    ]));
  }

  function drawModels(rows) {
    const most = rows.reduce((top, row) => (micro(charged(row)) > top ? micro(charged(row)) : top), 1n);
    fill(models, rows.length > 0 && h('ul.models', { 'aria-label': 'By model' }, rows.map((row, i) => {
      const bar = h('span.share', { 'aria-hidden': 'true' });
      bar.style.background = `var(${i < COLORS ? `--model-${i + 1}` : '--strong-line'})`;
      bar.style.inlineSize = `${(micro(charged(row)) * 1000n) / most / 10n}%`;
      const press = button([h('span.name', {}, row.model), h('span.num', {}, money(charged(row))),
        h('small', {}, `${plural(row.requests, 'request')}, ${number(row.prompt_tokens)} tokens in, ${number(row.completion_tokens)} out`), bar],
      () => { model = model === row.model ? null : row.model; refresh(); }, 'model', { 'aria-pressed': String(model === row.model) });
      return h('li', {}, press);
    })));
  }

  async function refresh() {
    const since = lastDays(days)[0];
    try {
      // One reading of all rows for the three.
      const byBoth = await get(query(path, { group_by: 'day,model', since }), { signal });
      if (signal?.aborted) return;
      const byModel = summed(byBoth, 'model').sort(byCharge);
      const byDay = summed(byBoth.filter((row) => model === null || row.model === model), 'day');
      fill(status);
      // Each keeps its colour when it is chosen.
      const names = byModel.map((row) => row.model);
      chart.set(byDay, days, layersOf(byBoth, names).filter((_, i) => model === null || names[i] === model));
      drawTotals(byDay);
      const focused = document.activeElement?.closest('.models') ? [...models.querySelectorAll('button')].indexOf(document.activeElement) : -1;
      drawModels(byModel);
      models.querySelectorAll('button')[focused]?.focus();
    } catch (error) {
      if (!signal?.aborted) fill(status, problem(error, refresh));
    }
  }
  return { node: h('div', {}, status, totals, chart.node, models), refresh };
}

function outcome(row) {
  return [
    row.outcome === 'client_disconnected' && badge('client left', 'warn'),
    row.outcome === 'provider_error' && badge('provider failed', 'bad'),
    row.metered_by === 'estimate' && badge('estimate', 'warn'),
    row.own_use && badge('own machine: free', 'good'),
    row.refunded_at && badge('refunded', 'off'),
    micro(row.shortfall_micro_usd) > 0n && badge('shortfall', 'warn'),
  ];
}

/** Whose key it was, and for the admin where it was served at what price. */
function paidFrom(row) {
  const key = row.key_name && `key ${row.key_name}`;
  const at = row.provider_name && `at ${row.provider_name}, ${usd(row.input_price)} in and ${usd(row.output_price)} out per 1M`;
  const parts = [key, at].filter(Boolean);
  return parts.length > 0 && h('small', {}, parts.join(' · '));
}

/** The requests at `path`, newest first. `actions(row)` fills a last column. */
export function usageTable({ path, signal, actions, onload }) {
  const rows = paged({
    label: 'Requests',
    key: (row) => row.request_id,
    empty: 'No requests yet. They stand here once a key has sent one.',
    signal,
    onload,
    columns: [
      { name: 'Request', kind: 'main', cell: (row) => [h('span.model-name', {}, row.model), ' ', outcome(row), h('small.mono', {}, row.request_id), paidFrom(row)] },
      { name: 'Time', kind: 'bare', cell: (row) => when(row.timestamp) },
      { name: 'Prompt', kind: 'num', cell: (row) => [number(row.prompt_tokens), row.cached_tokens > 0 && h('small', {}, `${number(row.cached_tokens)} cached`), row.cache_write_tokens > 0 && h('small', {}, `${number(row.cache_write_tokens)} written to the cache`)] },
      { name: 'Completion', kind: 'num', cell: (row) => number(row.completion_tokens) },
      { name: 'Charged', kind: 'num sum lead', cell: (row) => money(charged(row), { aligned: true }) },
      actions && { name: 'Actions', hidden: true, kind: 'act', cell: actions },
    ].filter(Boolean),
  });
  return { node: rows.node, load: () => rows.load(query(path, { limit: 25 })), refresh: rows.refresh };
}

const kinds = {
  top_up: 'Top-up', refund: 'Refund', refund_reversal: 'Earning taken back', adjustment: 'Adjustment',
  withdrawal: 'Withdrawal', withdrawal_rejected: 'Withdrawal rejected', invite_credit: 'Invite code',
};

/** The ledger at `path`, newest first. */
export function ledgerTable({ path, signal, limit = 10, actors = true }) {
  const rows = paged({
    label: 'Ledger',
    key: (row) => row.id,
    empty: 'No top-ups, refunds or withdrawals yet.',
    signal,
    columns: [
      { name: 'Entry', kind: 'main', cell: (row) => [h('strong', {}, kinds[row.kind] ?? row.kind), row.note && h('small', {}, row.note), row.request_id && h('small.mono', {}, row.request_id)] },
      { name: 'Time', kind: 'bare', cell: (row) => when(row.timestamp) },
      actors && { name: 'By', cell: (row) => who(row.actor) },
      { name: 'Amount', kind: 'num sum lead', cell: (row) => money(row.amount_micro_usd, { aligned: true, signed: true }) },
      { name: 'Balance after', kind: 'num sum', cell: (row) => money(row.balance_after_micro_usd, { aligned: true }) },
    ].filter(Boolean),
  });
  return { node: rows.node, load: () => rows.load(query(path, { limit })), refresh: rows.refresh };
}
