// Adding credit, taking it back, and giving a charge back: money moves once, however often a button is pressed.

import { call, idempotencyKey } from '../api.js';
import { h } from '../dom.js';
import { decimal, micro, usd } from '../money.js';
import { amount, dialog, field, figures, form, money, say, twoSteps } from '../ui.js';

/** Amount and note, then a confirmation that shows the balance after. */
export function addCredit(account, done) {
  twoSteps(`Add credit to ${account.name}`, {
    fields: [
      field({ label: 'Amount in USD', name: 'amount_usd', prefix: '$', inputmode: 'decimal', required: true, placeholder: '10.00' }),
      field({ label: 'Note', name: 'note', maxlength: 500, hint: 'Kept in the ledger: an invoice number, a reason.' }),
    ],
    read: ({ amount_usd, note }) => ({ sum: amount('amount_usd', amount_usd), note }),
    review({ sum, note }) {
      const before = micro(account.balance_micro_usd);
      return { submit: `Add ${usd(sum)}`, lines: [
        h('p', {}, 'To ', h('strong', {}, account.name), account.email && ` (${account.email})`, note && [', note: ', h('q', {}, note)]),
        figures([['Balance now', money(before)], ['Added', money(sum, { signed: true })], ['Balance after', money(before + sum)]], 'sum'),
      ] };
    },
    send: ({ sum, note }, key) => call('POST', '/v1/admin/credit', { body: { account: account.id, amount_usd: decimal(sum), note: note || null }, idempotencyKey: key }),
    unknown: 'It is not known whether the credit was added. Pressing again is safe: it is added once.',
    done(result) {
      say(`${usd(result.credited_micro_usd)} added to ${account.name}. The balance is ${usd(result.balance_micro_usd)}.`);
      done(result);
    },
  });
}

/**
 * Takes credit back that was added by mistake. The server knows what requests hold, so it has the last word on how much
 * there is. One idempotency key for the form: a second press is the same debit, unless the first was plainly refused.
 */
export function takeBack(account, done) {
  const free = micro(account.balance_micro_usd) - micro(account.held_micro_usd);
  let key = idempotencyKey();
  let unsure = false;
  dialog(`Take credit back from ${account.name}`, (close) => [
    h('p', {}, 'For a top-up that was a mistake. At most ', h('strong', {}, money(free)), ' is there and not on hold; what was earned goes last.'),
    form({
      fields: [
        field({ label: 'Amount in USD', name: 'amount_usd', prefix: '$', inputmode: 'decimal', required: true, placeholder: '10.00' }),
        field({ label: 'Note', name: 'note', required: true, maxlength: 500, hint: 'Kept in the ledger: what was wrong.' }),
      ],
      submit: 'Take back', kind: 'danger', cancel: close,
      async save({ amount_usd, note }) {
        const sum = amount('amount_usd', amount_usd);
        try {
          const result = await call('POST', '/v1/admin/debit', { body: { account: account.id, amount_usd: decimal(sum), note }, idempotencyKey: key });
          close();
          say(`${usd(result.debited_micro_usd)} taken back from ${account.name}. The balance is ${usd(result.balance_micro_usd)}.`);
          done(result);
        } catch (error) {
          unsure ||= error.unknown;
          if (unsure) error.message += ' It is not known whether it was taken. Pressing again is safe: it is taken once.';
          else key = idempotencyKey();
          throw error;
        }
      },
    }),
  ]);
}

/** Gives back what one request was charged. */
export function refund(row, done) {
  const key = idempotencyKey();
  dialog('Refund this request?', (close) => [
    h('p', {}, 'The account gets ', h('strong', {}, money(row.charged_micro_usd ?? row.cost_micro_usd)), ' back, and the provider’s earning for it is taken back: out of its balance, its pending withdrawals, or what it earns next. This can be done once.'),
    h('p.mono', {}, row.request_id),
    form({
      fields: [field({ label: 'Reason', name: 'reason', required: true, maxlength: 500 })],
      submit: 'Refund', kind: 'danger', cancel: close,
      async save({ reason }) {
        const result = await call('POST', '/v1/admin/refund', { body: { request_id: row.request_id, reason }, idempotencyKey: key });
        close();
        const owed = micro(result.debt_micro_usd) > 0n ? ` The provider owes ${usd(result.debt_micro_usd)} of it.` : '';
        say(`${usd(result.refunded_micro_usd)} refunded. The balance is ${usd(result.balance_micro_usd)}.${owed}`);
        done(result);
      },
    }),
  ]);
}
