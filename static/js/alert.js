// When an account is told of its balance.

import { call, get } from './api.js';
import { fill, h, redrawn } from './dom.js';
import { decimal, micro, usd } from './money.js';
import { amount, button, dialog, field, form, say } from './ui.js';

const path = '/v1/payments/alert';

function change(set, done) {
  dialog('Tell of a low balance', (close) => [
    h('p', {}, set.mailed ? 'You get mail when the balance falls below this amount, once each time, and when nothing is left.' : 'The operator is told when the balance falls below this amount. Mail to you needs an address of the account, and a server that sends mail to account holders.'),
    form({
      fields: [field({ label: 'Amount in USD', name: 'below_usd', prefix: '$', inputmode: 'decimal', placeholder: '5.00', value: set.below_micro_usd === null ? '' : decimal(micro(set.below_micro_usd)), hint: 'Empty: only when nothing is left.' })],
      submit: 'Save', cancel: close,
      async save({ below_usd }) {
        const below = below_usd ? decimal(amount('below_usd', below_usd)) : null;
        await call('PUT', path, { body: { below_usd: below } });
        close();
        say(below ? `An alert is sent below $${below}.` : 'There is no threshold any more.');
        done();
      },
    }),
  ]);
}

/** One line with what is set, and for who may, a way to change it. Nothing where a server has no alerts. */
export function balanceAlert(manages, signal) {
  const node = h('p.books');
  async function draw() {
    const set = await get(path, { signal });
    if (signal.aborted) return;
    redrawn(node, () => fill(node, set.below_micro_usd === null ? 'No alert before the balance is used up. ' : ['Alert when the balance falls below ', h('strong', {}, usd(set.below_micro_usd)), '. '],
      manages && button('Change', () => change(set, draw), 'quiet small', { 'aria-label': 'Change when the balance is told of' })));
  }
  draw().catch(() => {});
  return node;
}
