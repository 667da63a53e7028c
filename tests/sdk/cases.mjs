// Runs named cases and prints the closing line; looks at the server as an account does.
export const { ROOT, KEY, POOR_KEY } = process.env;
export const HELLO = [{ role: 'user', content: 'Say hello.' }];
let passed = 0;
let failed = 0;

export async function get(path) {
  const response = await fetch(ROOT + path, { headers: { authorization: `Bearer ${KEY}` } });
  return response.json();
}

export const MODEL = (await get('/v1/models')).data[0].id;
export const newestRow = async () => (await get('/v1/payments/usage?limit=1'))[0];

export function ok(is, text) {
  if (!is) throw new Error(text ?? 'not so');
}

export async function test(name, run) {
  try {
    await run();
    passed += 1;
    console.log(`PASS ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${error.name}: ${String(error.message).slice(0, 300)}`);
  }
}

export async function fails(kind, status, call) {
  try {
    await call();
  } catch (error) {
    ok(error instanceof kind && error.status === status, `${error.name} ${error.status}`);
    return error;
  }
  throw new Error(`no ${kind.name}`);
}

/** The usage row of a request whose client is gone already. */
export async function rowAfter(before) {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    const row = await newestRow();
    if (row.request_id !== before) return row;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('no usage row');
}

export function done() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
}
