// What models cost: the table in force, a change with its effect, and the versions before.

import { call, get, idempotencyKey, query } from '../api.js';
import { fill, h } from '../dom.js';
import { number } from '../format.js';
import { cost, decimal, parseUsd, usd } from '../money.js';
import { paged, table } from '../table.js';
import { FieldError, badge, button, confirm, dialog, field, form, money, say, section, none, when, who } from '../ui.js';

const price = (value) => (value === null || value === undefined ? none() : money(value, { aligned: true }));
const whole = (name, text) => {
  if (!text) return null;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new FieldError(name, 'A whole number of tokens.');
  return Number(text);
};

function read(name, text) {
  const value = parseUsd(text);
  if (value === null) throw new FieldError(name, 'A price such as 0.10, six decimals at most.');
  return Number(value);
}

/** The form of one price; what a sample request costs before and after follows every key press. */
function edit(row, done) {
  const isNew = !row;
  const amount = (value) => (value === null || value === undefined ? '' : decimal(value));
  dialog(isNew ? 'New price' : row.display_name || row.model, (close) => {
    const fields = [
      field({ label: 'Model', name: 'model', value: row?.model ?? '', required: true, readonly: !isNew, hint: isNew ? 'The name clients send.' : 'The name clients send; it cannot be changed.', spellcheck: 'false' }),
      field({ label: 'Shown as', name: 'display_name', value: row?.display_name ?? '', required: true }),
      field({ label: 'Input, per 1M tokens', name: 'input_price', prefix: '$', inputmode: 'decimal', value: amount(row?.input_price), required: true }),
      field({ label: 'Output, per 1M tokens', name: 'output_price', prefix: '$', inputmode: 'decimal', value: amount(row?.output_price), required: true }),
      field({ label: 'Cached input, per 1M tokens', name: 'cache_read_price', prefix: '$', inputmode: 'decimal', value: amount(row?.cache_read_price), hint: 'Empty: the input price.' }),
      field({ label: 'Written to the cache, per 1M tokens', name: 'cache_write_price', prefix: '$', inputmode: 'decimal', value: amount(row?.cache_write_price), hint: 'Empty: the input price.' }),
      field({ label: 'Written for an hour, per 1M tokens', name: 'cache_write_1h_price', prefix: '$', inputmode: 'decimal', value: amount(row?.cache_write_1h_price), hint: 'Empty: as above.' }),
      field({ label: 'Context length', name: 'context_length', inputmode: 'numeric', value: row?.context_length ?? '', hint: 'Tokens. Bounds what a request may hold.' }),
      field({ label: 'Longest output', name: 'max_output_tokens', inputmode: 'numeric', value: row?.max_output_tokens ?? '', hint: 'Tokens, when the client names none.' }),
      field({ label: 'Running at once', name: 'max_running', inputmode: 'numeric', value: row?.max_running ?? '', hint: 'Requests of one account; the others wait. Empty: any number.' }),
    ];
    const effect = h('p', { role: 'status' });
    const prompt = field({ label: 'Prompt tokens', name: 'sample_prompt', inputmode: 'numeric', value: '1000', required: true });
    const completion = field({ label: 'Completion tokens', name: 'sample_completion', inputmode: 'numeric', value: '500', required: true });
    const show = () => {
      const [input, output] = [parseUsd(fields[2].value), parseUsd(fields[3].value)];
      const counts = [prompt, completion].map((one) => (/^\d{1,9}$/.test(one.value) ? BigInt(one.value) : null));
      if (input === null || output === null || counts.includes(null)) return fill(effect, 'Fill in both prices to see it.');
      const after = cost({ input_price: input, output_price: output }, ...counts);
      if (isNew) return fill(effect, 'costs ', h('strong', {}, money(after)));
      const before = cost(row, ...counts);
      return fill(effect, before === after ? ['costs ', h('strong', {}, money(after)), ', as now'] : ['costs ', h('strong', {}, money(after)), ' instead of ', money(before), change(before, after)]);
    };
    const sample = h('fieldset.sample', {}, h('legend', {}, 'A sample request'), h('div.pair', {}, prompt.node, completion.node), effect);
    const made = form({
      fields, extra: sample, submit: isNew ? 'Add price' : 'Save as a new version', cancel: close,
      async save(values) {
        const body = {
          model: values.model, display_name: values.display_name,
          input_price: read('input_price', values.input_price), output_price: read('output_price', values.output_price),
          cache_read_price: values.cache_read_price ? read('cache_read_price', values.cache_read_price) : null,
          cache_write_price: values.cache_write_price ? read('cache_write_price', values.cache_write_price) : null,
          cache_write_1h_price: values.cache_write_1h_price ? read('cache_write_1h_price', values.cache_write_1h_price) : null,
          context_length: whole('context_length', values.context_length), max_output_tokens: whole('max_output_tokens', values.max_output_tokens), max_running: whole('max_running', values.max_running),
        };
        await call('PUT', '/v1/admin/pricing', { body, idempotencyKey: idempotencyKey() });
        close();
        say(`The price of ${values.display_name} is in force.`);
        done();
      },
    });
    made.classList.add('columns');
    made.addEventListener('input', show);
    show();
    return made;
  }, { wide: true });
}

