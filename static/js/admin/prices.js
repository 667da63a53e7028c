// What models cost: the table in force, a change with its effect, and the versions before.

import { call, get, idempotencyKey, query } from '../api.js';
import { fill, h } from '../dom.js';
import { number } from '../format.js';
import { cost, decimal, micro, parseUsd } from '../money.js';
import { paged, table } from '../table.js';
import { FieldError, amount, badge, button, confirm, field, money, price, say, section, none, twoSteps, when, who } from '../ui.js';

const whole = (name, text) => {
  if (!text) return null;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new FieldError(name, 'A whole number of tokens.');
  return Number(text);
};

/** An amount of the form, as the whole number of micro-USD that the server reads; null where nothing was typed. */
const sum = (name, text) => (text ? Number(amount(name, text, { zero: true })) : null);
const typed = (value) => (value === null || value === undefined ? '' : decimal(value));
const same = (one, other) => (one ?? null) === (other ?? null);

/** [what, how it reads, name in the body] of all that can change. */
const parts = [
  ['Shown as', (value) => value, 'display_name'],
  ['Input', (value) => money(value), 'input_price'],
  ['Output', (value) => money(value), 'output_price'],
  ['Cached input', (value) => money(value), 'cache_read_price'],
  ['Written to the cache', (value) => money(value), 'cache_write_price'],
  ['Written for an hour', (value) => money(value), 'cache_write_1h_price'],
  ['Context length', number, 'context_length'],
  ['Longest output', number, 'max_output_tokens'],
  ['Running at once', number, 'max_running'],
];

/** What a version changes: each value as it is now and as it will be. */
function differences(row, body) {
  const changed = parts.filter(([, , name]) => !same(row?.[name], body[name]));
  const cell = (value, read) => (value === null || value === undefined ? none() : read(value));
  const rows = table({
    label: 'What changes', key: ([what]) => what, empty: 'Nothing changes.',
    columns: [
      { name: 'What', kind: 'main', cell: ([what]) => h('strong', {}, what) },
      row && { name: 'Now', kind: 'num', cell: ([, read, name]) => cell(row[name], read) },
      { name: row ? 'Then' : 'Will be', kind: 'num', cell: ([, read, name]) => cell(body[name], read) },
      row && { name: 'Change', kind: 'num', cell: ([, , name]) => name.endsWith('_price') && row[name] && body[name] ? change(micro(row[name]), micro(body[name])) : none() },
    ].filter(Boolean),
  });
  rows.set(changed);
  return rows.node;
}

