// Machines that join: their state in words, why they failed, and the line that invites one; for admins and for owners.

import { call, root } from './api.js';
import { h } from './dom.js';
import { plural } from './format.js';
import { wholeNumber } from './keys.js';
import { badge, button, dialog, field, say, snippet, twoSteps, when } from './ui.js';

const states = {
  up: ['connected', 'good'], down: ['its server does not answer', 'bad'], away: ['away', 'bad'],
  held: ['waiting for approval', 'warn'], disabled: ['disabled', 'off'],
};

/** A machine's state as a badge; `connected` says whether a held or disabled one is there. */
export function stateBadge(state, connected) {
  const [text, kind] = states[state] ?? [state, ''];
  return [badge(text, kind), (state === 'held' || state === 'disabled') && [' ', badge(connected ? 'connected' : 'away', connected ? 'good' : 'off')]];
}

/** The last failures, folded away; `count` is how many there were. */
export function failures(count, list) {
  if (!count) return null;
  const text = `${plural(count, 'failure')} since the server started`;
  if (!list?.length) return h('p.hint', {}, text);
  return h('details.failures', {}, h('summary', {}, text), h('ul', {}, list.map((one) => h('li', {}, when(one.at), ' ', one.why))),
    count > list.length && h('p.hint', {}, `The last ${list.length}.`));
}

/** Shows the line that a machine joins with, once. */
function showLine(key, machines) {
  if (!key.key) return say('The invitation was made by the first press, and its line was lost with that answer: revoke its key, and invite again.');
  // The address as this browser knows it: a proxy may serve all of it below a path.
  const line = `coordinator join ${root.href.replace(/\/$/, '')} --key ${key.key}`;
  return dialog('The line, shown once', (close) => [
    h('p', {}, `Run it on the machine, beside its server of models (Ollama, LM Studio, llama.cpp, vLLM …). It is for ${plural(machines, 'machine')}, and holds a key that is stored only as a hash.`),
    snippet(line, 'Line', true),
    h('p.hint', {}, 'Nothing has to be open towards the machine. Revoking ', h('span.mono', {}, key.id), ' ends its connection.'),
    h('div.actions', {}, button('I have copied it', close, 'primary')),
  ], { wide: true });
}

/** The dialog that invites machines. `extra` are the fields before, `body` makes what `path` reads of the values. */
export function inviteMachine({ path, extra = [], more = [], names, body, done }) {
  const read = (values) => {
    const machines = wholeNumber(names.machines, values[names.machines]) ?? 1;
    const models = values[names.models].split('\n').map((line) => line.trim()).filter(Boolean);
    return { machines, body: body(values, models.length ? models : null, machines) };
  };
  twoSteps('Invite a machine', {
    fields: [
      ...extra,
      field({ label: 'Models', name: names.models, kind: 'area', spellcheck: 'false', hint: 'That it may serve, one a line. Empty: all that have a price.' }),
      field({ label: 'How many machines', name: names.machines, inputmode: 'numeric', value: '1', required: true }),
      ...more,
    ],
    submit: 'Make the line', read, review: () => null,
    send: (meant, key) => call('POST', path, { body: meant.body, idempotencyKey: key }),
    unknown: 'It is not known whether it was made: look at the account’s keys before you press again.',
    done(key, meant) {
      done();
      showLine(key, meant.machines);
    },
  });
}
