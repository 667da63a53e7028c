// Where requests go and who earns: state, models, endpoints, and the probe.

import { call, get } from '../api.js';
import { fill, h, keyed } from '../dom.js';
import { milliseconds, number, plural, successRate } from '../format.js';
import { wholeNumber } from '../keys.js';
import { failures, inviteMachine, stateBadge } from '../machines.js';
import { FieldError, badge, button, confirm, dialog, field, figures, form, into, money, problem, say, when } from '../ui.js';

const ratio = (permille) => (permille / 1000).toFixed(2);
const path = (row) => `/v1/admin/providers/${encodeURIComponent(row.id)}`;
const states = { up: 'good', down: 'bad', disabled: 'off', unknown: 'warn' };
const reported = { provider: 'reports usage', estimate: 'estimated', none: 'reports none' };

const modelLines = (models) => (models ?? []).map((one) => (one.upstream_model && one.upstream_model !== one.model ? `${one.model} = ${one.upstream_model}` : one.model)).join('\n');

function readModels(text) {
  const models = text.split('\n').map((line) => line.trim()).filter(Boolean).map((line) => {
    const [model, upstream] = line.split('=').map((one) => one.trim());
    return { model, upstream_model: upstream || model };
  });
  if (!models.length || models.some((one) => !one.model)) throw new FieldError('models', 'One model a line: public name, or public name = the server’s own name.');
  return models;
}

function edit(row, done) {
  const isNew = !row;
  dialog(isNew ? 'New provider' : row.name, (close) => {
    const fields = [
      field({ label: 'Name', name: 'name', value: row?.name ?? '', required: true, maxlength: 100 }),
      field({ label: 'Base URL', name: 'base_url', kind: 'url', value: row?.base_url ?? '', required: true, placeholder: 'http://10.0.0.5:8080/v1', hint: 'Where its OpenAI-compatible API begins.' }),
      isNew && field({ label: 'Account that earns', name: 'account', required: true, hint: 'Its id, name or email.' }),
      field({ label: 'Models', name: 'models', kind: 'area', value: modelLines(row?.models), required: true, hint: 'One a line: the public name, or public name = the server’s own name.', spellcheck: 'false' }),
      field({ label: 'Requests at once', name: 'max_concurrent', inputmode: 'numeric', value: row?.max_concurrent ?? '', hint: 'Beyond it the next provider is asked; if all are full, requests wait.' }),
      field({ label: 'Hosted work it may do', name: 'allow', value: (row?.allow ?? []).join(' '), spellcheck: 'false', hint: 'What only its own bill sees, such as web_search, store or service_tier, with blanks between. The rest is left out or refused.' }),
      field({ label: 'API key', name: 'api_key', kind: 'password', autocomplete: 'new-password', hint: row?.has_api_key ? 'One is set. Empty: it stays.' : 'Sent to the server as a bearer token.' }),
    ].filter(Boolean);
    return form({
      fields, submit: isNew ? 'Add provider' : 'Save', cancel: close,
      async save(values) {
        if (values.max_concurrent && !/^[1-9]\d{0,5}$/.test(values.max_concurrent)) throw new FieldError('max_concurrent', 'A whole number, 1 or more.');
        const body = { name: values.name, base_url: values.base_url, models: readModels(values.models), max_concurrent: values.max_concurrent ? Number(values.max_concurrent) : null, allow: (values.allow ?? '').split(/[\s,]+/).filter(Boolean) };
        if (isNew) body.account = values.account;
        if (values.api_key) body.api_key = values.api_key;
        await call(isNew ? 'POST' : 'PATCH', isNew ? '/v1/admin/providers' : path(row), { body });
        close();
        say(isNew ? `${values.name} added.` : `${values.name} saved.`);
        done();
      },
    });
  });
}

/** What can be set of a machine that joins: the rest it says itself. */
function editMachine(row, done) {
  dialog(row.name, (close) => form({
    fields: [
      field({ label: 'Name', name: 'name', value: row.name, required: true, maxlength: 100, hint: `It calls itself ${row.machine.joined_as}, and is known by that when it comes back.` }),
      field({ label: 'Requests at once', name: 'max_concurrent', inputmode: 'numeric', value: row.max_concurrent ?? '', hint: row.machine.takes ? `It says that it takes ${row.machine.takes}; it never gets more.` : 'It never gets more than it says that it takes.' }),
    ],
    submit: 'Save', cancel: close,
    async save({ name, max_concurrent }) {
      const most = wholeNumber('max_concurrent', max_concurrent);
      await call('PATCH', path(row), { body: { name, max_concurrent: most } });
      close();
      say(`${name} saved.`);
      done();
    },
  }));
}

