// The ways in: the first admin's setup, signing in, and signing in again over a view that is open.

import { call, get } from '../api.js';
import { fill, h } from '../dom.js';
import { FieldError, dialog, field, form, snippet } from '../ui.js';

const nameField = (value = '') => field({ label: 'Name', name: 'name', value, required: true, autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false' });
const passwordField = () => field({ label: 'Password', name: 'password', kind: 'password', required: true, autocomplete: 'current-password' });

/** Who is signed in, now that the server said so. A browser may have refused the cookie all the same. */
async function current() {
  const { admin } = await get('/v1/admin/session', { plain: true });
  if (!admin) throw new Error('The browser did not keep the session’s cookie. Open this page over https, or on the server’s own machine.');
  return admin;
}

async function signIn(values) {
  try {
    await call('POST', '/v1/admin/session', { body: { name: values.name, password: values.password }, plain: true });
    return await current();
  } catch (error) {
    if (error.status === 429 && error.retryAfter) error.message = `Too many tries. Wait ${error.retryAfter} s, then try again.`;
    throw error;
  }
}

function card(main, title, ...children) {
  document.title = `${title} – Coordinator`;
  fill(main, h('div.gate', {}, h('h1', { tabindex: '-1' }, title), ...children));
  main.querySelector('input')?.focus();
}

/**
 * True when the browser would drop the session's cookie, so that signing in cannot work: plain http from another
 * machine. Better said before a password is typed, which everybody on the way could read.
 */
export const dropsCookie = (session) => location.protocol === 'http:' && !isSecureContext && !session.plain_http_allowed;

/** Says what to do instead. `hash` is that of the one-time link, if the page was opened with one. */
export function noCookie(main, hash) {
  const port = location.port || '80';
  card(main, 'Not over plain http',
    h('p', {}, 'This page came over plain http from another machine. The browser would drop the session’s cookie, and anybody on the network could read the password: so do not type it here.'),
    hash && h('p', {}, 'The one-time link is not used up. Open it again in one of these ways:'),
    h('ol.ways', {},
      h('li', {}, 'Through an ssh tunnel. Run this on your machine, then open the second line:',
        snippet(`ssh -N -L ${port}:${location.host.includes(':') ? location.host : `${location.host}:80`} ${location.hostname}`, 'Command'),
        snippet(`http://127.0.0.1:${port}/admin${hash}`, 'Address')),
      h('li', {}, 'Over https: start the server with ', h('code', {}, '--domain'), ' or ', h('code', {}, '--tls-cert'), ', or put a proxy with a certificate before it.'),
      h('li', {}, 'Where you trust everybody on the network: start the server with ', h('code', {}, '--insecure-http-sign-in'), '.')));
}

/** Shows the sign-in form; resolves to the admin. */
export function gate(main, setupRequired) {
  return new Promise((resolve) => {
    if (setupRequired) {
      card(main, 'No admin yet', h('p', {}, 'Open the one-time link that the server printed when it started. It sets the first admin’s name and password.'),
        h('p.hint', {}, 'Lost it? Start the server again, or run ', h('code', {}, 'coordinator admin create NAME'), ' and sign in below.'),
        form({ fields: [nameField(), passwordField()], submit: 'Sign in', async save(values) { resolve(await signIn(values)); } }));
      return;
    }
    card(main, 'Sign in', form({ fields: [nameField(), passwordField()], submit: 'Sign in', async save(values) { resolve(await signIn(values)); } }));
  });
}

/** Shows the first admin's form; resolves to the admin. */
export function setup(main, token) {
  return new Promise((resolve) => {
    card(main, 'Set up the first admin', h('p', {}, 'This admin adds credit, sets prices and sees every account.'), form({
      fields: [
        nameField(),
        field({ label: 'Password', name: 'password', kind: 'password', required: true, autocomplete: 'new-password', hint: 'At least 12 characters.' }),
        field({ label: 'Password again', name: 'again', kind: 'password', required: true, autocomplete: 'new-password' }),
      ],
      submit: 'Create admin',
      async save(values) {
        if (values.password.length < 12) throw new FieldError('password', 'At least 12 characters.');
        if (values.password !== values.again) throw new FieldError('again', 'Not the same as above.');
        const body = { token, name: values.name, password: values.password };
        await call('POST', '/v1/admin/setup', { body, plain: true });
        resolve(await current());
      },
    }));
  });
}

let asking = null;
/** Asks for the password over what is open, so nothing typed is lost. Resolves to true once signed in. */
export function reauthenticate(name) {
  asking ??= new Promise((resolve) => {
    let done = false;
    dialog('Sign in again', (close) => [
      h('p', {}, 'Your session has ended. What you were doing is kept and goes on once you are signed in.'),
      form({
        fields: [nameField(name), passwordField()], submit: 'Sign in', cancel: close,
        async save(values) { await signIn(values); done = true; close(); },
      }),
    ], { onclose: () => { asking = null; resolve(done); } }).querySelector('input[type=password]').focus();
  });
  return asking;
}
