// One browser, driven by lines of JSON on stdin; answers are lines of JSON on stdout.
//
//   node driver.js chromium|firefox PAGE_URL PROFILE_DIRECTORY
//
// First line out: {"ready": true, "version": "..."}.
// In:  {"id": 1, "script": "body of an async function (args, wire)", "args": {...},
//       "timeout_ms": 20000, "page": "another one than PAGE_URL"?}
// Out: {"id": 1, "ok": true, "value": ...} or {"id": 1, "ok": false, "error": "...",
//       "console": ["..."]}.
// Every command gets a page of its own, closed at its end; commands run side by side. End of stdin
// ends the browser.
'use strict';
const readline = require('readline');
const puppeteer = require('puppeteer-core');

const [kind, pageUrl, profile] = process.argv.slice(2);

const START_MS = 120000; // the first time everything comes from the disk

const launch = {
  chromium: {
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    timeout: START_MS,
    userDataDir: profile,
    // Puppeteer's own defaults turn features off that matter here; these are all of ours.
    ignoreDefaultArgs: true,
    args: ['--headless=new', '--no-sandbox', '--remote-debugging-port=0', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--disable-default-apps', '--disable-extensions', '--disable-gpu', '--disable-dev-shm-usage',
      '--disable-renderer-backgrounding', '--disable-background-timer-throttling',
      '--disable-backgrounding-occluded-windows', '--password-store=basic', '--use-mock-keychain',
      `--user-data-dir=${profile}`, 'about:blank'],
  },
  firefox: {
    browser: 'firefox',
    executablePath: process.env.FIREFOX || '/usr/bin/firefox-esr',
    headless: true,
    timeout: START_MS,
    userDataDir: profile,
    extraPrefsFirefox: {
      'app.update.enabled': false,
      'browser.safebrowsing.malware.enabled': false,
      'browser.safebrowsing.phishing.enabled': false,
      'datareporting.policy.dataSubmissionEnabled': false,
      'network.captive-portal-service.enabled': false,
      'network.connectivity-service.enabled': false,
      'services.settings.server': 'http://127.0.0.1:9/',
      'extensions.systemAddon.update.enabled': false,
    },
  },
};

function say(object) {
  process.stdout.write(JSON.stringify(object) + '\n');
}

// Runs in the page.
function evaluate(script, args) {
  const AsyncFunction = (async () => {}).constructor;
  return Promise.resolve()
    .then(() => new AsyncFunction('args', 'wire', script)(args, window.wire))
    .then((value) => JSON.stringify({ ok: true, value: value === undefined ? null : value }),
      (e) => JSON.stringify({ ok: false, error: `${e && e.name}: ${e && e.message}\n${e && e.stack}` }));
}

function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer from the page within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function run(browser, command) {
  const heard = [];
  let page;
  try {
    page = await browser.newPage();
    page.on('console', (m) => heard.push(`${m.type()}: ${m.text()}`));
    const crashed = new Promise((_, reject) => page.on('error', reject));
    crashed.catch(() => {});
    page.on('pageerror', (e) => heard.push(`pageerror: ${e.message}`));
    await page.goto(command.page || pageUrl, { waitUntil: 'load', timeout: 60000 });
    const answer = await within(
      Promise.race([page.evaluate(evaluate, command.script, command.args || {}), crashed]),
      command.timeout_ms);
    say({ id: command.id, ...JSON.parse(answer), console: heard });
  } catch (e) {
    say({ id: command.id, ok: false, error: String(e && e.stack || e), console: heard });
  } finally {
    if (page) await page.close().catch(() => {});
  }
}

async function main() {
  const browser = await puppeteer.launch(launch[kind]);
  say({ ready: true, version: await browser.version() });
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => { run(browser, JSON.parse(line)); });
  lines.on('close', async () => {
    await within(browser.close(), 5000).catch(() => browser.process().kill('SIGKILL'));
    process.exit(0);
  });
}

main().catch((e) => {
  say({ ready: false, error: String(e && e.stack || e) });
  process.exit(1);
});
