// The way to the server: one function that sends, one error type, and the two list shapes.

/** Where the pages are: a proxy may serve them below a path. Every page lies directly in it. */
export const root = new URL('.', document.baseURI);

/** What the server said no with, or `status: 0` when it is not known whether it heard at all. */
export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    const said = body?.error ?? {};
    super(said.message || (status ? `The server answered ${status}.` : 'The server could not be reached.'));
    this.status = status;
    this.code = said.code ?? null;
    this.param = said.param ?? null;
    this.retryAfter = retryAfter;
  }
  /** True when the request may have been carried out although no answer came. */
  get unknown() {
    return this.status === 0 || this.status >= 500;
  }
}

const page = { headers: () => ({}), signedOut: null };

/** `headers()` is added to every request; `signedOut(error)` resolves to true when it is worth sending again. */
export function configure(settings) {
  Object.assign(page, settings);
}

async function send(method, path, { body, idempotencyKey, accept, signal, timeout = 30_000 } = {}) {
  const headers = { accept: accept ?? 'application/json', ...page.headers() };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (idempotencyKey) headers['idempotency-key'] = idempotencyKey;
  const signals = [signal, timeout && AbortSignal.timeout(timeout)].filter(Boolean);
  let response;
  try {
    response = await fetch(new URL(path.replace(/^\//, ''), root), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signals.length ? AbortSignal.any(signals) : undefined,
      credentials: 'same-origin',
      cache: 'no-store',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0);
  }
  if (response.ok) return response;
  const retryAfter = Number(response.headers.get('retry-after')) || null;
  throw new ApiError(response.status, await response.json().catch(() => null), retryAfter);
}

/** The response itself. A request refused for want of a session is sent once more after signing in. */
export async function request(method, path, options) {
  try {
    return await send(method, path, options);
  } catch (error) {
    if (error.status !== 401 || options?.plain || !page.signedOut) throw error;
    if (!(await page.signedOut(error))) throw error;
    return send(method, path, options);
  }
}

/** The JSON of the answer, or null when it has none. */
export async function call(method, path, options) {
  const response = await request(method, path, options);
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => call('GET', path, options);

/** One page of a list: {rows, next, total}. `next` is the path of the page after it, or null: the same one, further on. */
export async function list(path, options) {
  const response = await request('GET', path, options);
  const body = await response.json();
  const link = /<([^>]+)>\s*;\s*rel="?next"?/.exec(response.headers.get('link') ?? '');
  const next = link ? new URL(link[1], location.href) : null;
  const total = response.headers.get('x-total-count');
  return {
    rows: Array.isArray(body) ? body : (body.prices ?? body.data ?? []),
    next: next && path.split('?')[0] + next.search,
    total: total === null ? null : Number(total),
  };
}

/** A path with its query, leaving out what is empty. */
export function query(path, params) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== '') search.set(key, value);
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

/** A fresh idempotency key. getRandomValues works on plain http too, where randomUUID does not exist. */
export function idempotencyKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** Reads a streamed answer to its end, telling how far it is. Resolves to a Blob. */
export async function download(path, { signal, progress }) {
  const response = await request('GET', path, { accept: 'text/csv', signal, timeout: 0 });
  const reader = response.body.getReader();
  const chunks = [];
  let bytes = 0;
  let lines = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    bytes += value.length;
    for (const byte of value) if (byte === 10) lines += 1;
    progress({ bytes, rows: Math.max(0, lines - 1) });
  }
  return new Blob(chunks, { type: 'text/csv' });
}
