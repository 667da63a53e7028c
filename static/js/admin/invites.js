// Codes that give credit once to each account that redeems them.

import { call, query } from '../api.js';
import { h } from '../dom.js';
import { decimal, parseUsd } from '../money.js';
import { paged } from '../table.js';
import { FieldError, badge, button, confirm, copyButton, dialog, field, form, money, say, when } from '../ui.js';

function create(done) {
  dialog('New invite code', (close, replace) => form({
    fields: [
      field({ label: 'Credit for each account', name: 'amount_usd', prefix: '$', inputmode: 'decimal', required: true, placeholder: '5.00' }),
      field({ label: 'How many accounts', name: 'max_redemptions', inputmode: 'numeric', value: '1', required: true }),
      field({ label: 'Expires', name: 'expires_at', kind: 'date' }),
      field({ label: 'Note', name: 'note', maxlength: 500 }),
    ],
    submit: 'Create code', cancel: close,
    async save(values) {
      const amount = parseUsd(values.amount_usd);
      if (!amount) throw new FieldError('amount_usd', 'An amount above zero such as 5 or 5.00.');
      if (!/^[1-9]\d{0,5}$/.test(values.max_redemptions)) throw new FieldError('max_redemptions', 'A whole number, 1 or more.');
      const code = await call('POST', '/v1/admin/invite-codes', { body: {
        amount_usd: decimal(amount), max_redemptions: Number(values.max_redemptions),
        expires_at: values.expires_at ? `${values.expires_at}T00:00:00Z` : null, note: values.note || null,
      } });
      done();
      replace('The code', h('div.secret', {}, h('output', { 'aria-label': 'The code', tabindex: '0' }, code.code), copyButton(code.code, 'Code')), h('div.actions', {}, button('Done', close, 'primary')));
    },
  }));
}

export function view({ signal, tools }) {
  const load = () => rows.load(query('/v1/admin/invite-codes', { limit: 50 }));
  const rows = paged({
    label: 'Invite codes', key: (row) => row.code, signal, empty: 'No invite codes.',
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
      }), 'quiet small', { 'aria-label': `Delete code ${row.code}` })] },
    ],
  });
  tools.append(button('New code', () => create(load), 'primary'));
  load();
  return rows.node;
}
