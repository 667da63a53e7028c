// Where alerts go, whether they arrive, and what there was.

import { call, get, query } from '../api.js';
import { fill, h } from '../dom.js';
import { number, plural } from '../format.js';
import { paged } from '../table.js';
import { badge, button, copyButton, dialog, field, figures, form, into, none, say, section, when } from '../ui.js';

const path = '/v1/admin/alerts';
const words = {
  'balance.below': 'Balance below its threshold', 'balance.empty': 'Balance used up', shortfall: 'A request cost more than was there',
  'withdrawal.requested': 'Withdrawal asked for', 'provider.down': 'Provider down', 'provider.up': 'Provider back',
  'audit.failed': 'The books do not agree', 'backup.old': 'The last good backup is old', 'disk.low': 'The disk is nearly full',
  'certificate.expiring': 'The certificate ends soon',
};
const kinds = { waiting: 'warn', delivered: 'good', failed: 'bad' };
const channels = { webhook: 'webhook', email: 'e-mail', holder: 'e-mail to the account' };

/** What is set, as it is sent back: secrets stay where they are. */
const body = ({ webhook, email, muted }) => {
  const { has_password: _, ...mail } = email ?? {};
  return { webhook: webhook && { url: webhook.url }, email: email && mail, muted };
};
const put = (set, change) => call('PUT', path, { body: { ...body(set), ...change } });

function showSecret(secret) {
  dialog('The webhook’s secret', (close) => [
    h('p', {}, 'The receiver needs it to check signatures. It is not shown again.'),
    h('div.secret', {}, h('output', { 'aria-label': 'The secret', tabindex: '0' }, secret), copyButton(secret, 'Secret')),
    h('div.actions', {}, button('Done', close, 'primary')),
  ]);
}

function setWebhook(set, done) {
  dialog('Webhook', (close) => form({
    fields: [
      field({ label: 'Address', name: 'webhook.url', kind: 'url', value: set.webhook?.url ?? '', placeholder: 'https://…', hint: 'Empty: off.' }),
      field({ label: 'Secret', name: 'webhook.secret', kind: 'password', autocomplete: 'off', placeholder: 'whsec_…', hint: set.webhook ? 'Left empty, that which is set stays.' : 'Left empty, one is made.' }),
    ],
    submit: 'Save', cancel: close,
    async save(values) {
      const [url, secret] = [values['webhook.url'], values['webhook.secret']];
      const fresh = await put(set, { webhook: url ? { url, ...(secret && { secret }) } : null });
      close();
      if (fresh.webhook?.secret) showSecret(fresh.webhook.secret);
      else say(url ? 'Alerts go to the webhook.' : 'The webhook is off.');
      done();
    },
  }));
}

function setMail(set, done) {
  const mail = set.email ?? {};
  dialog('E-mail', (close) => form({
    fields: [
      field({ label: 'Mail server', name: 'email.host', value: mail.host ?? '', placeholder: 'smtp.example.org', hint: 'Empty: off.' }),
      field({ label: 'Port', name: 'email.port', inputmode: 'numeric', value: String(mail.port ?? 587) }),
      field({ label: 'Security', name: 'email.security', kind: 'select', value: mail.security ?? 'starttls', options: [['starttls', 'STARTTLS (587)'], ['tls', 'TLS (465)'], ['none', 'None: a server on this machine']] }),
      field({ label: 'User', name: 'email.username', value: mail.username ?? '' }),
      field({ label: 'Password', name: 'email.password', kind: 'password', autocomplete: 'off', hint: mail.has_password ? 'Left empty, that which is set stays.' : '' }),
      field({ label: 'From', name: 'email.from', value: mail.from ?? '', placeholder: 'coordinator@example.org' }),
      field({ label: 'To', name: 'email.to', value: (mail.to ?? []).join(', '), hint: 'Several with commas between them.' }),
      field({ label: 'Tell account holders, too', name: 'holders', kind: 'checkbox', value: mail.holders ?? false, hint: 'Of their own balance, at the address of their account.' }),
    ],
    submit: 'Save', cancel: close,
    async save(values) {
      const of = (name) => values[`email.${name}`];
      const email = of('host') ? {
        host: of('host'), port: Number(of('port')) || 0, security: of('security'), username: of('username') || null,
        ...(of('password') && { password: of('password') }), from: of('from'),
        to: of('to').split(',').map((one) => one.trim()).filter(Boolean), holders: values.holders,
      } : null;
      await put(set, { email });
      close();
      say(email ? 'Alerts go by e-mail.' : 'E-mail is off.');
      done();
    },
  }));
}

