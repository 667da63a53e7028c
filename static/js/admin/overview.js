// What stands where today, and what needs somebody.

import { get, query } from '../api.js';
import { dayChart } from '../chart.js';
import { fill, h, redrawn } from '../dom.js';
import { milliseconds, number, plural } from '../format.js';
import { micro, usd } from '../money.js';
import { button, figures, into, money, section, when } from '../ui.js';

const DAYS = 30;

function attention(found, audit, check) {
  const { attention: a, providers } = found;
  const item = (kind, href, text) => h('li', { class: kind }, href ? h('a', { href }, text) : text);
  const items = [
    a.withdrawals_pending > 0 && item('warn', '#/withdrawals', `${plural(a.withdrawals_pending, 'withdrawal')} pending, ${usd(a.withdrawals_pending_micro_usd)}`),
    ...(providers.down ?? []).map((name) => item('bad', '#/providers', `Provider ${name} is down`)),
    ...(providers.held ?? []).map((name) => item('warn', '#/providers', `Machine ${name} has joined and waits for your approval`)),
    providers.up + (providers.down ?? []).length === 0 && item('warn', '#/providers', 'No provider yet: requests are refused'),
    ...(a.out_of_line ?? []).map((text) => item('warn', '#/providers', `Provider ${text}`)),
    a.estimated_today > 0 && item('warn', null, `${plural(a.estimated_today, 'request')} today metered by estimate: the provider did not report usage`),
    a.failed_today > 0 && item('warn', '#/providers', `${plural(a.failed_today, 'request')} today failed at a provider; nothing was charged for ${Number(a.failed_today) === 1 ? 'it' : 'them'}`),
  ];
  const { backup } = found;
  if (backup?.error) items.push(item('bad', null, `The last backup failed: ${backup.error}`));
  else if (backup?.is_old) items.push(item('bad', null, 'The last good backup is older than it should be.'));
  if (audit && !audit.ok) items.unshift(item('bad', null, 'The books do not agree. Run “coordinator audit” for what differs.'));
  const problems = (audit?.problems ?? []).slice(0, 5).map((text) => h('li', {}, text));
  const shown = items.filter(Boolean).sort((one, other) => other.classList.contains('bad') - one.classList.contains('bad'));
  const books = h('p.books', {}, audit ? [audit.ok ? 'The books agree' : 'The books differ', ', checked ', when(audit.checked_at), '. '] : 'The books have not been checked since the server started. ', check);
  const copies = backup && h('p.books', {}, backup.last_good_at ? ['Last good backup ', when(backup.last_good_at), ', audited.'] : 'No backup has been made yet.');
  return [shown.length ? h('ul.attention', {}, shown) : h('p.calm', {}, 'Nothing needs you.'), books, copies, problems.length > 0 && h('ul.problems', {}, problems)];
}

export function view({ signal, poll }) {
  const top = h('div');
  const needs = h('div');
  const chart = dayChart({ label: 'Charged by day', show: ['charged', 'requests'], signal });
  const path = query('/v1/admin/overview', { days: DAYS });
  let last = null;
  let audit = null;

  const check = button('Check now', async () => {
    check.textContent = 'Checking…';
    try {
      const result = await get('/v1/admin/audit', { timeout: 0, signal });
      audit = { ok: result.ok, checked_at: result.checked_at, problems: result.problems };
      redrawn(needs, () => fill(needs, attention(last, audit, check)));
    } catch (error) {
      if (!signal.aborted) redrawn(needs, () => fill(needs, attention(last, audit, check), h('p.wrong', { role: 'alert' }, error.message)));
    } finally {
      check.textContent = 'Check now';
    }
  }, 'quiet small');

  async function draw() {
    const found = await get(path, { signal });
    last = found;
    // The server remembers how the last check ended; what differed, only the one who asked was told.
    if (found.audit && found.audit.checked_at !== audit?.checked_at) audit = found.audit;
    const { providers, today } = found;
    const all = providers.up + (providers.down ?? []).length;
    const parts = [['of it', today.fee_micro_usd, 'fee'], ['', today.refunded_micro_usd, 'refunded']]
      .filter(([, sum]) => micro(sum) > 0n).map(([before, sum, what]) => `${before} ${usd(sum)} ${what}`.trim());
    fill(top, figures([
      ['Credit held by accounts', money(found.balance_micro_usd), `${plural(found.accounts, 'account')}, ${usd(found.held_micro_usd)} on hold`],
      ['Charged today', money(today.charged_micro_usd), parts.join('; ')],
      ['Requests today', number(today.requests), 'since 00:00 UTC'],
      ['Providers up', `${providers.up} of ${all}`, providers.disabled ? `${providers.disabled} disabled` : null],
      ['Waiting', number(providers.waiting ?? 0), providers.longest_wait_ms ? `the first for ${milliseconds(providers.longest_wait_ms)}` : null],
    ], 'big'));
    redrawn(needs, () => fill(needs, attention(found, audit, check)));
    chart.set(found.days, DAYS);
  }
  const body = h('div', {}, top, section('Needs attention', {}, needs), section('By day', {}, chart.node));
  into(top, async () => { await draw(); return [...top.childNodes]; }, signal);
  poll(10, draw);
  return body;
}
