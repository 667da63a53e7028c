// Money that providers asked to be paid.

import { call, query } from '../api.js';
import { h } from '../dom.js';
import { decimal, micro, usd } from '../money.js';
import { paged } from '../table.js';
import { badge, button, dialog, field, form, money, say, segmented, when, who } from '../ui.js';

function decide(row, verb, done) {
  const paying = verb === 'paid';
  dialog(paying ? `Mark ${usd(row.amount_micro_usd)} as paid?` : `Reject ${usd(row.amount_micro_usd)}?`, (close) => [
    h('p', {}, paying ? `Say so once the money has left for ${row.account_name}. It cannot be undone.` : `The amount returns to the balance of ${row.account_name}.`),
    row.note && h('blockquote', {}, row.note),
    form({
      fields: [paying ? field({ label: 'Reference', name: 'reference', maxlength: 200, hint: 'Of the transfer.' }) : field({ label: 'Reason', name: 'reason', required: true, maxlength: 500 })],
      submit: paying ? 'Mark as paid' : 'Reject', kind: paying ? 'primary' : 'danger', cancel: close,
      async save(values) {
        const body = paying ? { reference: values.reference || null, amount_usd: decimal(micro(row.amount_micro_usd)) } : { reason: values.reason };
        await call('POST', `/v1/admin/withdrawals/${encodeURIComponent(row.id)}/${verb}`, { body });
        close();
        say(paying ? 'Marked as paid.' : 'Rejected; the amount is back in the balance.');
        done();
      },
    }),
  ]);
}

const kinds = { pending: 'warn', paid: 'good', rejected: 'off' };

export function view({ signal, poll }) {
  let status = 'pending';
  const load = () => rows.load(query('/v1/admin/withdrawals', { status, limit: 50 }));
  const rows = paged({
    label: 'Withdrawals', key: (row) => row.id, signal, empty: 'None here. Accounts ask for what they earned on their own page.',
    columns: [
      { name: 'Account', kind: 'main', cell: (row) => [h('a.strong', { href: `#/accounts/${row.account_id}` }, row.account_name ?? row.account_id), row.note && h('small', {}, row.note)] },
      { name: 'Asked', cell: (row) => when(row.created_at) },
      { name: 'State', cell: (row) => [badge(row.status, kinds[row.status]), row.decided_by && h('small', {}, 'by ', who(row.decided_by)), row.reason && h('small', {}, row.reason), row.reference && h('small', {}, row.reference)] },
      { name: 'Amount', kind: 'num sum lead', cell: (row) => [money(row.amount_micro_usd, { aligned: true }), micro(row.reduced_micro_usd ?? 0) > 0n && h('small', {}, `${usd(row.reduced_micro_usd)} less: refunded`)] },
      { name: 'Actions', hidden: true, kind: 'act', cell: (row) => row.status === 'pending' && [
        button('Paid', () => decide(row, 'paid', load), 'small', { 'aria-label': `Mark the withdrawal of ${row.account_name} as paid` }),
        button('Reject', () => decide(row, 'reject', load), 'quiet small ends', { 'aria-label': `Reject the withdrawal of ${row.account_name}` }),
      ] },
    ],
  });
  load();
  poll(15, rows.refresh);
  return h('div', {}, h('div.bar', {}, segmented('State', [['pending', 'Pending'], ['paid', 'Paid'], ['rejected', 'Rejected'], ['', 'All']], status, (value) => { status = value; load(); })), rows.node);
}