/** Ends a machine's connection, and if wished its key. */
function disconnect(row, done) {
  const { key_machines: many } = row.machine;
  dialog(`Disconnect ${row.name}?`, (close) => [
    h('p', {}, 'Its connection ends at once, with what is under way on it; nothing is charged for that. Its program ends too, and whoever starts it again comes back, unless its key is revoked.'),
    form({
      fields: [field({ label: 'Revoke its key too', name: 'revoke_key', kind: 'checkbox', hint: many > 1 ? `${plural(many - 1, 'other machine')} came with the same key, and ${many === 2 ? 'goes' : 'go'} with it.` : undefined })],
      submit: 'Disconnect', kind: 'danger', cancel: close,
      async save({ revoke_key }) {
        await call('POST', `${path(row)}/disconnect`, { body: { revoke_key } });
        close();
        say(`${row.name} is disconnected.`);
        done();
      },
    }),
  ]);
}

const invite = () => inviteMachine({
  path: '/v1/admin/providers/invite', names: { models: 'models', machines: 'machines' }, done: () => {},
  extra: [field({ label: 'Account that earns', name: 'account', required: true, hint: 'Its id, name or email.' })],
  more: [field({ label: 'New machines wait for approval', name: 'hold', kind: 'checkbox' })],
  body: ({ account, hold }, models, machines) => ({ account, models, machines, hold }),
});

function probeResult(probe) {
  if (!probe) return h('p.hint', {}, 'Not probed yet.');
  return h('div', {},
    h('p.hint', {}, probe.ok ? [probe.server ?? 'A server', ` answered in ${milliseconds(probe.latency_ms)}, `] : [h('span.wrong', {}, probe.error || 'No answer'), ', '], 'probed ', when(probe.at)),
    probe.places && h('p.hint', {}, `The server says that it takes ${plural(probe.places, 'request')} at once.`),
    probe.endpoints?.length > 0 && h('ul.endpoints', {}, probe.endpoints.map((one) => h('li', { class: one.supported ? '' : 'past' },
      h('code', {}, one.endpoint), ' ', one.supported ? badge(reported[one.usage] ?? 'supported', one.usage === 'provider' ? 'good' : 'warn') : badge('not there', 'off'), one.note && h('small', {}, one.note)))));
}

/** A machine's state, in the words of its owner's page. */
function machineState({ machine, state }) {
  if (machine.held) return 'held';
  if (state === 'disabled') return 'disabled';
  return machine.connected ? state : 'away';
}

/** How many requests it gets at once, if that is known: what was set, and what a machine takes. */
function most({ max_concurrent, machine }) {
  const known = [max_concurrent, machine?.takes].filter(Boolean);
  return known.length > 0 && Math.min(...known);
}

/** Since when a machine is there, and how it came. */
const joined = ({ name, machine }) => [
  badge('joins'), machine.joined_as !== name && [' as ', h('span.mono', {}, machine.joined_as)],
  machine.connected && [' since ', when(machine.since)],
  ` with the key ${machine.key_name} `, h('span.mono', {}, machine.key_id), machine.key_revoked && [' ', badge('revoked', 'bad')],
];

