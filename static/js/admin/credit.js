// Adding credit, taking it back, and giving a charge back: money moves once, however often a button is pressed.

import { call, idempotencyKey } from '../api.js';
import { h } from '../dom.js';
import { decimal, micro, parseUsd, usd } from '../money.js';
import { FieldError, dialog, field, figures, form, money, say } from '../ui.js';

/**
 * Amount and note, then a confirmation that shows the balance after. One idempotency key for the form: a second press
 * or a try after a lost answer is the same credit. Only a plain refusal gives the next attempt a new key.
 */
export function addCredit(account, done) {
  let key = idempotencyKey();
  const fields = [
    field({ label: 'Amount in USD', name: 'amount', prefix: '$', inputmode: 'decimal', required: true, placeholder: '10.00' }),
    field({ label: 'Note', name: 'note', maxlength: 500, hint: 'Kept in the ledger: an invoice number, a reason.' }),
  ];
  dialog(`Add credit to ${account.name}`, (close, replace) => {
    const ask = form({
      fields, submit: 'Continue', cancel: close,
      save({ amount, note }) {
        const sum = parseUsd(amount);
        if (sum === null || sum === 0n) throw new FieldError('amount', 'An amount above zero such as 10 or 10.50, six decimals at most.');
        review(sum, note);
      },
    });
    function review(sum, note) {
      const before = micro(account.balance_micro_usd);
      let unsure = false;
      const back = () => { replace(`Add credit to ${account.name}`, ask); fields[0].input.focus(); };
      const yes = form({
        fields: [], submit: `Add ${usd(sum)}`, kind: 'primary', cancel: () => (unsure ? close() : back()),
        async save() {
          try {
            const result = await call('POST', '/v1/admin/credit', { body: { account: account.id, amount_usd: decimal(sum), note: note || null }, idempotencyKey: key });
            close();
            say(`${usd(result.credited_micro_usd)} added to ${account.name}. The balance is ${usd(result.balance_micro_usd)}.`);
            done(result);
          } catch (error) {
            unsure ||= error.unknown;
            if (unsure) error.message += ' It is not known whether the credit was added. Pressing again is safe: it is added once.';
            else key = idempotencyKey();
            throw error;
          }
        },
      });
      replace('Is this right?', h('p', {}, 'To ', h('strong', {}, account.name), account.email && ` (${account.email})`, note && [', note: ', h('q', {}, note)]),
        figures([['Balance now', money(before)], ['Added', money(sum, { signed: true })], ['Balance after', money(before + sum)]], 'sum'), yes);
      yes.querySelector('[type=submit]').focus();
    }
    return ask;
  });
}

/**
 * Takes credit back that was added by mistake. The server knows what requests hold, so it has the last word on how much
 * there is. One idempotency key for the form, as above.
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
        const sum = parseUsd(amount_usd);
        if (!sum) throw new FieldError('amount_usd', 'An amount above zero such as 10 or 10.50, six decimals at most.');
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
