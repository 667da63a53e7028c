// The parts the views are made of: money, forms, dialogs, copy buttons, states of loading.

import { idempotencyKey } from './api.js';
import { fill, h, refocus, uid } from './dom.js';
import { fullTime, time, zone } from './format.js';
import { micro, parseUsd, usdParts, wrongUsd } from './money.js';

/** Tells a screen reader, and shows for a moment, what just happened. */
export function say(text) {
  // What is outside an open dialog is inert, so a dialog has a region of its own.
  const open = [...document.querySelectorAll('dialog[open] > [role=status]')];
  const region = open.at(-1) ?? document.getElementById('live');
  fill(region, h('p', {}, text));
  clearTimeout(region.timer);
  region.timer = setTimeout(() => fill(region), 6_000);
}

/** An amount; from a dollar up the digits below a cent are quieter. `aligned` reserves their room in a column. */
export function money(value, { aligned = false, signed = false } = {}) {
  const { head, rest, small } = usdParts(value);
  const plus = signed && micro(value) > 0n ? '+' : '';
  return h('span.money', { class: `${aligned ? 'aligned' : ''} ${small ? 'small-sum' : ''}` }, plus + head, h('span.rest', {}, rest));
}

/** Stands where there is nothing; a narrow screen leaves it out. */
export const none = () => h('span.none', {}, '–');

/** A price in its column; where none is set for this kind of token, the input price holds. */
export const price = (value) => (value === null || value === undefined ? h('span.none.muted', {}, 'as input') : money(value, { aligned: true }));

/** A time. What was there from the beginning has the time 0. */
export function when(text) {
  if (!text) return none();
  if (text.startsWith('1970-')) return 'the beginning';
  return h('time', { datetime: text, title: fullTime(text) }, time(text));
}

/** Says once a page which zone its times are of. */
export const zoneNote = () => h('p.zone', {}, zone());

/** Who did something: "admin:ada" is ada, "account:acct_…" its owner. */
export function who(actor) {
  if (!actor) return none();
  const [kind, name] = actor.split(/:(.*)/s);
  return h('span.nowrap', { title: actor }, kind === 'admin' && name ? name : kind === 'cli' ? 'command line' : kind);
}

export const badge = (text, kind = '') => h('span.badge', { class: kind }, text);

export const button = (text, onclick, kind = '', props = {}) => h('button', { type: 'button', class: kind, onclick, ...props }, text);

/** A button that copies `text` and says so. */
export function copyButton(text, what) {
  const node = button('Copy', async () => {
    const ok = await copy(text);
    node.textContent = ok ? 'Copied' : 'Select and copy';
    say(ok ? `${what} copied.` : `The browser did not allow copying. Select the ${what.toLowerCase()} and copy it.`);
    setTimeout(() => { node.textContent = 'Copy'; }, 2_000);
  }, 'small', { 'aria-label': `Copy ${what.toLowerCase()}` });
  return node;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http on a network address has no clipboard API: the old way still works there.
    const area = h('textarea', { class: 'offscreen', 'aria-hidden': 'true', value: text });
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const ok = document.execCommand('copy');
    area.remove();
    return ok;
  }
}

/** Text to copy, with its button. `wraps`: it is one line, and long. */
export const snippet = (text, what, wraps = false) => h('div.snippet', { class: wraps ? 'wraps' : '' }, h('pre', { tabindex: '0', role: 'group', 'aria-label': what }, h('code', {}, text)), copyButton(text, what));

/** dl of figures: [[label, value, hint]]. */
export const figures = (entries, kind = '') => h('dl.figures', { class: kind }, entries.filter(Boolean).map(([label, value, hint]) =>
  h('div', {}, h('dt', {}, label), h('dd', {}, value, hint && h('small', {}, hint)))));

export const section = (title, { tools = [], id = uid('section') } = {}, ...children) => h('section', { 'aria-labelledby': id },
  h('header.bar', {}, h('h2', { id }, title), h('div.tools', {}, tools)), ...children);

