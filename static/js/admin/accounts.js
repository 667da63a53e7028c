// All accounts: found as you type, paged by the server.

import { call, query } from '../api.js';
import { h } from '../dom.js';
import { keyFields, showKey } from '../keys.js';
import { micro } from '../money.js';
import { countLabel, paged } from '../table.js';
import { badge, button, dialog, field, form, money, section, when } from '../ui.js';

/** Creates an account and its first key; a failed key leaves the account, which then is opened. */
function create() {
  dialog('New account', (close) => {
    const fields = [
      field({ label: 'Name', name: 'name', required: true, maxlength: 100 }),
      field({ label: 'Email', name: 'email', kind: 'email' }),
      field({ label: 'Name of its first key', name: 'key', value: 'default', required: true, maxlength: 100 }),
    ];
    let made = null;
    return form({
      fields, submit: 'Create account', cancel: close,
      async save(values) {
        made ??= await call('POST', '/v1/admin/accounts', { body: { name: values.name, email: values.email || null } });
        const { body } = keyFields();
        const key = await call('POST', `/v1/admin/accounts/${made.id}/keys`, { body: body({ name: values.key, limit_reset: 'none' }) });
        close();
        showKey(key, { title: `${made.name} is ready`, after: () => { location.hash = `#/accounts/${made.id}`; } });
      },
    });
  });
}

export function view({ signal, search, tools }) {
  const count = h('span.count', { role: 'status' });
  const rows = paged({
    label: 'Accounts',
    key: (row) => row.id,
    empty: 'No account matches. An empty search shows all; a new account comes with its first key.',
    signal,
    onload: (page) => { count.textContent = countLabel(page.total, page.rows.length, 'account', 'accounts'); },
    columns: [
      { name: 'Account', kind: 'main', cell: (row) => [h('a.strong', { href: `#/accounts/${row.id}` }, row.name), ' ', row.status === 'suspended' && badge('suspended', 'bad'), row.email && h('small', {}, row.email)] },
      { name: 'Id', kind: 'bare', cell: (row) => h('span.mono', {}, row.id) },
      { name: 'Created', cell: (row) => when(row.created_at) },
      { name: 'On hold', kind: 'num sum', cell: (row) => micro(row.held_micro_usd) > 0n && money(row.held_micro_usd, { aligned: true }) },
      { name: 'Balance', kind: 'num sum lead', cell: (row) => money(row.balance_micro_usd, { aligned: true }) },
    ],
  });
  const box = field({ label: 'Find an account', name: 'q', kind: 'search', value: search.get('q') ?? '', required: true, placeholder: 'Name, email or id', spellcheck: 'false' });
  box.input.required = false;
  let timer;
  const look = () => rows.load(query('/v1/admin/accounts', { q: box.value, limit: 50 }));
  box.input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      // Back from an account comes to the same search.
      history.replaceState(null, '', query('#/accounts', { q: box.value }));
      look();
    }, 150);
  });
  tools.append(button('New account', create, 'primary'));
  look();
  return h('div', {}, h('form.find', { role: 'search', onsubmit: (event) => { event.preventDefault(); clearTimeout(timer); look(); } }, box.node, count), rows.node);
}
