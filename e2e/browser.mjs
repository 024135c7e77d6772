// A real browser for the end-to-end tests: the system's Chromium with a profile of its own, and the
// accessibility audit. What is tested with them is in the test scripts.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

// Nothing may leave the machine, and nothing of the browser's own may show in a test.
const FLAGS = [
  '--no-sandbox', // it refuses to run as root with one
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
];

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/**
 * Starts Chromium with an empty profile. `options` are Playwright's for a persistent context (`viewport`,
 * `colorScheme`, `locale`, more `args` …). Give it back with `close()`, in a `finally`: that removes the profile too.
 * `tell()` says on standard error what happened last.
 */
export async function launch(options = {}) {
  const executablePath = process.env.MUSTER_TEST_CHROMIUM;
  if (!executablePath) {
    throw new Error('MUSTER_TEST_CHROMIUM is not set: run the tests with `cargo xtask test`, which sets it up');
  }
  const profile = await mkdtemp(join(tmpdir(), 'muster-test-browser-'));
  const removeProfile = () => rm(profile, { recursive: true, force: true, maxRetries: 5 });
  try {
    const context = await chromium.launchPersistentContext(profile, {
      headless: true,
      ...options,
      executablePath,
      args: [...FLAGS, ...(options.args ?? [])],
    });
    const answers = [];
    const note = (request, outcome) => {
      answers.push(`${request.method()} ${request.url()}: ${outcome}`);
      answers.splice(0, answers.length - 12);
    };
    context.on('response', (response) => note(response.request(), response.status()));
    context.on('requestfailed', (request) => note(request, request.failure()?.errorText));
    return {
      context,
      newPage: () => context.newPage(),
      // For whoever reads why a test failed: what the pages show, and the last answers.
      tell: async () => {
        for (const page of context.pages()) {
          const text = await page.locator('body').innerText({ timeout: 2000 }).catch((error) => error.message);
          console.error(`--- ${page.url()}\n${text.slice(0, 1500)}`);
        }
        console.error(answers.join('\n'));
      },
      close: () => context.close().finally(removeProfile),
    };
  } catch (error) {
    await removeProfile();
    throw error;
  }
}

/**
 * The page's breaches of WCAG 2.2 AA, as `rule: selector` lines; none is an empty list. The audit is
 * evaluated by the debugger, which the page's content security policy doesn't bind.
 */
export async function audit(page) {
  await page.evaluate(axe.source);
  const violations = await page.evaluate(
    async (values) => (await globalThis.axe.run({ runOnly: { type: 'tag', values } })).violations,
    RULES,
  );
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`));
}
