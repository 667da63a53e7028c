// Lines to paste, with this server's own address filled in.

import { root } from './api.js';

export const base = () => `${root.href}v1`;
const hello = 'Say hello in one sentence.';
const first = 'mlx-community/gemma-4-26b-a4b-it-8bit';
const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A curl line that works when pasted. */
export function curl({ key = '$COORDINATOR_KEY', model = first } = {}) {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: hello }] });
  return `curl ${base()}/chat/completions \\\n  -H "Authorization: Bearer ${key}" \\\n  -H "Content-Type: application/json" \\\n  -d ${quote(body)}`;
}

const python = ({ model = first }) => `# pip install openai
import os
from openai import OpenAI

client = OpenAI(base_url="${base()}", api_key=os.environ["COORDINATOR_KEY"])
answer = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=[{"role": "user", "content": "${hello}"}],
)
print(answer.choices[0].message.content)
print(answer.usage)`;

const node = ({ model = first }) => `// npm install openai
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base()}", apiKey: process.env.COORDINATOR_KEY });
const answer = await client.chat.completions.create({
  model: ${JSON.stringify(model)},
  messages: [{ role: "user", content: "${hello}" }],
});
console.log(answer.choices[0].message.content, answer.usage);`;

export const samples = [['curl', curl], ['Python', python], ['Node', node]];
