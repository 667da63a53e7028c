// Keys, for the admin's view of an account and for the account itself.

import { call, get } from './api.js';
import { h } from './dom.js';
import { bothTimes, number } from './format.js';
import { decimal, parseUsd } from './money.js';
import { curl } from './samples.js';
import { table } from './table.js';
import { FieldError, amount, badge, button, confirm, copyButton, dialog, field, figures, money, none, say, snippet, twoSteps, when } from './ui.js';

const limits = { none: 'in all', daily: 'a day', weekly: 'a week', monthly: 'a month' };

function capCell(key) {
  if (key.limit_micro_usd === null || key.limit_micro_usd === undefined) return 'No cap';
  return [money(key.spent_micro_usd), ' of ', money(key.limit_micro_usd), ` ${limits[key.limit_reset] ?? ''}`,
    h('small', {}, key.limit_resets_at ? `anew ${bothTimes(key.limit_resets_at)}` : 'never starts anew')];
}

/** What the plain key is shown in, once. */
export function showKey(key, { title = 'The key, shown once', after } = {}) {
  if (!key.key) {
    say(`Key ${key.name} was made by the first press, and its secret was lost with that answer: revoke it, and make another.`);
    return after?.();
  }
  dialog(title, (close) => [
    h('p', {}, 'Copy it now: it is stored only as a hash and cannot be shown again.'),
    h('div.secret', {}, h('output', { 'aria-label': 'The key', tabindex: '0' }, key.key), copyButton(key.key, 'Key')),
    key.scopes?.includes('inference') && [h('h3', {}, 'Try it'), snippet(curl({ key: key.key }), 'Command')],
    h('div.actions', {}, button('I have copied it', close, 'primary')),
  ], { wide: true, onclose: after });
}

export const wholeNumber = (name, text) => {
  if (!text) return null;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new FieldError(name, 'A whole number, 1 or more.');
  return Number(text);
};

/** The fields of a new key, and the body they make. */
export function keyFields({ name = '' } = {}) {
  const fields = [
    field({ label: 'Name', name: 'name', value: name, required: true, maxlength: 100, hint: 'To tell it from others: the machine or the program that uses it.' }),
    field({ label: 'May also manage keys and withdrawals', name: 'manage', kind: 'checkbox' }),
    field({ label: 'Spend cap', name: 'limit_usd', prefix: '$', inputmode: 'decimal' }),
    field({ label: 'The cap starts anew', name: 'limit_reset', kind: 'select', value: 'none', options: [['none', 'Never'], ['daily', 'Every day'], ['weekly', 'Every week'], ['monthly', 'Every month']] }),
    field({ label: 'Requests a minute', name: 'rpm_limit', inputmode: 'numeric' }),
    field({ label: 'Expires', name: 'expires_at', kind: 'date' }),
  ];
  const body = (values) => {
    const cap = values.limit_usd ? amount('limit_usd', values.limit_usd, { zero: true }) : null;
    return {
      name: values.name,
      scopes: values.manage ? ['inference', 'manage'] : ['inference'],
      limit_usd: cap === null ? null : decimal(cap),
      limit_reset: values.limit_reset,
      rpm_limit: wholeNumber('rpm_limit', values.rpm_limit),
      expires_at: values.expires_at ? `${values.expires_at}T00:00:00Z` : null,
    };
  };
  return { fields, body };
}

/** The dialog that makes a key at `path`; limits are looked at twice. */
export function createKey(path, done) {
  const { fields, body } = keyFields();
  twoSteps('New key', {
    fields, submit: 'Create key', read: body,
    review(key) {
      if (key.limit_usd === null && key.rpm_limit === null) return null;
      return { submit: 'Create key', lines: [h('p', {}, 'Key ', h('strong', {}, key.name)), figures([
        ['It may spend', key.limit_usd === null ? 'any amount' : [money(parseUsd(key.limit_usd)), ` ${limits[key.limit_reset]}`]],
        key.rpm_limit !== null && ['Requests', `${number(key.rpm_limit)} a minute`],
      ])] };
    },
    send: (key, idempotencyKey) => call('POST', path, { body: key, idempotencyKey }),
    unknown: 'It is not known whether the key was made: look at the list before you press again.',
    done(key) {
      done();
      showKey(key);
    },
  });
}

/** The table of keys at `path`; `manage` allows revoking, `rotate` rotating too. */
export function keyTable({ path, manage, rotate = false, current = () => null, changed = () => {} }) {
  const state = (key) => {
    if (key.revoked_at) return badge('revoked', 'off');
    if (key.expires_at && new Date(key.expires_at) < new Date()) return badge('expired', 'off');
    return key.id === current() ? badge('this key', 'good') : null;
  };
  const serves = (key) => (key.scopes ?? []).includes('provide');
  const grid = table({
    label: 'Keys',
    key: (row) => row.id,
    empty: 'No keys yet.',
    columns: [
      { name: 'Key', kind: 'main', cell: (key) => [h('strong', {}, key.name || 'unnamed'), ' ', state(key), h('small.mono', {}, key.id)] },
      { name: 'Scopes', cell: (key) => (key.scopes ?? []).join(', ') },
      { name: 'Spent', cell: capCell },
      { name: 'Last used', cell: (key) => when(key.last_used_at) },
      { name: 'Expires', cell: (key) => (key.revoked_at ? none() : when(key.expires_at)) },
      { name: 'Actions', hidden: true, kind: 'act', cell: (key) => manage() && !key.revoked_at && [
        rotate && button('Rotate', () => confirm(`Rotate “${key.name}”?`, `A new key takes its place with the same limits. The old one stops working at once${serves(key) ? ', and machines that serve with it end: start them with the new one' : ''}.`, 'Rotate key', async () => {
          const fresh = await call('POST', `${path}/${encodeURIComponent(key.id)}/rotate`);
          changed(key, fresh);
          refresh();
          showKey(fresh);
        }), 'quiet small', { 'aria-label': `Rotate key ${key.name}` }),
        button('Revoke', () => confirm(`Revoke “${key.name}”?`, `Programs that use it are refused from now on${serves(key) ? ', and machines that serve with it end' : ''}. This cannot be undone.`, 'Revoke key', async () => {
          await call('DELETE', `${path}/${encodeURIComponent(key.id)}`);
          say(`Key ${key.name} revoked.`);
          changed(key, null);
          refresh();
        }), 'quiet small ends', { 'aria-label': `Revoke key ${key.name}` }),
      ] },
    ],
  });
  const refresh = async () => grid.set([...(await get(path))].sort((a, b) => Boolean(a.revoked_at) - Boolean(b.revoked_at)));
  return { node: grid.node, refresh };
}
