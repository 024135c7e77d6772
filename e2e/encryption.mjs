// Sessions in a browser over https (D9, A9): the flags of the cookie, and what a page on another port can do to it.
// node encryption.mjs URL, where a `muster up` with an authority of its own listens and answers to lab.test.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';

import { launch } from './browser.mjs';

const { port } = new URL(process.argv[2]);
const url = `https://lab.test:${port}`;

// Somebody else's server on the same host. It keeps what it is sent, and sets what it wants.
const heard = [];
const other = createServer((request, response) => {
  heard.push(request.headers.cookie ?? '');
  const planted = ['__Host-auth=planted; Path=/; Secure', '__Host-auth=planted; Path=/', 'auth=planted; Path=/'];
  response.setHeader('set-cookie', planted);
  response.end('other');
});
await new Promise((ready) => other.listen(0, '127.0.0.1', ready));

const browser = await launch({ ignoreHTTPSErrors: true, args: ['--host-resolver-rules=MAP lab.test 127.0.0.1'] });
try {
  const page = await browser.newPage();
  const session = async () => (await browser.context.cookies(url)).find(({ name }) => name === '__Host-auth');
  await page.goto(`http://lab.test:${port}/login`);
  assert.equal(page.url(), `${url}/login`, 'plain HTTP is sent on');
  await page.getByLabel('User name').fill('admin');
  await page.getByLabel('Password').fill('a quiet lake');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${url}/commands`);
  const own = await session();
  assert.ok(own, 'the session has the name that browsers bind to https');
  assert.deepEqual([own.secure, own.httpOnly, own.sameSite, own.path, own.domain], [true, true, 'Lax', '/', 'lab.test']);

  await page.goto(`http://lab.test:${other.address().port}/`);
  await page.goto(`http://lab.test:${other.address().port}/again`);
  assert.ok(heard.length > 1 && heard.every((cookies) => !cookies.includes(own.value)), heard.join(' | '));
  assert.equal((await session()).value, own.value, 'nobody in the clear can replace it');
  // What it planted under the old name doesn't count.
  await page.goto(`${url}/commands`);
  assert.equal(page.url(), `${url}/commands`);
  await browser.context.clearCookies({ name: '__Host-auth' });
  await page.goto(`${url}/commands`);
  assert.ok(page.url().startsWith(`${url}/login`), page.url());
} catch (error) {
  await browser.tell();
  throw error;
} finally {
  await browser.close();
  other.close();
}
