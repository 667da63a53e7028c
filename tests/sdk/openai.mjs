// The openai SDK of Node.
import OpenAI from 'openai';

import { HELLO, KEY, MODEL, POOR_KEY, ROOT, done, fails, newestRow, ok, rowAfter, test } from './cases.mjs';

const make = (apiKey = KEY, more = {}) => new OpenAI({ baseURL: `${ROOT}/v1`, apiKey, maxRetries: 0, timeout: 60_000, ...more });
const client = make();
const chat = client.chat.completions;
const ask = { model: MODEL, messages: HELLO, max_tokens: 12 };
const tool = { type: 'function', function: { name: 'get_weather', parameters: { type: 'object', properties: { unit: { type: 'string', enum: ['c', 'f'] } }, required: ['unit'] } } };
const schema = { type: 'object', properties: { name: { type: 'string' }, age: { type: 'integer' } }, required: ['name', 'age'], additionalProperties: false };

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

await test('models', async () => {
  ok((await all(client.models.list())).some((model) => model.id === MODEL));
});
await test('chat and its receipt', async () => {
  const { data, response } = await chat.create(ask).withResponse();
  const row = await newestRow();
  ok(data.choices[0].message.content && data.usage.completion_tokens <= 12);
  ok(row.request_id === response.headers.get('x-request-id') && row.completion_tokens === data.usage.completion_tokens);
});
await test('chat stream with usage', async () => {
  const chunks = await all(await chat.create({ ...ask, stream: true, stream_options: { include_usage: true } }));
  const usage = chunks.at(-1).usage;
  ok(usage && chunks.filter((chunk) => chunk.usage).length === 1, 'one usage chunk, the last');
  ok((await newestRow()).completion_tokens === usage.completion_tokens);
});
await test('chat stream without usage', async () => {
  const chunks = await all(await chat.create({ ...ask, stream: true }));
  ok(chunks.every((chunk) => !chunk.usage && chunk.choices.length), 'a chunk that nobody asked for');
});
await test('tool call', async () => {
  const answer = await chat.create({ ...ask, max_tokens: 300, tools: [tool], tool_choice: 'required' });
  const call = answer.choices[0].message.tool_calls[0].function;
  ok(call.name === 'get_weather' && ['c', 'f'].includes(JSON.parse(call.arguments).unit), JSON.stringify(call));
});
await test('structured output', async () => {
  const response_format = { type: 'json_schema', json_schema: { name: 'person', schema, strict: true } };
  const answer = await chat.create({ ...ask, max_tokens: 400, response_format });
  ok(Number.isInteger(JSON.parse(answer.choices[0].message.content).age));
});
if (!process.env.IMITATE) await test('embeddings', async () => {
  const answer = await client.embeddings.create({ model: MODEL, input: ['hello', 'bye'] });
  ok(answer.data.length === 2 && answer.data[0].embedding.length && answer.usage.prompt_tokens);
});
await test('responses', async () => {
  const answer = await client.responses.create({ model: MODEL, input: 'Say hello.', max_output_tokens: 16 });
  ok(answer.output_text && (await newestRow()).completion_tokens === answer.usage.output_tokens);
});
await test('responses stream', async () => {
  const events = await all(await client.responses.create({ model: MODEL, input: 'Say hello.', max_output_tokens: 16, stream: true }));
  ok(/^response\.(completed|incomplete)$/.test(events.at(-1).type), events.at(-1).type);
});
await test('responses stream accumulates', async () => {
  const stream = client.responses.stream({ model: MODEL, input: 'Say hello.', max_output_tokens: 300 });
  let text = '';
  stream.on('response.output_text.delta', (event) => { text += event.delta; });
  const answer = await stream.finalResponse();
  ok(answer.output_text && answer.output_text === text && answer.status === 'completed', JSON.stringify(answer).slice(0, 200));
  ok((await newestRow()).completion_tokens === answer.usage.output_tokens);
});
await test('responses tool call in a stream', async () => {
  const weather = { type: 'function', name: 'get_weather', strict: true, parameters: tool.function.parameters };
  const stream = client.responses.stream({ model: MODEL, input: 'Call the tool get_weather {"unit":"c"}', tools: [weather] });
  const answer = await stream.finalResponse();
  const call = answer.output.find((item) => item.type === 'function_call');
  ok(call?.parsed_arguments?.unit === 'c', JSON.stringify(answer.output));
});
await test('leaving in mid-stream is charged for what came', async () => {
  const before = (await newestRow()).request_id;
  const stream = await chat.create({ ...ask, max_tokens: 2000, stream: true, ignore_eos: true, demo_delay_ms: 5 });
  let count = 0;
  for await (const _ of stream) {
    count += 1;
    if (count === 5) {
      stream.controller.abort();
      break;
    }
  }
  const row = await rowAfter(before);
  ok(row.outcome === 'client_disconnected' && row.cost_micro_usd > 0, JSON.stringify(row));
});
await test('bad key', () => fails(OpenAI.AuthenticationError, 401, () => make('sk-db-wrong').chat.completions.create(ask)));
await test('unknown model', async () => {
  const error = await fails(OpenAI.NotFoundError, 404, () => chat.create({ ...ask, model: 'no-such-model' }));
  ok(error.code === 'model_not_found', error.code);
});
await test('no credit is not asked for again', async () => {
  let asked = 0;
  const counting = (...request) => {
    asked += 1;
    return fetch(...request);
  };
  const poor = make(POOR_KEY, { maxRetries: 3, fetch: counting });
  const error = await fails(OpenAI.APIError, 402, () => poor.chat.completions.create(ask));
  ok(asked === 1, `asked ${asked} times`);
  ok(error.code === 'insufficient_quota', error.code);
});
done();
