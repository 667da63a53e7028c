// Who may add credit: admins, their passwords, and what they have open.

import { call, get } from '../api.js';
import { h } from '../dom.js';
import { plural } from '../format.js';
import { paged } from '../table.js';
import { FieldError, badge, button, confirm, dialog, field, form, say, when } from '../ui.js';

const twice = () => [
  field({ label: 'Password', name: 'password', kind: 'password', required: true, autocomplete: 'new-password', hint: 'At least 12 characters.' }),
  field({ label: 'Password again', name: 'again', kind: 'password', required: true, autocomplete: 'new-password' }),
];
function checked({ password, again }) {
  if (password.length < 12) throw new FieldError('password', 'At least 12 characters.');
  if (password !== again) throw new FieldError('again', 'Not the same as above.');
  return password;
}

function create(done) {
  dialog('New admin', (close) => [
    h('p', {}, 'An admin adds credit, sets prices and sees every account.'),
    form({
      fields: [field({ label: 'Name', name: 'name', required: true, maxlength: 200, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false' }), ...twice()],
      submit: 'Create admin', cancel: close,
      async save(values) {
        const made = await call('POST', '/v1/admin/admins', { body: { name: values.name, password: checked(values) } });
        close();
        say(`${made.name} may sign in.`);
        done();
      },
    }),
  ]);
}

function changePassword(row, done) {
  dialog(`New password for ${row.name}`, (close) => [
    h('p', {}, `What ${row.name} has open ends at once: ${plural(row.sessions, 'session')}, ${plural(row.keys, 'key')}.`),
    form({
      fields: twice(), submit: 'Set password', cancel: close,
      async save(values) {
        await call('PATCH', `/v1/admin/admins/${row.id}`, { body: { password: checked(values) } });
        close();
        say(`${row.name} has another password.`);
        done();
      },
    }),
  ]);
}

export function view({ signal, tools }) {
  const load = () => rows.load('/v1/admin/admins');
  const remove = (row) => confirm(`Remove ${row.name}?`, 'Its sessions and keys end at once. What it did stays in the events.', 'Remove admin', async () => {
    await call('DELETE', `/v1/admin/admins/${row.id}`);
    say(`${row.name} is no admin any more.`);
    load();
  });
  let mine = null;
  const rows = paged({
    label: 'Admins', key: (row) => row.id, signal, empty: 'No admins.',
    columns: [
      { name: 'Name', kind: 'main', cell: (row) => [h('span.strong', {}, row.name), ' ', row.id === mine && badge('you'), !row.has_password && badge('keys only', 'off')] },
      { name: 'Sessions', kind: 'num', cell: (row) => String(row.sessions) },
      { name: 'Keys', kind: 'num', cell: (row) => String(row.keys) },
      { name: 'Created', cell: (row) => when(row.created_at) },
      { name: 'Actions', hidden: true, kind: 'act', cell: (row) => [
        button('Password', () => changePassword(row, load), 'quiet small', { 'aria-label': `New password for ${row.name}` }),
        button('Remove', () => remove(row), 'quiet small ends', { 'aria-label': `Remove ${row.name}` }),
      ] },
    ],
  });
  tools.append(button('New admin', () => create(load), 'primary'));
  get('/v1/admin/session', { signal, plain: true }).then(({ admin }) => { mine = admin?.id; }, () => {}).finally(load);
  return rows.node;
}
