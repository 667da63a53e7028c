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

/** Reads what a person typed (10, 10.5, $1,000.00, 0.000001). Returns micro-USD, or null if it is no amount. */
export function parseUsd(text) {
  const plain = text.trim().replace(/^\$/, '').replace(/,(?=\d{3}(\D|$))/g, '');
  const match = /^(\d{1,12})(?:\.(\d{1,6}))?$/.exec(plain);
  return match ? BigInt(match[1]) * MICRO + BigInt((match[2] ?? '').padEnd(6, '0')) : null;
}

/** The amount as the decimal string the server reads: 10.00. */
export const decimal = (amount) => usd(amount).replace(/[$,]/g, '');

/** What a request costs, as the server computes it: one division, rounded up. */
export function cost(price, promptTokens, completionTokens) {
  const units = micro(price.input_price) * promptTokens + micro(price.output_price) * completionTokens;
  return (units + MICRO - 1n) / MICRO;
}