/** A message at the place it concerns, with a way to try again. */
export const problem = (error, again) => h('div.problem', { role: 'alert' }, h('p', {}, error.message), again && button('Try again', again, 'small'));

/** Fills `node` with what `make()` resolves to; while waiting and on failure it says so in the same place. */
export async function into(node, make, signal) {
  node.setAttribute('aria-busy', 'true');
  try {
    const made = await make();
    if (!signal?.aborted) fill(node, made);
  } catch (error) {
    if (!signal?.aborted) fill(node, problem(error, () => into(node, make, signal)));
  } finally {
    node.removeAttribute('aria-busy');
  }
}

/** A labelled control. `kind`: an input type, 'area' or 'select' (with `options` [[value, text]]). */
export function field({ label, name, kind = 'text', hint, value = '', options = [], prefix, ...rest }) {
  const id = uid(name);
  const note = h('p.hint', { id: `${id}-hint` }, hint ?? '');
  const wrong = h('p.wrong', { id: `${id}-wrong`, role: 'alert' });
  const props = { id, name, 'aria-describedby': `${id}-hint ${id}-wrong`, ...rest };
  let input;
  if (kind === 'area') input = h('textarea', { rows: 3, ...props, value });
  else if (kind === 'select') input = h('select', props, options.map(([v, text]) => h('option', { value: v, selected: v === value }, text)));
  else if (kind === 'checkbox') input = h('input', { type: kind, ...props, checked: value === true });
  else input = h('input', { type: kind, autocomplete: 'off', ...props, value });
  const control = prefix ? h('span.prefixed', {}, h('span', { 'aria-hidden': 'true' }, prefix), input) : input;
  const caption = h('label', { for: id }, label, !rest.required && kind !== 'checkbox' && kind !== 'select' && h('span.optional', {}, ' optional'));
  const node = h(`div.field.${kind}`, {}, kind === 'checkbox' ? [control, caption] : [caption, control], hint && note, wrong);
  return {
    node,
    input,
    name,
    get value() {
      if (kind === 'checkbox') return input.checked;
      return kind === 'password' ? input.value : input.value.trim();
    },
    fail(message) {
      wrong.textContent = message ?? '';
      if (message) input.setAttribute('aria-invalid', 'true');
      else input.removeAttribute('aria-invalid');
    },
  };
}

/** Thrown by a form's own check: `name` is the field it concerns. */
export class FieldError extends Error {
  constructor(name, message) {
    super(message);
    this.param = name;
  }
}

/**
 * A form. `save(values)` does the work; while it runs a second press does nothing. When it fails nothing typed is
 * lost: the message stands at the field the server named, else above the buttons.
 */
export function form({ fields, submit, save, cancel, cancelText = 'Cancel', kind = 'primary', extra = [] }) {
  const wrong = h('div.wrong.whole', { role: 'alert' });
  const press = h('button', { type: 'submit', class: kind }, submit);
  let busy = false;
  const node = h('form', {
    novalidate: true,
    async onsubmit(event) {
      event.preventDefault();
      if (busy) return;
      busy = true;
      press.setAttribute('aria-disabled', 'true');
      press.classList.add('busy');
      wrong.textContent = '';
      for (const one of fields) one.fail(null);
      try {
        for (const one of fields) if (one.input.required && !one.value) throw new FieldError(one.name, 'Needed.');
        await save(Object.fromEntries(fields.map((one) => [one.name, one.value])));
      } catch (error) {
        const at = fields.find((one) => one.name === error.param);
        if (at) at.fail(error.message);
        else wrong.textContent = error.message;
        (at?.input ?? press).focus();
      } finally {
        busy = false;
        press.removeAttribute('aria-disabled');
        press.classList.remove('busy');
      }
    },
  }, fields.map((one) => one.node), extra, wrong, h('div.actions', {}, cancel && button(cancelText, cancel, 'quiet'), press));
  return node;
}