function change(before, after) {
  if (before === 0n) return '';
  const tenths = ((after - before) * 1000n) / before;
  const size = tenths < 0n ? -tenths : tenths;
  return ` (${tenths < 0n ? '−' : '+'}${size / 10n}.${size % 10n} %)`;
}

export function view({ signal, tools }) {
  const status = h('div');
  const history = paged({
    label: 'Versions', key: (row) => `${row.model} ${row.version}`, signal, empty: 'No versions.',
    columns: [
      { name: 'Model', kind: 'main', cell: (row) => [h('strong', {}, row.display_name || row.model), ' ', row.removed && badge('removed', 'off'), h('small.mono', {}, row.model)] },
      { name: 'From', cell: (row) => when(row.created_at) },
      { name: 'By', cell: (row) => who(row.actor) },
      { name: 'Input', kind: 'num sum', cell: (row) => price(row.input_price) },
      { name: 'Output', kind: 'num sum lead', cell: (row) => price(row.output_price) },
    ],
  });
  const remove = (row) => confirm(`Remove ${row.display_name || row.model}?`, 'Requests for it are refused with “model not found”. What was billed stays as it is.', 'Remove price', async () => {
    await call('DELETE', `/v1/admin/pricing/${encodeURIComponent(row.model)}`);
    say(`${row.display_name || row.model} is no longer served.`);
    refresh();
  });
  const grid = table({
    label: 'Prices in force', key: (row) => row.model, empty: 'No prices: no model is served.',
    columns: [
      { name: 'Model', kind: 'main', cell: (row) => [h('strong', {}, row.display_name || row.model), h('small.mono', {}, row.model)] },
      { name: 'Context', kind: 'num', cell: (row) => (row.context_length ? number(row.context_length) : none()) },
      { name: 'Cached input', kind: 'num sum', cell: (row) => price(row.cache_read_price) },
      { name: 'Cache writes', kind: 'num sum', cell: (row) => [price(row.cache_write_price), row.cache_write_1h_price !== null && h('small', {}, [price(row.cache_write_1h_price), ' for an hour'])] },
      { name: 'Input', kind: 'num sum', cell: (row) => price(row.input_price) },
      { name: 'Output', kind: 'num sum', cell: (row) => price(row.output_price) },
      { name: 'Actions', hidden: true, kind: 'act', cell: (row) => [
        button('Edit', () => edit(row, refresh), 'quiet small', { 'aria-label': `Edit the price of ${row.display_name || row.model}` }),
        button('Remove', () => remove(row), 'quiet small', { 'aria-label': `Remove the price of ${row.display_name || row.model}` }),
      ] },
    ],
  });
  async function refresh() {
    grid.set((await get('/v1/admin/pricing', { signal })).prices);
    history.load(query('/v1/admin/pricing/history', { limit: 20 }));
  }
  tools.append(button('New price', () => edit(null, refresh), 'primary'));
  refresh().catch((error) => { if (!signal.aborted) fill(status, h('p.wrong', { role: 'alert' }, error.message)); });
  return h('div', {}, h('p.intro', {}, 'USD per million tokens. A change starts a new version; what was already billed keeps its price.'), status, grid.node, section('Versions', {}, history.node));
}
