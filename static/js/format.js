// Counts, times and days as a person reads them.

const locale = navigator.language;
const counts = new Intl.NumberFormat('en-US');
const moment = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'long' });
const short = new Intl.DateTimeFormat(locale, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const withYear = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' });
const dayOnly = new Intl.DateTimeFormat(locale, { month: 'short', day: 'numeric', timeZone: 'UTC' });

export const number = (value) => counts.format(value ?? 0);
export const plural = (n, one, many = `${one}s`) => `${number(n)} ${Number(n) === 1 ? one : many}`;

/** The full local time with its zone: for titles. */
export const fullTime = (text) => (text ? moment.format(new Date(text)) : '');

/** A local time, short; with the year instead of the hour when it was not this year. */
export function time(text) {
  if (!text) return '–';
  const date = new Date(text);
  return date.getFullYear() === new Date().getFullYear() ? short.format(date) : withYear.format(date);
}

const utc = new Intl.DateTimeFormat(locale, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: 'UTC' });
const local = new Intl.DateTimeFormat(locale, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZoneName: 'short' });

/** Where the times of a page are to be read, in words: the viewer's zone, and what goes by UTC whatever that is. */
export function zone() {
  if (new Date().getTimezoneOffset() === 0) return 'Times and days are in UTC.';
  const name = new Intl.DateTimeFormat('en', { timeZoneName: 'shortOffset' }).formatToParts().find((part) => part.type === 'timeZoneName').value;
  return `Times are those of ${Intl.DateTimeFormat().resolvedOptions().timeZone} (${name}). Days begin at 00:00 UTC.`;
}

/** A moment to come, as the viewer's clock will show it and in UTC, which the server goes by. */
export function bothTimes(text) {
  const at = new Date(text);
  return at.getTimezoneOffset() === 0 ? `${utc.format(at)} UTC` : `${local.format(at)} (${utc.format(at)} UTC)`;
}

/** A UTC day of the form 2026-04-30, as "Apr 30". */
export const day = (text) => dayOnly.format(new Date(`${text}T00:00:00Z`));

/** The last `count` UTC days, oldest first, as 2026-04-30. */
export function lastDays(count) {
  const now = Date.now();
  return Array.from({ length: count }, (_, i) => new Date(now - (count - 1 - i) * 86_400_000).toISOString().slice(0, 10));
}

export function bytes(n) {
  if (n < 1_000) return `${n} B`;
  return n < 1_000_000 ? `${Math.round(n / 1_000)} kB` : `${(n / 1_000_000).toFixed(1)} MB`;
}

export function milliseconds(n) {
  if (n === null || n === undefined) return '–';
  return n < 1_000 ? `${n} ms` : `${(n / 1_000).toFixed(1)} s`;
}

/** Four digits of a request's share that went well, without rounding 99.96 % up to 100 %. */
export function successRate({ requests = 0, failed = 0 } = {}) {
  if (!requests) return '–';
  const tenths = Math.floor(((requests - failed) * 1_000) / requests);
  return tenths % 1_000 === 0 ? `${tenths / 10} %` : `${(tenths / 10).toFixed(1)} %`;
}