/** Opens a modal dialog. `make(close, replace)` returns what it holds; resolves when it is closed. */
export function dialog(title, make, { wide = false, onclose } = {}) {
  const id = uid('dialog');
  const body = h('div.body');
  const node = h('dialog', { 'aria-labelledby': id, class: wide ? 'wide' : '' },
    h('header', {}, h('h2', { id, tabindex: '-1' }, title), button('Close', () => node.close(), 'quiet small')), body, h('div.offscreen', { role: 'status' }));
  const replace = (newTitle, ...children) => {
    node.querySelector('h2').textContent = newTitle;
    fill(body, ...children);
    node.querySelector('h2').focus();
  };
  // One dialog may lead to the next: what opened the first is what the last goes back to.
  node.opener = document.activeElement?.closest('dialog')?.opener ?? document.activeElement;
  node.addEventListener('close', () => {
    node.remove();
    // The browser gives the focus back to what opened it, unless that is gone, or was drawn anew meanwhile.
    if ([null, document.body].includes(document.activeElement) && node.opener !== document.body) {
      if (node.opener.isConnected) node.opener.focus();
      else refocus(node.opener, document.body);
    }
    onclose?.();
  });
  document.body.append(node);
  fill(body, make(() => node.close(), replace));
  node.showModal();
  const first = body.querySelector('input:not([type=hidden]), textarea, select') ?? node.querySelector('h2');
  first.focus();
  return node;
}

/** The amount typed into the field `name`, in micro-USD. Above zero unless `zero` is allowed. */
export function amount(name, text, { zero = false } = {}) {
  const wrong = wrongUsd(text);
  if (wrong) throw new FieldError(name, wrong);
  const value = parseUsd(text);
  if (value === 0n && !zero) throw new FieldError(name, 'The amount must be more than zero.');
  return value;
}

/**
 * A dialog of two steps: what is typed, then what it comes to, which a second press does. `read(values)` makes of what
 * was typed what is meant; `review(meant)` gives {submit, lines}, or null if there is nothing to look at twice;
 * `send(meant, key)` does it. One idempotency key: a second press or a try after a lost answer is the same request.
 * Only a plain refusal gives the next attempt a new key.
 */
export function twoSteps(title, { fields, extra, style, wide, submit = 'Continue', read, review, send, unknown, done }) {
  let key = idempotencyKey();
  return dialog(title, (close, replace) => {
    let unsure = false;
    const act = async (meant) => {
      let result;
      try {
        result = await send(meant, key);
      } catch (error) {
        unsure ||= error.unknown;
        if (unsure) error.message += ` ${unknown}`;
        else key = idempotencyKey();
        throw error;
      }
      close();
      done(result, meant);
    };
    const ask = form({
      fields, extra, submit, cancel: close,
      async save(values) {
        const meant = read(values);
        const shown = review(meant);
        if (!shown) return act(meant);
        const back = () => { replace(title, ask); fields[0].input.focus(); };
        const yes = form({ fields: [], submit: shown.submit, cancel: () => (unsure ? close() : back()), cancelText: 'Back', save: () => act(meant) });
        replace('Is this right?', ...shown.lines, yes);
        yes.querySelector('[type=submit]').focus();
      },
    });
    if (style) ask.classList.add(style);
    return ask;
  }, { wide });
}

/** Asks before doing. `act()` runs on yes; its failure is said in the dialog. */
export function confirm(title, text, submit, act, kind = 'danger') {
  dialog(title, (close) => [
    h('div', {}, [text].flat().map((line) => (typeof line === 'string' ? h('p', {}, line) : line))),
    form({ fields: [], submit, kind, cancel: close, async save() { await act(); close(); } }),
  ]);
}

/** A group of radio buttons that looks like one control. */
export function segmented(label, options, value, onchange) {
  const name = uid('segment');
  return h('fieldset.segmented', {}, h('legend.offscreen', {}, label), options.map(([v, text]) => {
    const id = uid('option');
    return [h('input', { type: 'radio', id, name, value: v, checked: v === value, onchange: () => onchange(v) }), h('label', { for: id }, text)];
  }));
}