function setMuted(set, done) {
  // What is left out is kept with the channels.
  if (!set.webhook && !set.email) return say('Nothing is sent yet: set a webhook or e-mail first.');
  dialog('What is sent', (close) => [
    h('p', {}, 'What is left out is still listed here, and goes nowhere.'),
    form({
      fields: set.kinds.map((kind) => field({ label: words[kind] ?? kind, name: kind, kind: 'checkbox', value: !set.muted.includes(kind) })),
      submit: 'Save', cancel: close,
      async save(values) {
        await put(set, { muted: set.kinds.filter((kind) => !values[kind]) });
        close();
        say('Saved.');
        done();
      },
    }),
  ]);
}

const tried = (name, result) => h('p', {}, badge(result.delivered ? 'arrived' : 'failed', result.delivered ? 'good' : 'bad'), ` ${name}, ${number(result.took_ms)} ms`, result.error && `: ${result.error}`);

/** What it comes to, from what the alert holds. */
function detail({ type, data }) {
  const usd = (name) => `$${data[name]}`;
  return {
    'balance.below': () => `${usd('balance_usd')} left, the threshold is ${usd('below_usd')}`,
    'balance.empty': () => `${usd('balance_usd')} left`,
    shortfall: () => `${usd('shortfall_usd')} of ${data.request_id}, ${data.model}`,
    'withdrawal.requested': () => usd('amount_usd'),
    'backup.old': () => (data.error ? `The last try: ${data.error}` : null),
    'disk.low': () => `${number(data.free_mib)} MiB free`,
    'certificate.expiring': () => ['It ends ', when(data.until)],
  }[type]?.() ?? data.why;
}

/** Whom or what an alert is about. */
function about({ data }) {
  if (data.account_id) return h('a', { href: `#/accounts/${data.account_id}` }, data.account_name ?? data.account_id);
  if (data.provider) return h('a', { href: '#/providers' }, data.provider);
  return none();
}

const went = (one) => h('div', {}, badge(one.state, kinds[one.state]), ` ${channels[one.channel] ?? one.channel}`,
  one.error && h('small', {}, `${plural(one.tries, 'try', 'tries')}: ${one.error}`));

export function view({ signal, poll }) {
  const top = h('div');
  const result = h('div', { role: 'status' });
  let set = null;
  const test = button('Send a test', async () => {
    fill(result, h('p', {}, 'Sending…'));
    try {
      const said = await call('POST', `${path}/test`, { timeout: 60_000 });
      fill(result, said.webhook && tried('Webhook', said.webhook), said.email && tried('E-mail', said.email),
        !said.webhook && !said.email && h('p', {}, 'Nothing is set: alerts go nowhere.'));
    } catch (error) {
      fill(result, h('p.wrong', { role: 'alert' }, error.message));
    }
  }, 'primary small');
  async function draw() {
    set = await get(path, { signal });
    const { webhook, email, muted } = set;
    return [
      figures([
        ['Webhook', webhook ? h('span.mono.long', {}, webhook.url) : 'off'],
        ['E-mail', email ? email.to.join(', ') : 'off', email && (email.holders ? 'and account holders, of their own balance' : `by ${email.host}`)],
        ['Waiting', number(set.waiting)],
        ['Given up', number(set.failed)],
      ], 'wide'),
      muted.length > 0 && h('p.hint', {}, `Not sent: ${muted.map((kind) => words[kind] ?? kind).join(', ')}.`),
    ];
  }
  const refresh = () => into(top, draw, signal);
  const rows = paged({
    label: 'Alerts', key: (row) => row.id, signal, empty: 'Nothing has needed anybody yet.',
    columns: [
      { name: 'What', kind: 'main', cell: (row) => [h('strong', {}, words[row.type] ?? row.type), h('small', {}, detail(row))] },
      { name: 'About', cell: about },
      { name: 'When', cell: (row) => when(row.timestamp) },
      { name: 'Sent to', cell: (row) => (row.deliveries.length ? row.deliveries.map(went) : 'nobody') },
    ],
  });
  refresh();
  rows.load(query(`${path}/events`, { limit: 50 }));
  poll(10, () => Promise.all([rows.refresh(), draw().then((made) => { if (!signal.aborted) fill(top, made); })]));
  const open = (make) => () => set && make(set, refresh);
  return h('div', {},
    section('Where they go', { tools: [button('Webhook', open(setWebhook), 'small'), button('E-mail', open(setMail), 'small'), button('What is sent', open(setMuted), 'small'), test] }, top, result),
    section('What happened', {}, rows.node));
}
