// Codes that give credit once to each account that redeems them.

import { call, query } from '../api.js';
import { h } from '../dom.js';
import { number } from '../format.js';
import { decimal } from '../money.js';
import { paged } from '../table.js';
import { FieldError, amount, badge, button, confirm, copyButton, dialog, field, figures, money, say, twoSteps, when } from '../ui.js';

function create(done) {
  twoSteps('New invite code', {
    fields: [
      field({ label: 'Credit for each account', name: 'amount_usd', prefix: '$', inputmode: 'decimal', required: true, placeholder: '5.00' }),
      field({ label: 'How many accounts', name: 'max_redemptions', inputmode: 'numeric', value: '1', required: true }),
      field({ label: 'Expires', name: 'expires_at', kind: 'date' }),
      field({ label: 'Note', name: 'note', maxlength: 500 }),
    ],
    read(values) {
      const sum = amount('amount_usd', values.amount_usd);
      if (!/^[1-9]\d{0,5}$/.test(values.max_redemptions)) throw new FieldError('max_redemptions', 'A whole number, 1 or more.');
      return { ...values, sum, times: Number(values.max_redemptions) };
    },
    review: ({ sum, times }) => ({ submit: 'Create code', lines: [
      figures([['Each account gets', money(sum)], ['Accounts', number(times)], ['At most in all', money(sum * BigInt(times))]], 'sum'),
    ] }),
    send: (values, key) => call('POST', '/v1/admin/invite-codes', { idempotencyKey: key, body: {
      amount_usd: decimal(values.sum), max_redemptions: values.times,
      expires_at: values.expires_at ? `${values.expires_at}T00:00:00Z` : null, note: values.note || null,
    } }),
    unknown: 'It is not known whether the code was made: look at the list before you press again.',
    done(code) {
      done();
      dialog('The code', (close) => [h('div.secret', {}, h('output', { 'aria-label': 'The code', tabindex: '0' }, code.code), copyButton(code.code, 'Code')), h('div.actions', {}, button('Done', close, 'primary'))]);
    },
  });
}

export function view({ signal, tools }) {
  const load = () => rows.load(query('/v1/admin/invite-codes', { limit: 50 }));
  const rows = paged({
    label: 'Invite codes', key: (row) => row.code, signal, empty: 'No invite codes yet. One gives credit, once, to each account that redeems it.',
    columns: [
      { name: 'Code', kind: 'main', cell: (row) => [h('span.mono.strong', {}, row.code), ' ', row.redeemed >= row.max_redemptions && badge('used up', 'off'), row.note && h('small', {}, row.note)] },
      { name: 'Redeemed', cell: (row) => `${row.redeemed} of ${row.max_redemptions}` },
      { name: 'Expires', cell: (row) => when(row.expires_at) },
      { name: 'Created', cell: (row) => when(row.created_at) },
      { name: 'Credit', kind: 'num sum lead', cell: (row) => money(row.amount_micro_usd, { aligned: true }) },
      { name: 'Actions', hidden: true, kind: 'act', cell: (row) => [copyButton(row.code, 'Code'), button('Delete', () => confirm(`Delete ${row.code}?`, 'It can no longer be redeemed. Credit already given stays.', 'Delete code', async () => {
        await call('DELETE', `/v1/admin/invite-codes/${encodeURIComponent(row.code)}`);
        say('Code deleted.');
        load();
      }), 'quiet small ends', { 'aria-label': `Delete code ${row.code}` })] },
    ],
  });
  tools.append(button('New code', () => create(load), 'primary'));
  load();
  return rows.node;
}
