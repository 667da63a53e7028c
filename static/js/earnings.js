// What an account has as a provider: its machines, and what they earned by day and model.

import { get } from './api.js';
import { dayChart } from './chart.js';
import { fill, h, redrawn } from './dom.js';
import { lastDays, milliseconds, number } from './format.js';
import { failures, inviteMachine, stateBadge } from './machines.js';
import { micro, sumBy } from './money.js';
import { table } from './table.js';
import { button, field, figures, money, none, section, when } from './ui.js';

const invite = (done) => inviteMachine({
  path: '/v1/keys', names: { models: 'allowed_models', machines: 'max_machines' }, done,
  extra: [field({ label: 'Name', name: 'name', value: 'machines', required: true, maxlength: 100, hint: 'Of its key. An admin approves each machine that is new.' })],
  body: (values, models, machines) => ({ name: values.name, scopes: ['provide'], allowed_models: models, max_machines: machines }),
});

/** The first ones; the title has them all. */
const someModels = (models) => (models.length > 2 ? `${models[0]} and ${models.length - 1} more` : models.join(', '));

/** Columns of both tables. */
const tokens = { name: 'Tokens', kind: 'num', cell: (row) => [number(row.prompt_tokens + row.completion_tokens), h('small', {}, `${number(row.prompt_tokens)} in, ${number(row.completion_tokens)} out`)] };
const earned = { name: 'Earned', kind: 'num sum lead', cell: (row) => money(row.earned_micro_usd, { aligned: true }) };

/** The account's machines. `may` says whether this key may invite one; `onchange` hears that they served something. */
export function ownMachines({ may, signal, onchange, invited }) {
  const grid = table({ label: 'Machines', key: (row) => row.id, empty: 'None has joined yet: invite one, and run the line on it.', columns: [
    { name: 'Machine', kind: 'main', cell: (row) => [h('strong', {}, row.name), ' ', stateBadge(row.state, row.machine.connected),
      row.state !== 'up' && row.last_error && h('small.wrong', {}, row.last_error), h('small', { title: row.models.join(', ') }, someModels(row.models)), failures(row.failed, row.failures)] },
    { name: 'Since', cell: (row) => (row.machine.since ? when(row.machine.since) : none()) },
    { name: 'Running', kind: 'num', cell: (row) => (row.max_concurrent ? `${row.running} of ${row.max_concurrent}` : String(row.running)) },
    { name: 'Requests', kind: 'num', cell: (row) => number(row.requests) },
    tokens,
    { name: 'First byte', kind: 'num', cell: (row) => (row.first_byte_ms === null ? none() : milliseconds(row.first_byte_ms)) },
    earned,
  ] });
  const node = h('div');
  let served = null;
  async function refresh() {
    const rows = await get('/v1/provider/machines', { signal });
    if (signal.aborted) return;
    // Nothing at all for an account that has none and may invite none.
    if (!rows.length && !may) return void fill(node);
    grid.set(rows);
    if (!node.firstChild) fill(node, section('Machines', { tools: may && button('Invite a machine', () => invite(invited), 'small') }, grid.node));
    const now = rows.map((row) => `${row.requests} ${row.earned_micro_usd}`).join();
    if (served !== null && served !== now) onchange();
    served = now;
  }
  return { node, refresh };
}

/** The rows added up by model, the largest first. */
function byModel(rows) {
  const sums = sumBy(rows, 'model', ['requests', 'prompt_tokens', 'completion_tokens'], ['earned_micro_usd']);
  const largest = sums.sort((a, b) => (a.earned_micro_usd < b.earned_micro_usd ? 1 : -1));
  // As text, so that a row can be told from what it was before.
  return largest.map((sum) => ({ ...sum, earned_micro_usd: String(sum.earned_micro_usd) }));
}

/** What its providers brought in; nothing at all for an account without one. `withdraw(found)` is a button or nothing. */
export function ownEarnings({ signal, withdraw }) {
  const node = h('div');
  let days = 30;
  let found = null;
  const period = field({ label: 'Period', name: 'earned-days', kind: 'select', value: '30', options: [['7', '7 days'], ['30', '30 days'], ['90', '90 days']], onchange: (event) => { days = Number(event.target.value); draw(); } });
  period.node.classList.add('inline');
  const chart = dayChart({ label: 'Earned by day', show: ['earned', 'served', 'tokens'], tools: [period.node], signal });
  const top = h('div.earned');
  const tools = h('div.tools');
  const grid = table({ label: 'Earnings by model', key: (row) => row.model, empty: 'Nothing in these days.', columns: [
    { name: 'Model', kind: 'main', cell: (row) => h('strong', {}, row.model) },
    { name: 'Requests', kind: 'num', cell: (row) => number(row.requests) },
    tokens,
    earned,
  ] });
  const some = (value) => micro(value) > 0n;

  function draw() {
    fill(top, figures([
      ['Earned', money(found.earned_micro_usd), `${number(found.requests)} requests served`],
      ['Withdrawable', money(found.withdrawable_micro_usd)],
      some(found.withdrawals_pending_micro_usd) && ['On the way', money(found.withdrawals_pending_micro_usd), 'asked for, not paid yet'],
      some(found.reversed_micro_usd) && ['Refunded', money(found.reversed_micro_usd), some(found.debt_micro_usd) && h('span', {}, money(found.debt_micro_usd), ' still owed')],
    ]));
    redrawn(tools, () => fill(tools, withdraw(found)));
    const since = lastDays(days)[0];
    chart.set(found.by_day, days);
    grid.set(byModel(found.rows.filter((row) => row.day >= since)));
  }

  async function refresh() {
    const fresh = await get('/v1/provider/account-earnings', { signal });
    if (signal.aborted || !fresh.requests) return;
    found = fresh;
    if (!node.firstChild) fill(node, section('Earnings', { tools }, top, chart.node, h('div.by-model', {}, grid.node)));
    draw();
  }
  return { node, refresh };
}
