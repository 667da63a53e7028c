// The Anthropic SDK of Node: its typed helpers over the Messages dialect.
import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';

import { HELLO, KEY, MODEL, POOR_KEY, ROOT, done, fails, newestRow, ok, test } from './cases.mjs';

const make = (apiKey) => new Anthropic({ baseURL: ROOT, apiKey, maxRetries: 0 });
const client = make(KEY);
const ask = { model: MODEL, max_tokens: 12, messages: HELLO };
const call = { model: MODEL, max_tokens: 300, messages: [{ role: 'user', content: 'Call the tool get_weather {"unit":"c"}' }] };
const input = { type: 'object', properties: { unit: { type: 'string', enum: ['c', 'f'] } }, required: ['unit'] };
const prompt = (usage) => usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);

await test('messages', async () => {
  const answer = await client.messages.create(ask);
  const row = await newestRow();
  ok(answer.content[0].text && row.completion_tokens === answer.usage.output_tokens && row.prompt_tokens === prompt(answer.usage));
});
await test('messages stream accumulates', async () => {
  let text = '';
  const stream = client.messages.stream(ask).on('text', (piece) => { text += piece; });
  const answer = await stream.finalMessage();
  const row = await newestRow();
  ok(text && answer.content[0].text === text && answer.stop_reason, JSON.stringify(answer));
  ok(row.completion_tokens === answer.usage.output_tokens && row.prompt_tokens === prompt(answer.usage), JSON.stringify(answer.usage));
});
await test('a tool in a stream', async () => {
  const answer = await client.messages.stream({ ...call, tools: [{ name: 'get_weather', input_schema: input }] }).finalMessage();
  const use = answer.content.find((block) => block.type === 'tool_use');
  ok(use?.input.unit === 'c' && answer.stop_reason === 'tool_use', JSON.stringify(answer));
});
await test('the tool runner', async () => {
  for (const stream of [false, true]) {
    let asked = 0;
    const weather = betaTool({ name: 'get_weather', description: 'The weather', inputSchema: input, run: ({ unit }) => { asked += 1; return `20 ${unit}`; } });
    const answer = await client.beta.messages.toolRunner({ ...call, tools: [weather], stream }).runUntilDone();
    ok(asked === 1 && answer.stop_reason === 'end_turn' && answer.content[0].text, JSON.stringify(answer));
  }
});
await test('bad key', () => fails(Anthropic.AuthenticationError, 401, () => make('wrong').messages.create(ask)));
await test('no credit', () => fails(Anthropic.APIError, 402, () => make(POOR_KEY).messages.create(ask)));
done();
