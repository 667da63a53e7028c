// Renders /openapi.json: the operations by tag, each with its parameters, body and answers; then the schemas.

import { fill, h } from './dom.js';

const root = document.getElementById('api');
const last = (ref) => ref.split('/').pop();
const anchor = (name) => `schema-${name}`;
const link = (ref) => h('a.mono', { href: `#${anchor(last(ref))}` }, last(ref));
const join = (nodes, between) => nodes.flatMap((node, at) => (at ? [between, node] : [node]));

/** A schema in a few words, with links to those it names. */
function brief(schema) {
  if (!schema || schema === true) return ['anything'];
  if (schema.$ref) return [link(schema.$ref)];
  for (const kind of ['oneOf', 'anyOf']) if (schema[kind]) return join(schema[kind].map(brief), ' or ').flat();
  if (schema.allOf) return join(schema.allOf.map(brief), ' and ').flat();
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(' | ')];
  const types = [schema.type ?? 'anything'].flat();
  if (types.includes('array')) return ['array of ', ...brief(schema.items)];
  const limits = [schema.format, schema.minimum !== undefined && `≥ ${schema.minimum}`, schema.maximum !== undefined && `≤ ${schema.maximum}`];
  return [[types.join(' | '), ...limits.filter(Boolean)].join(', ')];
}

/** The fields of an object, those of its parts too. */
function fields(schema) {
  const required = new Set(schema.required ?? []);
  const own = Object.entries(schema.properties ?? {}).map(([name, of]) => ({ name, of, required: required.has(name) }));
  return [...(schema.allOf ?? []).flatMap((part) => (part.$ref ? [{ name: '…', of: part, required: true }] : fields(part))), ...own];
}

const table = (caption, heads, rows) => h('div.table', {}, h('table', {},
  h('caption.offscreen', {}, caption),
  h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))),
  h('tbody', {}, rows.map((row) => h('tr', {}, row.map((cell) => h('td', {}, cell)))))));

function fieldTable(name, schema) {
  const rows = fields(schema);
  if (!rows.length) return h('p.hint', {}, brief(schema));
  return table(`Fields of ${name}`, ['Field', 'Type', 'What it is'], rows.map((field) => [
    [h('code', {}, field.name), field.required ? '' : h('small', {}, 'may be left out')],
    brief(field.of),
    field.of.description ?? '',
  ]));
}

const content = (of) => Object.entries(of ?? {}).map(([kind, { schema }]) => h('div', {}, h('code', {}, kind), ' ', brief(schema)));

function operation(path, method, op) {
  const parameters = op.parameters ?? [];
  return h('details', { id: op.operationId },
    h('summary', {}, h('code.strong', {}, `${method.toUpperCase()} ${path}`), ' ', h('span.hint', {}, op.summary)),
    parameters.length > 0 && [h('h3', {}, 'Parameters'), table(`Parameters of ${method} ${path}`, ['Name', 'In', 'Type', 'What it is'],
      parameters.map((one) => [h('code', {}, one.name), one.required ? `${one.in}, required` : one.in, brief(one.schema), one.description ?? '']))],
    op.requestBody && [h('h3', {}, op.requestBody.required ? 'Body' : 'Body, may be left out'), content(op.requestBody.content)],
    h('h3', {}, 'Answers'),
    table(`Answers of ${method} ${path}`, ['Status', 'When', 'Body'],
      Object.entries(op.responses).map(([status, answer]) => [h('code', {}, status), answer.description, content(answer.content)])));
}

function render(api) {
  const all = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, op]) => ({ path, method, op })));
  const group = (tag) => h('section', {},
    h('h2', {}, tag.name), h('p.hint', {}, tag.description),
    all.filter(({ op }) => op.tags.includes(tag.name)).map(({ path, method, op }) => operation(path, method, op)));
  const schemas = Object.entries(api.components.schemas).sort(([a], [b]) => a.localeCompare(b));
  fill(root,
    h('p.intro', {}, api.info.description),
    api.tags.map(group),
    h('section', {}, h('h2', {}, 'Schemas'), schemas.map(([name, schema]) => h('details', { id: anchor(name) },
      h('summary', {}, h('code.strong', {}, name), ' ', h('span.hint', {}, schema.description ?? '')), fieldTable(name, schema)))));
}

/** Opens what the address names: a closed part would not be scrolled to. */
function open() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.tagName !== 'DETAILS') return;
  named.open = true;
  named.scrollIntoView();
}

addEventListener('hashchange', open);
try {
  const response = await fetch('openapi.json');
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  render(await response.json());
  open();
} catch (error) {
  fill(root, h('p.wrong', { role: 'alert' }, `The description could not be loaded. ${error.message}`));
}
