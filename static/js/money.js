// Money is a whole number of micro-USD, held as BigInt. No float touches an amount, reading and showing included.

const MICRO = 1_000_000n;

/** The amount of a JSON field. */
export const micro = (value) => BigInt(value ?? 0);

/** {sign, dollars, cents, rest}: rest is what is left below a cent, without trailing zeros. */
function parts(amount) {
  const size = amount < 0n ? -amount : amount;
  const digits = String(size % MICRO).padStart(6, '0');
  return {
    sign: amount < 0n ? '−' : '',
    dollars: String(size / MICRO).replace(/\B(?=(\d{3})+$)/g, ','),
    cents: digits.slice(0, 2),
    rest: digits.slice(2).replace(/0+$/, ''),
  };
}

/** The exact amount as text: $1,234.50, −$0.000188. */
export function usd(value) {
  const { sign, dollars, cents, rest } = parts(micro(value));
  return `${sign}$${dollars}.${cents}${rest}`;
}

/** The amount as {head, rest, small}: the part down to the cent, the digits below it, and whether it is under a dollar. */
export function usdParts(value) {
  const { sign, dollars, cents, rest } = parts(micro(value));
  return { head: `${sign}$${dollars}.${cents}`, rest, small: dollars === '0' };
}

/** More than the ledger holds. */
const MOST = 9_223_372_036_854_775_807n;

/** What is wrong with a text that is no amount, in the server's words; null if it is one. */
export function wrongUsd(text) {
  if (!/^\d+(\.\d+)?$/.test(text)) return 'An amount is digits, with a dot (no comma) before its decimals: like 10 or 0.125.';
  if (/\.\d{7}/.test(text)) return 'An amount has at most six decimals.';
  return parseUsd(text) > MOST ? 'The amount is too large.' : null;
}

/** Reads an amount as the command line does: digits, a dot, at most six decimals, nothing else. null if it is none. */
export function parseUsd(text) {
  const match = /^(\d+)(?:\.(\d{1,6}))?$/.exec(text);
  return match ? BigInt(match[1]) * MICRO + BigInt((match[2] ?? '').padEnd(6, '0')) : null;
}

/** The amount as the decimal string the server reads: 10.00. */
export const decimal = (amount) => usd(amount).replace(/[$,]/g, '');

/** What a request costs, as the server computes it: one division, rounded up. */
export function cost(price, promptTokens, completionTokens) {
  const units = micro(price.input_price) * promptTokens + micro(price.output_price) * completionTokens;
  return (units + MICRO - 1n) / MICRO;
}

/** The rows added up by their field `key`, in the order in which they come: `counts` and `amounts` name the fields to add. */
export function sumBy(rows, key, counts, amounts) {
  const sums = new Map();
  for (const row of rows) {
    const sum = sums.get(row[key]) ?? { [key]: row[key] };
    for (const name of counts) sum[name] = (sum[name] ?? 0) + row[name];
    for (const name of amounts) sum[name] = micro(sum[name]) + micro(row[name]);
    sums.set(row[key], sum);
  }
  return [...sums.values()];
}