/** One provider as an article; `again` refreshes the list. */
function card(row, again) {
  const answer = h('div', {}, probeResult(row.probe));
  const probe = button('Probe', async () => {
    if (probe.classList.contains('busy')) return;
    probe.classList.add('busy');
    const began = Date.now();
    const tell = () => fill(answer, h('p.progress', { role: 'status' }, `Asking each endpoint… ${Math.round((Date.now() - began) / 1_000)} s`));
    tell();
    const timer = setInterval(tell, 1_000);
    try {
      const result = await call('POST', `${path(row)}/probe`, { timeout: 120_000 });
      fill(answer, probeResult(result));
      say(result.ok ? `${row.name} answered.` : `${row.name} did not answer.`);
    } catch (error) {
      fill(answer, problem(error, () => probe.click()));
    } finally {
      clearInterval(timer);
      probe.classList.remove('busy');
    }
  }, 'small', { 'aria-label': `Probe ${row.name}` });
  const toggle = async () => {
    await call('PATCH', path(row), { body: { enabled: !row.enabled } });
    say(`${row.name} is ${row.enabled ? 'disabled' : 'enabled'}.`);
    again();
  };
  const recent = row.recent ?? {};
  const { machine } = row;
  const named = (text) => ({ 'aria-label': `${text} ${row.name}` });
  const approve = async () => {
    await call('PATCH', path(row), { body: { enabled: true } });
    say(`${row.name} is approved.`);
    again();
  };
  return h('article.provider', {},
    h('header.bar', {}, h('h2', {}, row.name, ' ', machine ? stateBadge(machineState(row), machine.connected) : badge(row.state, states[row.state] ?? ''), row.flagged > 0 && badge(`${plural(row.flagged, 'report')} above bounds`, 'warn')),
      h('div.tools', {},
        machine?.held && button('Approve', approve, 'primary small', named('Approve')),
        (!machine || machine.connected) && probe,
        button('Edit', () => (machine ? editMachine : edit)(row, again), 'quiet small', named('Edit')),
        machine?.connected && button('Disconnect', () => disconnect(row, again), 'quiet small ends', named('Disconnect')),
        !machine?.held && button(row.enabled ? 'Disable' : 'Enable', () => (row.enabled
          ? confirm(`Disable ${row.name}?`, 'What is running goes on to its end; nothing new is sent there.', 'Disable', toggle)
          : confirm(`Enable ${row.name}?`, 'Requests may be sent there again.', 'Enable', toggle, 'primary')), 'quiet small', named(row.enabled ? 'Disable' : 'Enable')),
        button('Remove', () => confirm(`Remove ${row.name}?`, 'It is taken from the list; what it earned stays.', 'Remove', async () => { await call('DELETE', path(row)); say(`${row.name} removed.`); again(); }), 'quiet small ends', named('Remove')))),
    h('p.under', {}, machine ? joined(row) : h('span.mono', {}, row.base_url), ' · earns for ', h('a', { href: `#/accounts/${row.account_id}` }, row.account_name ?? row.account_id)),
    ...(row.recounts ?? []).map((one) => h('p.under', {}, `${one.model}: reports ${ratio(one.mean_permille)} ±${ratio(one.spread_permille)} times the ${one.part} tokens that are counted (${plural(one.answers, 'answer')})`)),
    row.last_error && h('p.wrong', {}, machine && !machine.connected ? 'Away: ' : 'Last failure: ', row.last_error),
    figures([
      ['In flight', most(row) ? `${row.in_flight} of ${most(row)}` : String(row.in_flight ?? 0), row.waiting ? `${number(row.waiting)} waiting, the first for ${milliseconds(row.longest_wait_ms)}` : null],
      ['Requests', number(recent.requests), 'since the server started'],
      ['Success', successRate(recent), recent.failed ? `${number(recent.failed)} failed` : null],
      ['First byte', milliseconds(recent.latency_ms), recent.latency_ms ? 'on average, lately' : null],
      ['Earned', money(row.earned_micro_usd)],
    ]),
    failures(recent.failed, recent.failures),
    h('div.halves', {},
      h('div', {}, h('h3', {}, 'Models'), h('ul.plain', {}, (row.models ?? []).map((one) => h('li', {}, one.model, one.upstream_model && one.upstream_model !== one.model && h('small.mono', {}, `there: ${one.upstream_model}`))))),
      h('div', {}, h('h3', {}, 'Endpoints'), answer)));
}

export function view({ signal, tools, poll }) {
  const body = h('div');
  const cards = h('div.providers');
  async function refresh() {
    const rows = await get('/v1/admin/providers', { signal });
    if (signal.aborted) return;
    keyed(cards, rows, (row) => row.id, (row) => card(row, refresh));
    if (!rows.length && body.firstChild !== null) fill(body, h('p.empty', {}, 'No provider yet. Add one, any OpenAI-compatible server; or invite a machine that this server cannot reach.'));
    else if (rows.length && cards.parentNode !== body) fill(body, cards);
  }
  tools.append(button('Invite a machine', invite), button('New provider', () => edit(null, refresh), 'primary'));
  into(body, async () => {
    await refresh();
    return cards.childElementCount ? cards : h('p.empty', {}, 'No provider yet. Add one, any OpenAI-compatible server; or invite a machine that this server cannot reach.');
  }, signal);
  poll(5, async () => {
    // A probe that is running shows its progress in the card: leave it be.
    if (!cards.querySelector('.busy')) await refresh();
  });
  return body;
}
