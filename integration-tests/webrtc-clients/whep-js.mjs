// The WHEP client of medooze's whip-whep-js in Chromium: it watches a stream, begins ICE again by PATCH, watches on, and ends.
//
// usage: whep-js.mjs CHROMIUM URL FRAMES
//
// Prints one line of JSON with how many frames were shown before and after the restart, and what went wrong.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const [executablePath, url, wanted] = process.argv.slice(2);
const library = readFileSync(new URL("node_modules/@binbat/whip-whep/whep.js", import.meta.url), "utf8");
const profile = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), "fanlight-whep-js."));
const browser = await puppeteer.launch({
  executablePath,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", `--crash-dumps-dir=${profile}`],
  userDataDir: join(profile, "profile"),
  env: { ...process.env, HOME: profile, TMPDIR: profile },
});
const page = await browser.newPage();
await page.setBypassCSP(true);
const errors = [];
page.on("pageerror", (error) => errors.push(String(error)));
// Any page of the relay: requests of its own origin need no permission.
await page.goto(new URL("/readyz", url).href);
const shown = await page.evaluate(watch, library, url, Number(wanted));
await browser.close();
rmSync(profile, { recursive: true, force: true });
console.log(JSON.stringify({ ...shown, errors }));

// Runs in the page.
async function watch(library, url, wanted) {
  const source = new Blob([library], { type: "text/javascript" });
  const { WHEPClient } = await import(URL.createObjectURL(source));
  const video = Object.assign(document.createElement("video"), { muted: true });
  const peer = new RTCPeerConnection();
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.ontrack = ({ track }) => {
    video.srcObject = new MediaStream([track]);
    video.play();
  };
  const count = async () => {
    for (let frames = 0; frames < wanted; frames += 1) {
      await new Promise((shown) => video.requestVideoFrameCallback(shown));
    }
    return wanted;
  };

  const client = new WHEPClient();
  await client.view(peer, url);
  const before = await count();
  const credentials = () => peer.remoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1];
  const first = credentials();
  await client.restart();
  const after = await count();
  const restarted = credentials() !== first;
  await client.stop();
  return { before, after, restarted, width: video.videoWidth };
}
