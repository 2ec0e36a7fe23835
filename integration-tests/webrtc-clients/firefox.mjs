// Firefox looks at a page of a relay that shows one stream as video.
//
// usage: firefox.mjs FIREFOX URL
//
// Prints one line of JSON with what the page says of its pane once that shows video, and what its console says of errors.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const [executablePath, url] = process.argv.slice(2);
const profile = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), "fanlight-firefox."));
const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath,
  headless: true,
  userDataDir: join(profile, "profile"),
  env: { ...process.env, HOME: profile, TMPDIR: profile },
});
const page = await browser.newPage();
const errors = [];
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("pageerror", (error) => errors.push(String(error)));
await page.goto(url);
const shows = `(() => {
  const [pane] = window.fanlight?.figures(5).panes ?? [];
  return pane?.by === "video" && pane.state === "live" && pane.drawn >= 30 && pane.age_ms.p50 !== null && pane;
})()`;
const pane = await (await page.waitForFunction(shows, { polling: 200, timeout: 60_000 })).jsonValue();
const version = await browser.version();
// Whoever reads the line may end this script at once, and the browser would go on.
await browser.close();
rmSync(profile, { recursive: true, force: true });
console.log(JSON.stringify({ version, pane, errors }));
