// The first pages: coming in, the Commands tab, one command with its live output, signing out.
// node commands.mjs URL, where a fresh `muster up` listens.

import assert from 'node:assert/strict';

import { audit, launch } from './browser.mjs';

const url = process.argv[2];
const EVIL = '<img src=x onerror="document.title=\'pwned\'">';

// The API, for what isn't looked at here.

async function call(token, path, body) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const method = body === undefined ? 'GET' : 'POST';
  const response = await fetch(`${url}${path}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

// By the browser: this program, which has pipes to it, is no person's (R15).
async function logIn(page, username) {
  await page.goto(`${url}/login`);
  const said = await page.evaluate(async (body) => {
    const answer = await fetch('/api/v1/auth/login', { method: 'POST', body });
    return answer.text();
  }, JSON.stringify({ username, password: '' }));
  const { token } = JSON.parse(said);
  assert.ok(token, said);
  return token;
}

async function run(token, description, script) {
  const config = { description, entrypoint: ['/bin/sh', '-c', script], resources: { slots: 0 } };
  return (await call(token, '/api/v1/commands', { config })).command.id;
}

const withCookie = (token, path, headers = {}) =>
  fetch(`${url}${path}`, { redirect: 'manual', headers: { cookie: `auth=${token}`, ...headers } });

const sessionOf = async (context) => (await context.cookies()).find(({ name }) => name === 'auth')?.value;

// A page in which nothing may go wrong: no error, no breach of the policy, no request to another host.

function watch(context) {
  const faults = [];
  const host = new URL(url).host;
  context.on('request', (request) => {
    const asked = new URL(request.url());
    if (asked.host !== host && asked.protocol !== 'data:') faults.push(`request to ${asked.host}`);
  });
  context.on('weberror', (error) => faults.push(`error: ${error.error().message}`));
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  return faults;
}

async function accessible(page, what) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await audit(page), [], `${what}, ${colorScheme}`);
  }
}

async function signIn(page, username) {
  await page.getByLabel('User name').fill(username);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

const row = (page, text) => page.getByRole('row').filter({ hasText: text });
const badge = (page, state) => page.locator('#state', { hasText: state }).waitFor();

// What is checked, in the order of one visitor's way.

async function defaultUserComesIn(page, token) {
  await page.goto(`${url}/`);
  assert.equal(page.url(), `${url}/commands`, 'P2: no login');
  await page.getByRole('heading', { name: 'You have no commands yet' }).waitFor();
  await accessible(page, 'empty list');
  await page.getByText('muster -u admin user change-password').waitFor(); // P4
  await run(token, EVIL, `echo '<script>document.title="pwned"</script>'; printf '\\033[31mred\\033[0m\\n'; echo bad >&2; exit 3`);
  // The list renews itself.
  await row(page, EVIL).getByText('Failed').waitFor();
  await accessible(page, 'list');
}

async function outputIsText(page) {
  await row(page, EVIL).getByRole('link').click();
  await page.getByRole('heading', { name: EVIL }).waitFor();
  await page.getByText('<script>document.title="pwned"</script>', { exact: true }).waitFor();
  assert.equal(await page.locator('.line', { hasText: 'red' }).textContent(), 'red', 'R10: no escape sequences');
  await page.locator('.line.stderr', { hasText: 'bad' }).waitFor();
  await page.getByText('Process failed (exit code 3)', { exact: true }).waitFor();
  assert.equal(await page.title(), `${EVIL} · Muster`, 'R05: what people and tasks write stays text');
  assert.equal(await page.locator('main img, main script').count(), 0);
  await page.getByText('Configuration').click();
  await accessible(page, 'a command that failed');

  const [type, whole] = await page.evaluate(async () => {
    const answer = await fetch(`${location.href}/log.txt`);
    return [answer.headers.get('content-type'), await answer.text()];
  });
  assert.equal(type, 'text/plain; charset=utf-8');
  assert.match(whole, /^<script>document\.title="pwned"<\/script>\nred\n/m);
}

async function outputIsLive(page, token) {
  const id = await run(token, 'ticking', 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done');
  await page.goto(`${url}/commands/${id}`);
  for (const tick of [1, 5, 25]) await page.getByText(`tick ${tick}`, { exact: true }).waitFor();
  await badge(page, 'Running');
  await accessible(page, 'a running command');

  await page.getByRole('button', { name: 'Kill…' }).click();
  await page.getByRole('dialog').waitFor();
  await accessible(page, 'the question before killing');
  await page.getByRole('button', { name: 'Let it run' }).click();
  await page.getByRole('button', { name: 'Kill…' }).click();
  await page.getByRole('button', { name: 'Kill it' }).click();
  await badge(page, 'Killed');
  const shown = (await page.locator('.line').allTextContents()).filter((line) => line.startsWith('tick '));
  assert.deepEqual(shown, shown.map((_, at) => `tick ${at + 1}`), 'no line lost or doubled');
  assert.equal(await page.getByRole('button', { name: 'Kill…' }).count(), 0);
  return id;
}

// Lines that come right behind the first ones, before the browser has found time for those.
async function outputIsWholeOnABusyPage(newPage, token) {
  const id = await run(token, 'busy', 'i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo tick $i; sleep 0.05; done');
  const page = await newPage();
  await page.addInitScript(() => {
    globalThis.EventSource = class extends EventSource {
      constructor(...given) {
        super(...given);
        this.addEventListener('open', () => {
          const until = performance.now() + 2000;
          while (performance.now() < until);
        });
      }
    };
  });
  await page.goto(`${url}/commands/${id}`);
  await page.getByText('tick 100', { exact: true }).waitFor();
  const shown = (await page.locator('.line').allTextContents()).filter((line) => line.startsWith('tick '));
  assert.deepEqual(shown, shown.map((_, at) => `tick ${at + 1}`), 'no line lost or doubled');
  await page.close();
}

async function streamGoesOnWhereItWas(id, token) {
  const read = async (from) => (await withCookie(token, `/commands/${id}/log`, from && { 'last-event-id': from })).text();
  const last = (text) => Number(text.match(/^id: (\d+)$/m)[1]);
  const all = await read();
  assert.match(all, /^event: start$/m);
  assert.match(all, /^event: end$/m);
  const rest = await read(String(last(all) - 2));
  assert.match(rest, /^event: lines$/m);
  assert.equal(rest.match(/data-n=/g).length, 2, 'what was seen is not sent again');
}

async function signingOutEndsTheSession(page, context) {
  await page.goto(`${url}/commands?mine=0`);
  await page.locator('details.menu summary').click();
  await accessible(page, 'the user menu');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in to Muster' }).waitFor();
  await accessible(page, 'login');

  // P9: signed out, even the default user is asked; then it goes where one wanted to.
  const asked = `${url}/commands?mine=0&q=a%26b%20c`;
  await page.goto(asked);
  assert.equal(new URL(page.url()).pathname, '/login');
  await signIn(page, 'alice');
  await page.waitForURL(asked);

  const token = await sessionOf(context);
  const stream = await withCookie(token, `/commands/${await run(token, 'silent', 'sleep 600')}/log`);
  await page.locator('details.menu summary').click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(`${url}/login`);
  assert.equal(await sessionOf(context), undefined);
  const ended = await Promise.race([stream.text().then(() => true), new Promise((done) => setTimeout(done, 5000, false))]);
  assert.ok(ended, 'R22: open streams close within 5 s');
  assert.equal((await withCookie(token, '/api/v1/me')).status, 401, 'P10: the token is dead');
  const page303 = await withCookie(token, '/commands?mine=0');
  assert.equal(page303.status, 303, 'P10: also for pages, on the machine itself');
  assert.equal(page303.headers.get('location'), '/login?redirect=/commands%3Fmine%3D0');
}

async function onlyMineOrEveryones(page) {
  await page.goto(`${url}/login?redirect=//evil.example`);
  await signIn(page, 'alice');
  await page.waitForURL(`${url}/commands`); // R12
  await row(page, 'silent').waitFor();
  assert.equal(await row(page, 'ticking').count(), 0, 'P16: only mine');

  await page.getByLabel('Show only mine').uncheck();
  await row(page, 'ticking').waitFor();
  assert.equal(page.url(), `${url}/commands?mine=0`, 'the filter is in the address');
  await page.reload();
  assert.equal(await page.getByLabel('Show only mine').isChecked(), false);
  await page.getByRole('searchbox').fill('TICK');
  await row(page, 'silent').waitFor({ state: 'detached' });
  await row(page, 'ticking').waitFor();
  assert.equal(page.url(), `${url}/commands?mine=0&q=TICK`);

  // A press that is as long as a person's, with the search box left and the list renewed meanwhile.
  const link = row(page, 'ticking').getByRole('link');
  await link.hover();
  await page.mouse.down();
  await page.evaluate(() => htmx.ajax('GET', '/commands?mine=0&q=TICK', { source: '#commands', target: '#commands', swap: 'outerHTML' }));
  await page.mouse.up();
  await page.waitForURL(/commands\/[0-9a-f-]{36}$/);
  await badge(page, 'Killed');
  await page.getByRole('link', { name: 'Commands' }).first().click();
  await page.getByLabel('Show only mine').check();
  await row(page, 'silent').getByRole('link').click();
  await page.getByRole('button', { name: 'Kill…' }).waitFor();
}

