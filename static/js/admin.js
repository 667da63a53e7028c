// The admin page: who is signed in, which view is shown, and the ways from one to the other.

import { call, configure, get } from './api.js';
import { fill, h } from './dom.js';
import { dropsCookie, gate, noCookie, reauthenticate, setup } from './admin/gate.js';
import { poll } from './poll.js';
import { button, problem, say, zoneNote } from './ui.js';

const views = [
  ['overview', 'Overview', () => import('./admin/overview.js')],
  ['accounts', 'Accounts', () => import('./admin/accounts.js')],
  ['prices', 'Prices', () => import('./admin/prices.js')],
  ['providers', 'Providers', () => import('./admin/providers.js')],
  ['withdrawals', 'Withdrawals', () => import('./admin/withdrawals.js')],
  ['invites', 'Invite codes', () => import('./admin/invites.js')],
  ['admins', 'Admins', () => import('./admin/admins.js')],
  ['alerts', 'Alerts', () => import('./admin/alerts.js')],
  ['events', 'Events', () => import('./admin/events.js')],
];
const account = ['accounts', 'Account', () => import('./admin/account.js')];

const main = document.getElementById('main');
const shell = document.getElementById('shell');
const nav = document.getElementById('nav');
let leave = new AbortController();

function where() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/').map(decodeURIComponent);
  const found = name === 'accounts' && rest[0] ? account : views.find(([key]) => key === name);
  return { found: found ?? views[0], params: rest, search: new URLSearchParams(search) };
}

/** Shows the view the address names. `moved` is true when a person went there, so focus follows. */
async function show(moved) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { found: [name, title, load], params, search } = where();
  for (const link of nav.querySelectorAll('a')) {
    if (link.dataset.view === name) {
      link.setAttribute('aria-current', 'page');
      link.scrollIntoView({ block: 'nearest', inline: 'center' });
    } else link.removeAttribute('aria-current');
  }
  const heading = h('h1', { tabindex: '-1' }, title);
  const body = h('div');
  const tools = h('div.tools');
  const entitle = (text) => { document.title = `${text} – Coordinator`; };
  entitle(title);
  fill(main, h('header.bar.title', {}, h('div', {}, heading), tools), body, zoneNote());
  if (moved) {
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
  try {
    const { view } = await load();
    if (signal.aborted) return;
    const context = { heading, tools, signal, params, search, entitle, poll: (seconds, look) => poll(signal, seconds, look) };
    fill(body, view(context));
  } catch (error) {
    if (signal.aborted) return;
    // A view that cannot be fetched is most often one of a version that was replaced meanwhile.
    if (error instanceof TypeError) fill(body, problem(new Error('This view could not be loaded. If the server was upgraded, load the page again.'), () => location.reload()));
    else fill(body, problem(error, () => show(false)));
  }
}

async function signOut() {
  try {
    await call('DELETE', '/v1/admin/session', { plain: true });
  } catch (error) {
    if (error.status !== 401) return say(error.message);
  }
  leave.abort();
  history.replaceState(null, '', 'admin');
  location.reload();
}

function enter(admin) {
  fill(document.getElementById('who'), h('span', {}, admin.name), button('Sign out', signOut, 'quiet small'));
  fill(nav, views.map(([key, title]) => h('a', {
    href: `#/${key}`, 'data-view': key,
    // The view that is shown already is shown anew: the address does not change, so nobody else would notice.
    onclick: (event) => { if (location.hash === event.currentTarget.hash) show(true); },
  }, title)));
  shell.classList.add('in');
  configure({ signedOut: () => reauthenticate(admin.name) });
  addEventListener('hashchange', () => show(true));
  return show(false);
}

async function start() {
  const token = /^#setup=(.+)$/.exec(location.hash)?.[1];
  try {
    const session = await get('/v1/admin/session', { plain: true });
    if (!session.admin && dropsCookie(session)) return noCookie(main, token ? location.hash : '');
    // The link works once; its secret does not stay in the address bar or the history.
    if (token) history.replaceState(null, '', 'admin');
    if (session.admin && !token) return await enter(session.admin);
    const admin = token ? await setup(main, token) : await gate(main, session.setup_required);
    await enter(admin);
    main.querySelector('h1')?.focus();
  } catch (error) {
    fill(main, h('h1', {}, 'Coordinator'), problem(error, start));
  }
}

start();
