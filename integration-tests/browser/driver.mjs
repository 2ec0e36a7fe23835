// A browser on commands: each line of standard input is a command as JSON, `{"do": "…", …}`, each line of standard output
// its answer, `{"ok": …}` or `{"error": "…"}`. tests/browser.rs and the module `browser` of fanlight-tests speak it.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

/** The painted code is read from a picture scaled to this width: half of 720p, as small as its reader promises. */
const CODE_WIDTH = 640;

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const profile = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), "fanlight-browser."));
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: [...FLAGS, `--crash-dumps-dir=${profile}`],
  env: { ...process.env, HOME: profile, TMPDIR: profile },
});
const pages = new Map();

/** Lets a page count as what is being looked at, or not: headless browsers have no window to cover it with. */
const PRETEND = `(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}`;

const commands = {
  async open({ page: name, url, context = {}, firstLost = null }) {
    const context_ = await browser.newContext({ viewport: { width: 1280, height: 720 }, ...context });
    const page = await context_.newPage();
    const errors = [];
    page.on("console", (message) => message.type() === "error" && errors.push(`${message.text()} (${message.location().url})`));
    page.on("pageerror", (error) => errors.push(String(error.stack)));
    // What the browser gives up by itself because it goes to another page is nobody's error.
    page.on("requestfailed", (request) => {
      const reason = request.failure()?.errorText;
      if (reason !== "net::ERR_ABORTED") errors.push(`request failed: ${request.url()}: ${reason}`);
    });
    pages.set(name, { page, errors });
    if (firstLost) await page.route(`**/${firstLost}`, (route) => route.abort("internetdisconnected"), { times: 1 });
    await page.goto(url);
  },
  async go({ page, url }) {
    await pages.get(page).page.goto(url);
  },
  async evaluate({ page, script }) {
    const it = pages.get(page).page;
    // A page that loads itself again meanwhile is asked again.
    const again = (error) => {
      if (!/Execution context was destroyed/.test(error.message)) throw error;
      return it.waitForLoadState().then(() => it.evaluate(script));
    };
    return (await it.evaluate(script).catch(again)) ?? null;
  },
  async codes({ page }) {
    return pages.get(page).page.evaluate(strips, CODE_WIDTH);
  },
  async press({ page, key }) {
    await pages.get(page).page.keyboard.press(key);
  },
  async click({ page, selector }) {
    await pages.get(page).page.click(selector, { timeout: 10_000 });
  },
  async drag({ page, selector, target }) {
    await pages.get(page).page.dragAndDrop(selector, target, { timeout: 10_000 });
  },
  async choose({ page, selector, value }) {
    await pages.get(page).page.selectOption(selector, value, { timeout: 10_000 });
  },
  async fill({ page, selector, value }) {
    await pages.get(page).page.fill(selector, value, { timeout: 10_000 });
  },
  async hide({ page, hidden }) {
    await pages.get(page).page.evaluate(`(${PRETEND})(${hidden})`);
  },
  async resize({ page, width, height }) {
    await pages.get(page).page.setViewportSize({ width, height });
  },
  async download({ page, key }) {
    const it = pages.get(page).page;
    const [download] = await Promise.all([it.waitForEvent("download", { timeout: 10_000 }), it.keyboard.press(key)]);
    return { name: download.suggestedFilename(), bytes: [...readFileSync(await download.path())] };
  },
  async screenshot({ page, path }) {
    await pages.get(page).page.screenshot({ path });
  },
  async errors({ page }) {
    return pages.get(page).errors.splice(0);
  },
  async close({ page }) {
    await pages.get(page).page.context().close();
    pages.delete(page);
  },
};

// Runs in the page: the luma of what each pane shows, scaled, but only the strip that carries the code.
function strips(width) {
  const figures = window.fanlight.figures(2).panes;
  return [...document.querySelectorAll(".pane")].map((pane, at) => {
    const shown = pane.querySelector(pane.dataset.by === "video" ? "video" : "canvas");
    const height = Math.round(((shown.videoHeight ?? shown.height) * width) / (shown.videoWidth ?? shown.width));
    const strip = Math.min(height, Math.ceil((width * 5) / 40));
    const [copy, context] = [document.createElement("canvas")].flatMap((made) => {
      Object.assign(made, { width, height });
      return [made, made.getContext("2d", { willReadFrequently: true })];
    });
    context.imageSmoothingQuality = "high";
    context.drawImage(shown, 0, 0, copy.width, copy.height);
    const { data } = context.getImageData(0, height - strip, width, strip);
    const luma = Array.from({ length: width * strip }, (_, pixel) => {
      const [red, green, blue] = data.subarray(4 * pixel, 4 * pixel + 3);
      return Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
    });
    return { width, height, strip, luma, figures: figures[at] };
  });
}

async function answer(line) {
  try {
    const command = JSON.parse(line);
    return { ok: (await commands[command.do](command)) ?? null };
  } catch (error) {
    return { error: String(error.stack ?? error) };
  }
}

process.stdout.write(`${JSON.stringify({ ok: browser.version() })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
await browser.close();
rmSync(profile, { recursive: true, force: true });