/** The form of one price; what a sample request costs before and after follows every key press. */
function edit(row, done) {
  const isNew = !row;
  const priced = (label, name, more) => field({ label: `${label}, per 1M tokens`, name, prefix: '$', inputmode: 'decimal', value: typed(row?.[name]), ...more });
  const fields = [
    field({ label: 'Model', name: 'model', value: row?.model ?? '', required: true, readonly: !isNew, hint: isNew ? 'The name clients send.' : 'The name clients send; it cannot be changed.', spellcheck: 'false' }),
    field({ label: 'Shown as', name: 'display_name', value: row?.display_name ?? '', required: true }),
    priced('Input', 'input_price', { required: true }),
    priced('Output', 'output_price', { required: true }),
    priced('Cached input', 'cache_read_price', { hint: 'Empty: the input price.' }),
    priced('Written to the cache', 'cache_write_price', { hint: 'Empty: the input price.' }),
    priced('Written for an hour', 'cache_write_1h_price', { hint: 'Empty: as above.' }),
    field({ label: 'Context length', name: 'context_length', inputmode: 'numeric', value: row?.context_length ?? '', hint: 'Tokens. Bounds what a request may hold.' }),
    field({ label: 'Longest output', name: 'max_output_tokens', inputmode: 'numeric', value: row?.max_output_tokens ?? '', hint: 'Tokens, when the client names none.' }),
    field({ label: 'Running at once', name: 'max_running', inputmode: 'numeric', value: row?.max_running ?? '', hint: 'Requests of one account; the others wait. Empty: any number.' }),
  ];
  const effect = h('p', { role: 'status' });
  const prompt = field({ label: 'Prompt tokens', name: 'sample_prompt', inputmode: 'numeric', value: '1000', required: true });
  const completion = field({ label: 'Completion tokens', name: 'sample_completion', inputmode: 'numeric', value: '500', required: true });
  const costs = () => {
    const [input, output] = [parseUsd(fields[2].value), parseUsd(fields[3].value)];
    const counts = [prompt, completion].map((one) => (/^\d{1,9}$/.test(one.value) ? BigInt(one.value) : null));
    if (input === null || output === null || counts.includes(null)) return 'Fill in both prices to see it.';
    const after = cost({ input_price: input, output_price: output }, ...counts);
    if (isNew) return ['costs ', h('strong', {}, money(after))];
    const before = cost(row, ...counts);
    return before === after ? ['costs ', h('strong', {}, money(after)), ', as now'] : ['costs ', h('strong', {}, money(after)), ' instead of ', money(before), before > 0n && ` (${change(before, after)})`];
  };
  const sample = h('fieldset.sample', {}, h('legend', {}, 'A sample request'), h('div.pair', {}, prompt.node, completion.node), effect);
  const box = twoSteps(isNew ? 'New price' : row.display_name || row.model, {
    fields, extra: sample, style: 'columns', wide: true,
    read: (values) => ({
      model: values.model, display_name: values.display_name,
      input_price: sum('input_price', values.input_price), output_price: sum('output_price', values.output_price),
      cache_read_price: sum('cache_read_price', values.cache_read_price), cache_write_price: sum('cache_write_price', values.cache_write_price),
      cache_write_1h_price: sum('cache_write_1h_price', values.cache_write_1h_price),
      context_length: whole('context_length', values.context_length), max_output_tokens: whole('max_output_tokens', values.max_output_tokens), max_running: whole('max_running', values.max_running),
    }),
    review: (body) => ({ submit: isNew ? 'Add price' : 'Save as a new version', lines: [
      h('p', {}, h('strong', {}, body.display_name), ', USD per million tokens. It applies to every request from then on.'),
      differences(row, body),
      h('p', {}, `A request of ${number(prompt.value)} + ${number(completion.value)} tokens `, costs(), '.'),
    ] }),
    send: (body, key) => call('PUT', '/v1/admin/pricing', { body, idempotencyKey: key }),
    unknown: 'It is not known whether the price is in force: look at the list.',
    done(_, body) {
      say(`The price of ${body.display_name} is in force.`);
      done();
    },
  });
  const show = () => fill(effect, costs());
  box.addEventListener('input', show);
  show();
}

function change(before, after) {
  if (before === 0n) return '';
  const tenths = ((after - before) * 1000n) / before;
  const size = tenths < 0n ? -tenths : tenths;
  return `${tenths < 0n ? '−' : '+'}${size / 10n}.${size % 10n} %`;
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
    label: 'Prices in force', key: (row) => row.model, empty: 'No prices, so no model is served: begin with a new price.',
    columns: [
      { name: 'Model', kind: 'main', cell: (row) => [h('strong', {}, row.display_name || row.model), h('small.mono', {}, row.model)] },
      { name: 'Context', kind: 'num', cell: (row) => (row.context_length ? number(row.context_length) : none()) },
      { name: 'Cached input', kind: 'num sum', cell: (row) => price(row.cache_read_price) },
      { name: 'Cache writes', kind: 'num sum', cell: (row) => [price(row.cache_write_price), row.cache_write_1h_price !== null && h('small', {}, [price(row.cache_write_1h_price), ' for an hour'])] },
      { name: 'Input', kind: 'num sum', cell: (row) => price(row.input_price) },
      { name: 'Output', kind: 'num sum', cell: (row) => price(row.output_price) },
      { name: 'Actions', hidden: true, kind: 'act', cell: (row) => [
        button('Edit', () => edit(row, refresh), 'quiet small', { 'aria-label': `Edit the price of ${row.display_name || row.model}` }),
        button('Remove', () => remove(row), 'quiet small ends', { 'aria-label': `Remove the price of ${row.display_name || row.model}` }),
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
