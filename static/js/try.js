// Try it: one question to one model, the answer as it comes, its receipt, and the balance that moves.

import { ApiError, request } from './api.js';
import { fill, h } from './dom.js';
import { number } from './format.js';
import { micro } from './money.js';
import { field, figures, money, say, section } from './ui.js';

/** The events of a stream, as JSON. What is no `data:` line is a sign of life. */
async function* events(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const lines = rest.split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const data = /^data: ?(.*)/.exec(line.trim())?.[1];
      if (data === '[DONE]') return;
      if (data) yield JSON.parse(data);
    }
    if (done) return;
  }
}

/** The panel. `models`: those that the key may use; `settled()` is called once the charge is in the books. */
export function tryPanel({ models, signal, settled }) {
  const names = models.map((model) => [model.id, model.display_name || model.id]);
  const model = field({ label: 'Model', name: 'model', kind: 'select', options: names, value: names[0]?.[0] });
  const text = field({ label: 'Say something', name: 'text', kind: 'area', required: true, value: 'Explain in two sentences what a token is.' });
  const answer = h('output.answer', { 'aria-label': 'The answer', hidden: true });
  const receipt = h('div', { role: 'status' });
  let running = null;
  const send = h('button.primary', { type: 'submit' }, 'Send');

  /** Shows the pieces as they come; resolves to the usage. */
  async function ask(stop) {
    const response = await request('POST', '/v1/chat/completions', {
      body: { model: model.value, messages: [{ role: 'user', content: text.value }], max_tokens: 400, stream: true, stream_options: { include_usage: true } },
      accept: 'text/event-stream', signal: stop, timeout: 0,
    });
    let usage = null;
    for await (const event of events(response)) {
      if (event.error) throw new ApiError(502, event);
      const delta = event.choices?.[0]?.delta ?? {};
      answer.append(delta.content ?? delta.reasoning_content ?? '');
      usage = event.usage ?? usage;
    }
    return { usage, id: response.headers.get('x-request-id') };
  }

  function show({ usage, id }) {
    fill(receipt, usage && figures([
      ['Tokens', `${number(usage.prompt_tokens)} + ${number(usage.completion_tokens)}`, 'prompt and answer'],
      ['Charged', money(micro(usage.cost_micro_usd)), id && h('span.mono', {}, id)],
    ], 'sum'));
    say(usage ? `Answered, ${number(usage.completion_tokens)} tokens.` : 'Answered.');
  }

  const node = h('form.try', {
    novalidate: true,
    async onsubmit(event) {
      event.preventDefault();
      if (running) return running.abort();
      text.fail(text.value ? null : 'Needed.');
      if (!text.value) return text.input.focus();
      running = new AbortController();
      signal.addEventListener('abort', () => running?.abort(), { once: true });
      send.textContent = 'Stop';
      answer.hidden = false;
      answer.setAttribute('aria-busy', 'true');
      fill(answer);
      fill(receipt);
      try {
        show(await ask(running.signal));
      } catch (error) {
        fill(receipt, h('p.wrong', { role: running.signal.aborted ? null : 'alert' }, running.signal.aborted ? 'Stopped. What was written is charged.' : error.message));
      } finally {
        running = null;
        send.textContent = 'Send';
        answer.removeAttribute('aria-busy');
        if (!signal.aborted) settled();
      }
    },
  }, model.node, text.node, h('div.actions', {}, send), answer, receipt);
  return section('Try it', {}, node);
}
