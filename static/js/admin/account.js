// One account: what it has, what it did, and what an admin can do for it.

import { call, get, query } from '../api.js';
import { fill, h, redrawn } from '../dom.js';
import { csvButton } from '../export.js';
import { createKey, keyTable } from '../keys.js';
import { micro } from '../money.js';
import { badge, button, confirm, copyButton, dialog, field, figures, form, into, money, say, section, when } from '../ui.js';
import { ledgerTable, usageChart, usageTable } from '../usage.js';
import { addCredit, refund, takeBack } from './credit.js';

function rename(account, done) {
  dialog('Edit account', (close) => form({
    fields: [
      field({ label: 'Name', name: 'name', value: account.name, required: true, maxlength: 100 }),
      field({ label: 'Email', name: 'email', kind: 'email', value: account.email ?? '' }),
      field({ label: 'May invite machines of its own', name: 'may_provide', kind: 'checkbox', value: account.may_provide, hint: 'They earn for it. Each one that is new waits for an admin.' }),
    ],
    submit: 'Save', cancel: close,
    async save({ name, email, may_provide }) {
      done(await call('PATCH', `/v1/admin/accounts/${account.id}`, { body: { name, email: email || null, may_provide } }));
      close();
    },
  }));
}

function suspend(account, done) {
  const set = async (status) => {
    done(await call('PATCH', `/v1/admin/accounts/${account.id}`, { body: { status } }));
    say(status === 'suspended' ? `${account.name} is suspended.` : `${account.name} may send requests again.`);
  };
  if (account.status === 'suspended') confirm('Resume this account?', 'Its keys work again at once.', 'Resume', () => set('active'), 'primary');
  else confirm('Suspend this account?', 'Every key of it is refused until it is resumed. Its balance stays.', 'Suspend', () => set('suspended'));
}

export function view({ signal, params, heading, tools, entitle, poll }) {
  const path = `/v1/admin/accounts/${encodeURIComponent(params[0])}`;
  const top = h('div');
  const actions = h('div.tools');
  let account = null;

  const ledger = ledgerTable({ path: `${path}/ledger`, signal, limit: 6 });
  const keys = keyTable({ path: `${path}/keys`, manage: () => true });
  const chart = usageChart({ path: `${path}/usage/summary`, signal });
  let newest = null;
  const requests = usageTable({
    path: `${path}/usage`, signal,
    // A new request is the sign that the chart is behind.
    onload: ({ rows }) => {
      const now = rows[0]?.request_id ?? null;
      if (newest !== null && now !== newest) chart.refresh();
      newest = now ?? '';
    },
    actions: (row) => micro(row.charged_micro_usd ?? row.cost_micro_usd) > 0n && !row.refunded_at && button('Refund', () => refund(row, (result) => {
      account = { ...account, balance_micro_usd: result.balance_micro_usd };
      draw();
      refresh();
    }), 'quiet small', { 'aria-label': `Refund request ${row.request_id}` }),
  });

  const changed = (fresh) => { account = { ...account, ...fresh }; draw(); };
  const credit = button('Add credit', () => addCredit(account, (result) => {
    account = { ...account, balance_micro_usd: result.balance_micro_usd };
    draw(true);
    refresh();
  }), 'primary');
  const debit = button('Take credit back', () => takeBack(account, (result) => {
    account = { ...account, balance_micro_usd: result.balance_micro_usd };
    draw(true);
    refresh();
  }), 'quiet');
  const status = button('Suspend', () => suspend(account, changed), 'quiet');

  function draw(lit = false) {
    entitle(account.name);
    fill(heading, account.name);
    status.textContent = account.status === 'suspended' ? 'Resume' : 'Suspend';
    const earned = micro(account.earned_micro_usd) > 0n || micro(account.withdrawable_micro_usd) > 0n;
    const numbers = figures([
      ['Balance', money(account.balance_micro_usd)],
      ['On hold', money(account.held_micro_usd), 'for requests in flight'],
      ['Available', money(micro(account.balance_micro_usd) - micro(account.held_micro_usd))],
      earned && ['Earned', money(account.earned_micro_usd ?? account.withdrawable_micro_usd), h('span', {}, money(account.withdrawable_micro_usd), ' withdrawable')],
      micro(account.debt_micro_usd ?? 0) > 0n && ['Owed', money(account.debt_micro_usd), 'of refunded earnings'],
    ], 'big');
    numbers.firstChild.classList.toggle('fresh', lit);
    redrawn(top, () => fill(top,
      h('p.under', {}, account.status === 'suspended' && [badge('suspended', 'bad'), ' '], account.email && [account.email, ' · '], 'since ', when(account.created_at)),
      h('p.under', {}, h('span.mono', {}, account.id), ' ', copyButton(account.id, 'Id')), numbers));
  }

  async function refresh() {
    const [fresh] = await Promise.all([get(path, { signal }), ledger.refresh(), requests.refresh()]);
    if (signal.aborted || JSON.stringify(fresh) === JSON.stringify(account)) return;
    account = fresh;
    draw();
  }

  const file = (what) => () => `${(account?.name ?? 'account').replace(/[^\w.-]+/g, '-')}-${what}.csv`;
  const keyBox = h('div');
  const rest = h('div', { hidden: true },
    section('Ledger', { tools: csvButton(() => query(`${path}/ledger`, { format: 'csv' }), file('ledger')) }, ledger.node),
    section('Keys', { tools: button('New key', () => createKey(`${path}/keys`, keys.refresh), 'small') }, keyBox),
    section('Usage', {}, chart.node),
    section('Requests', { tools: csvButton(() => query(`${path}/usage`, { format: 'csv' }), file('usage')) }, requests.node));

  into(top, async () => {
    account = await get(path, { signal });
    if (signal.aborted) return [];
    fill(actions, button('Edit', () => rename(account, changed), 'quiet'), status, debit, credit);
    tools.append(actions);
    draw();
    rest.hidden = false;
    ledger.load();
    requests.load();
    chart.refresh();
    into(keyBox, async () => { await keys.refresh(); return keys.node; }, signal);
    poll(4, refresh);
    return [...top.childNodes];
  }, signal);
  heading.before(h('p.crumb', {}, h('a', { href: '#/accounts' }, 'Accounts')));
  return h('div', {}, top, rest);
}
