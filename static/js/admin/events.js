// Who did what, when. Append-only.

import { query } from '../api.js';
import { h } from '../dom.js';
import { paged } from '../table.js';
import { usd } from '../money.js';
import { none, when, who } from '../ui.js';

const subject = (row) => (row.subject?.startsWith('acct_') ? h('a.mono', { href: `#/accounts/${row.subject}` }, row.subject) : row.subject && h('span.mono.long', {}, row.subject));
const shown = (value) => (typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value));

/** A field with its value: {"amount_micro_usd": 10000} is "amount $0.01". */
const said = (name, value) => (name.endsWith('_micro_usd') && Number.isInteger(value) ? `${name.slice(0, -10).replaceAll('_', ' ')} ${usd(value)}` : `${name.replaceAll('_', ' ')} ${shown(value)}`);

/** What an event says of itself, as text: {"name": "x", "email": null} becomes "name x". */
function detail(value) {
  if (value === null || value === undefined || typeof value !== 'object') return value ? String(value) : null;
  return Object.entries(value).filter(([, one]) => one !== null && one !== '').map(([name, one]) => said(name, one)).join(', ') || null;
}

export function view({ signal, poll }) {
  const rows = paged({
    label: 'Events', key: (row) => row.id, signal, empty: 'Nothing has happened yet.',
    columns: [
      { name: 'What', kind: 'main', cell: (row) => [h('span.mono.strong', {}, row.action), h('small', {}, detail(row.detail))] },
      { name: 'On', cell: (row) => subject(row) || none() },
      { name: 'By', cell: (row) => who(row.actor) },
      { name: 'Time', kind: 'bare', cell: (row) => when(row.timestamp) },
    ],
  });
  rows.load(query('/v1/admin/events', { limit: 50 }));
  poll(10, rows.refresh);
  return rows.node;
}
