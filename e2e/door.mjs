// Coming in by the front door: registering, waiting, being let in; and the Account page.
// node door.mjs URL MUSTER, where a fresh `muster up` listens and MUSTER is the program.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { audit, launch } from './browser.mjs';

const [url, muster] = process.argv.slice(2);
const pictures = process.env.MUSTER_TEST_PICTURES;
const PASSWORD = 'a quiet lake';
const OTHER = 'another lake';

async function accessible(page, what) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await audit(page), [], `${what}, ${colorScheme}`);
    if (pictures) await page.screenshot({ path: join(pictures, `${what}-${colorScheme}.png`), fullPage: true });
  }
}

function admin(...args) {
  const home = mkdtempSync(join(tmpdir(), 'muster-test-home-'));
  try {
    execFileSync(muster, ['-m', url, '-u', 'admin', ...args], { env: { HOME: home }, stdio: 'pipe' });
  } finally {
    rmSync(home, { recursive: true });
  }
}

async function signIn(page, username, password) {
  await page.goto(`${url}/login`);
  await page.getByLabel('User name').fill(username);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

async function register(page) {
  await page.goto(`${url}/login`);
  await page.getByRole('link', { name: 'Ask for one' }).click();
  await page.getByRole('heading', { name: 'Ask for an account' }).waitFor();
  await accessible(page, 'register');
  const fill = async (name, again) => {
    await page.getByLabel('User name').fill(name);
    await page.getByLabel('E-mail').fill('alice@lab.example');
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByLabel('The same password again').fill(again);
    await page.getByRole('button', { name: 'Register' }).click();
  };
  await fill('users', PASSWORD);
  await page.getByRole('alert').getByText('reserved').waitFor();
  await accessible(page, 'register-refused');
  assert.equal(await page.getByLabel('E-mail').inputValue(), 'alice@lab.example', 'what was typed is kept');
  await fill('alice', OTHER);
  await page.getByRole('alert').getByText('differ').waitFor();
  await fill('alice', PASSWORD);
  await page.getByRole('heading', { name: 'Your account waits to be let in' }).waitFor();
  await accessible(page, 'registered');
}

async function waitsUntilLetIn(page) {
  await signIn(page, 'alice', PASSWORD);
  await page.getByRole('alert').getByText('Wrong user name or password.').waitFor(); // R16
  admin('user', 'activate', 'alice');
  await signIn(page, 'alice', PASSWORD);
  await page.waitForURL(`${url}/commands`);
  await page.goto(`${url}/users/register/`);
  assert.equal(page.url(), `${url}/commands`, 'who is in need not register');
}

const fields = async (page, current, next, again) => {
  if (current !== null) await page.getByLabel('Current password').fill(current);
  await page.getByLabel('New password').fill(next);
  await page.getByLabel('The same again').fill(again);
  await page.getByRole('button', { name: 'Change password' }).click();
};

async function account(page, elsewhere) {
  await signIn(elsewhere, 'alice', PASSWORD);
  await elsewhere.waitForURL(`${url}/commands`);
  await page.locator('details.menu summary').click();
  await page.getByRole('link', { name: 'Account' }).click();
  await page.getByRole('heading', { name: 'Account' }).waitFor();
  await accessible(page, 'account');
  await fields(page, 'wrong lake', OTHER, OTHER);
  await page.getByRole('alert').getByText('The current password is wrong.').waitFor();
  await accessible(page, 'account-refused');
  assert.ok(await page.getByLabel('Sign out everywhere else').isChecked(), 'R26: offered');
  await page.getByLabel('Sign out everywhere else').uncheck();
  await fields(page, PASSWORD, OTHER, OTHER);
  await page.getByText('Your password was changed.').waitFor();
  await accessible(page, 'account-changed');
  await elsewhere.reload();
  assert.equal(elsewhere.url(), `${url}/commands`, 'the box was not ticked');

  await fields(page, OTHER, PASSWORD, PASSWORD);
  await page.getByText('Your password was changed.').waitFor();
  await elsewhere.reload();
  assert.equal(new URL(elsewhere.url()).pathname, '/login', 'R26: signed out elsewhere');
  await signIn(elsewhere, 'alice', PASSWORD);
  await elsewhere.waitForURL(`${url}/commands`);
  await page.reload();
  await page.getByRole('row').filter({ hasNotText: 'This browser' }).getByRole('button').first().click();
  await page.getByRole('row').filter({ hasText: 'This browser' }).waitFor();
  await elsewhere.reload();
  assert.equal(new URL(elsewhere.url()).pathname, '/login', 'that session was ended');
}

async function defaultUser(page) {
  await page.goto(`${url}/account`);
  await page.getByText('Nowhere: on this machine you need no login.').waitFor();
  await accessible(page, 'account-of-the-default-user');
  assert.equal(await page.getByLabel('Current password').count(), 0);
  await fields(page, null, PASSWORD, PASSWORD);
  await page.getByText('Your password was changed.').waitFor();
  await page.getByText('This browser').waitFor();
}

const [here, there, bare] = [await launch(), await launch(), await launch({ javaScriptEnabled: false })];
try {
  for (const { context } of [here, there, bare]) context.setDefaultTimeout(60_000);
  const [page, elsewhere] = [await here.newPage(), await there.newPage()];
  await register(page);
  await waitsUntilLetIn(page);
  await account(page, elsewhere);
  await there.context.clearCookies();
  await defaultUser(elsewhere);

  // Without scripts all of it works the same.
  const plain = await bare.newPage();
  await signIn(plain, 'alice', PASSWORD);
  await plain.goto(`${url}/account`);
  await fields(plain, PASSWORD, OTHER, OTHER);
  await plain.getByText('Your password was changed.').waitFor();
} catch (error) {
  for (const { tell } of [here, there, bare]) await tell();
  throw error;
} finally {
  await Promise.all([here, there, bare].map(({ close }) => close()));
}