async function formsOfOthersAreRefused() {
  const form = 'username=admin&password=&redirect=/';
  const send = (headers) =>
    fetch(`${url}/login`, { method: 'POST', body: form, redirect: 'manual', headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers } });
  for (const headers of [{}, { origin: 'http://evil.example' }, { origin: 'null' }]) {
    const refused = await send(headers);
    assert.deepEqual([refused.status, refused.headers.get('set-cookie')], [403, null], 'R07');
  }
  const wrong = await fetch(`${url}/login`, { method: 'POST', body: 'username=al%22ice&password=no', headers: { origin: url, 'content-type': 'application/x-www-form-urlencoded' } });
  assert.equal(wrong.status, 401);
  const page = await wrong.text();
  assert.ok(page.includes('Wrong user name or password') && page.includes('al&#34;ice'), 'the name is kept');
  assert.equal((await fetch(`${url}/nowhere`, { headers: { accept: 'text/html' } })).status, 404);
}

async function withoutScripts() {
  const browser = await launch({ javaScriptEnabled: false });
  try {
    const page = await browser.newPage();
    await page.goto(`${url}/commands`);
    await page.getByLabel('Show only mine').uncheck();
    await page.getByRole('button', { name: 'Apply' }).click();
    await row(page, 'silent').waitFor();
    assert.equal(await page.getByLabel('Show only mine').isChecked(), false);
  } finally {
    await browser.close();
  }
}

