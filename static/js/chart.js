// Bars by day. uPlot is loaded with the first chart; the same numbers stand beneath it as a table.

import { fill, h } from './dom.js';
import { day, lastDays, number, plural } from './format.js';
import { usd } from './money.js';
import { segmented } from './ui.js';

let library = null;
function uPlot() {
  library ??= new Promise((resolve, reject) => {
    const base = new URL('../vendor/', import.meta.url);
    document.head.append(
      h('link', { rel: 'stylesheet', href: new URL('uPlot.min.css', base).pathname }),
      h('script', {
        src: new URL('uPlot.iife.min.js', base).pathname,
        onload: () => resolve(globalThis.uPlot),
        onerror: () => { library = null; reject(new Error('The chart could not be loaded.')); },
      }),
    );
  });
  return library;
}

const metrics = {
  charged: { text: 'Charged', of: (row) => row?.charged_micro_usd ?? row?.cost_micro_usd ?? 0, show: usd },
  earned: { text: 'Earned', of: (row) => row?.earned_micro_usd ?? 0, show: usd },
  served: { text: 'Requests', of: (row) => row?.requests ?? 0, show: number },
  requests: { text: 'Requests', of: (row) => row?.requests ?? 0, show: number },
  tokens: { text: 'Tokens', of: (row) => (row?.prompt_tokens ?? 0) + (row?.completion_tokens ?? 0), show: number },
};

const isMoney = (metric) => metrics[metric].show === usd;

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * {node, set(rows, days, layers)}: rows as the summary by day gives them; days without a row are drawn as nothing. What of
 * them is in `layers` ([{color, rows}], the lowest first) has its colour in the bars; the rest is on top, in grey.
 */
export function dayChart({ label, show = ['charged', 'requests', 'tokens'], tools = [], signal }) {
  const plot = h('div.plot', { role: 'img', 'aria-label': label });
  const readout = h('p.readout');
  const data = h('div');
  let metric = show[0];
  let rows = [];
  let layers = [];
  let chart = null;
  let size = '';

  const at = (i) => `${day(rows[i].day)}: ${show.map((name) => `${metrics[name].show(metrics[name].of(rows[i]))} ${name}`).join(' · ')}`;
  const total = () => {
    const { of, show: text } = metrics[metric];
    const sum = rows.reduce((all, row) => all + BigInt(of(row)), 0n);
    return `${text(isMoney(metric) ? sum : Number(sum))} ${metric} in ${plural(rows.length, 'day')}`;
  };

  async function draw(force = false) {
    const width = Math.floor(plot.clientWidth);
    if (!width || !rows.length) return;
    const { of, show: text } = metrics[metric];
    // Numbers here place pixels only; every figure a person reads comes from the integers.
    const heights = rows.map((row) => Number(of(row)));
    // The sum of the first layer, of the first two …: drawn from the highest to the lowest, each hides the foot of the one before.
    const sums = [];
    for (const layer of layers) {
      const below = sums.at(-1)?.heights;
      sums.push({ color: color(layer.color), heights: rows.map((row, i) => (below?.[i] ?? 0) + Number(of(layer.rows.get(row.day)))) });
    }
    const drawn = [{ color: color(layers.length ? '--strong-line' : '--accent'), heights }, ...sums.reverse()];
    const values = [rows.map((_, i) => i), ...drawn.map((one) => one.heights)];
    readout.textContent = total();
    plot.setAttribute('aria-label', `${label}: ${total()}`);
    const shape = `${width} ${rows.length} ${metric} ${layers.map((layer) => layer.color)}`;
    if (chart && !force && shape === size && heights.some((one) => one > 0)) {
      chart.setData(values);
      return;
    }
    size = shape;
    if (heights.every((one) => one === 0)) {
      chart?.destroy();
      chart = null;
      size = '';
      fill(plot, h('p.empty', {}, 'Nothing in these days.'));
      return;
    }
    const Plot = await uPlot();
    if (signal?.aborted || shape !== size) return;
    chart?.destroy();
    fill(plot);
    const axis = { stroke: color('--muted'), font: `11px ${getComputedStyle(document.body).fontFamily}`, ticks: { show: false } };
    chart = new Plot({
      width,
      height: 190,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: [-0.6, rows.length - 0.4] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 24, splits: () => ticks(rows.length, width), values: (_, all) => all.map((i) => day(rows[i].day)) },
        {
          ...axis, size: (_, all) => Math.max(36, 12 + 7 * Math.max(0, ...(all ?? []).map((one) => String(one).length))), space: 44,
          grid: { stroke: color('--line'), width: 1 },
          incrs: isMoney(metric) ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500, ...[1, 2, 5].flatMap((n) => [3, 4, 5, 6, 7, 8, 9].map((e) => n * 10 ** e)).sort((a, b) => a - b)],
          values: (_, all) => all.map((value) => (isMoney(metric) ? usd(BigInt(Math.round(value))) : short(value))),
        },
      ],
      series: [{}, ...drawn.map((one) => ({ stroke: one.color, fill: one.color, width: 0, points: { show: false }, paths: Plot.paths.bars({ size: [0.72, 28], radius: layers.length ? 0 : 0.12 }) }))],
      hooks: { setCursor: [(u) => { readout.textContent = u.cursor.idx === null || u.cursor.idx === undefined ? total() : at(u.cursor.idx); }] },
    }, values, plot);
  }

  const safely = (force) => draw(force).catch((error) => { readout.textContent = error.message; });
  const watch = new ResizeObserver(() => safely(false));
  watch.observe(plot);
  const theme = matchMedia('(prefers-color-scheme: dark)');
  const repaint = () => safely(true);
  theme.addEventListener('change', repaint);
  signal?.addEventListener('abort', () => { watch.disconnect(); theme.removeEventListener('change', repaint); chart?.destroy(); });

  const figures = () => h('table.plain', {},
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Day (UTC)'), show.map((name) => h('th.num', { scope: 'col' }, metrics[name].text)))),
    h('tbody', {}, rows.filter((row) => row.requests).reverse().map((row) => h('tr', {}, h('td', {}, day(row.day)),
      show.map((name) => h('td.num', {}, metrics[name].show(metrics[name].of(row))))))));
  const details = h('details', { ontoggle: () => details.open && fill(data, figures()) }, h('summary', {}, 'Numbers by day'), data);

  return {
    node: h('figure.chart', {},
      h('div.bar', {}, readout, h('div.tools', {}, tools, show.length > 1 && segmented('Show', show.map((name) => [name, metrics[name].text]), metric, (name) => { metric = name; safely(false); }))),
      plot, details),
    set(found, days, within = []) {
      layers = within;
      const known = new Map(found.map((row) => [row.day, row]));
      rows = lastDays(days).map((one) => known.get(one) ?? { day: one, requests: 0 });
      if (details.open) fill(data, figures());
      return safely(false);
    },
  };
}

function ticks(count, width) {
  const step = Math.max(1, Math.ceil(count / Math.max(1, Math.floor(width / 76))));
  const all = [];
  for (let i = count - 1; i >= 0; i -= step) all.unshift(i);
  return all;
}

function short(value) {
  if (value >= 1e9) return `${value / 1e9} B`;
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1e4 ? `${value / 1e3} k` : number(value);
}
