// Tables: a real one on a wide screen, one card a row on a narrow one (the style sheet does that), paged by the server.

import { list } from './api.js';
import { fill, h, keyed } from './dom.js';
import { number } from './format.js';
import { button, problem } from './ui.js';

/**
 * columns: {name, cell(row), kind}. kind: 'main' leads a card, 'lead' stands at its right, 'bare' needs no label there;
 * 'num' aligns right, 'sum' is money with its decimal points in line.
 * Roles are written out because a card's `display` would take the table's own away.
 */
export function table({ label, columns, key, empty = 'Nothing yet.' }) {
  const body = h('tbody', { role: 'rowgroup' });
  const none = h('p.empty', { hidden: true }, empty);
  const head = columns.map((column) => h('th', { role: 'columnheader', scope: 'col', class: column.kind ?? '' },
    column.hidden ? h('span.offscreen', {}, column.name) : column.name));
  const node = h('table', { role: 'table', 'aria-label': label },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)), body);
  const build = (row) => h('tr', { role: 'row', class: row.revoked_at || row.removed ? 'past' : '' }, columns.map((column) =>
    h('td', { role: 'cell', class: column.kind ?? '', 'data-label': column.hidden ? null : column.name }, column.cell(row))));
  let drawn = false;
  return {
    node: h('div.table', {}, node, none),
    /** Shows these rows; those that came since the last time are lit for a moment. */
    set(rows) {
      const fresh = keyed(body, rows, key, build);
      if (drawn) for (const one of fresh) one.classList.add('fresh');
      drawn = true;
      node.hidden = rows.length === 0;
      none.hidden = rows.length > 0;
    },
    get empty() { return none; },
  };
}

/** A table over a paged list. `load(path)` starts anew, `refresh()` looks for what came since. */
export function paged({ signal, onload, ...settings }) {
  const grid = table(settings);
  const foot = h('div.more');
  let rows = [];
  let next = null;
  let first = null;
  let turn = 0;
  const more = button('Show more', () => step(next, false), 'quiet');
  const draw = () => {
    grid.set(rows);
    fill(foot, next && more);
  };
  async function step(path, anew) {
    const mine = anew ? ++turn : turn;
    grid.node.setAttribute('aria-busy', 'true');
    try {
      const page = await list(path, { signal });
      if (mine !== turn || signal?.aborted) return;
      const from = anew ? 0 : rows.length;
      rows = anew ? page.rows : rows.concat(page.rows);
      next = page.next;
      draw();
      if (!anew) grid.node.querySelectorAll('tbody tr')[from]?.querySelector('a, button')?.focus();
      onload?.({ ...page, rows });
    } catch (error) {
      if (mine === turn && !signal?.aborted) fill(foot, problem(error, () => step(path, anew)));
    } finally {
      if (mine === turn) grid.node.removeAttribute('aria-busy');
    }
  }
  return {
    node: h('div', {}, grid.node, foot),
    load(path) {
      first = path;
      return step(path, true);
    },
    /** Reads the first page again and lays it over what is shown, so "Show more" is not undone. */
    async refresh() {
      const mine = turn;
      const page = await list(first, { signal });
      if (mine !== turn || signal?.aborted) return;
      const seen = new Set(page.rows.map(settings.key));
      const tail = rows.filter((row) => !seen.has(settings.key(row)));
      const deep = rows.length > page.rows.length;
      rows = deep ? page.rows.concat(tail) : page.rows;
      if (!deep) next = page.next;
      draw();
      onload?.({ ...page, rows });
    },
  };
}

export const countLabel = (total, shown, one, many) => (total === null ? '' : `${number(total)} ${total === 1 ? one : many}${shown < total ? `, ${number(shown)} shown` : ''}`);
