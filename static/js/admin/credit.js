// Adding credit and giving a charge back: money moves once, however often a button is pressed.

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

/** Gives back what one request was charged. */
export function refund(row, done) {
  const key = idempotencyKey();
  dialog('Refund this request?', (close) => [
    h('p', {}, 'The account gets ', h('strong', {}, money(row.charged_micro_usd ?? row.cost_micro_usd)), ' back, and the provider’s earning for it is taken back. This can be done once.'),
    h('p.mono', {}, row.request_id),
    form({
      fields: [field({ label: 'Reason', name: 'reason', required: true, maxlength: 500 })],
      submit: 'Refund', kind: 'danger', cancel: close,
      async save({ reason }) {
        const result = await call('POST', '/v1/admin/refund', { body: { request_id: row.request_id, reason }, idempotencyKey: key });
        close();
        say(`${usd(result.refunded_micro_usd)} refunded. The balance is ${usd(result.balance_micro_usd)}.`);
        done(result);
      },
    }),
  ]);
}