async function deactivatedIsOut(page, admin, alice) {
  const response = await fetch(`${url}/api/v1/users/${alice}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${admin}` },
    body: JSON.stringify({ active: false }),
  });
  assert.ok(response.ok, await response.text());
  // P6: the open page notices by itself.
  await page.getByRole('heading', { name: 'Sign in to Muster' }).waitFor();
  await page.getByRole('button', { name: 'Continue as determined' }).click();
  await page.goto(`${url}/commands?mine=0`);
  await row(page, 'silent').getByRole('cell', { name: 'alice' }).waitFor(); // P18
}

const { context, newPage, tell, close } = await launch({ viewport: { width: 1280, height: 900 } });
try {
  context.setDefaultTimeout(60_000);
  const faults = watch(context);
  const page = await newPage();
  const [admin, token] = [await logIn(page, 'admin'), await logIn(page, 'determined')];
  const alice = (await call(admin, '/api/v1/users', { user: { username: 'alice', active: true } })).user.id;
  await defaultUserComesIn(page, token);
  await outputIsText(page);
  const killed = await outputIsLive(page, token);
  await outputIsWholeOnABusyPage(newPage, token);
  await streamGoesOnWhereItWas(killed, token);
  await signingOutEndsTheSession(page, context);
  await onlyMineOrEveryones(page);
  await formsOfOthersAreRefused();
  await withoutScripts();
  assert.deepEqual(faults, []);
  await deactivatedIsOut(page, admin, alice);
} catch (error) {
  await tell();
  throw error;
} finally {
  await close();
}
