// The parts of the page that need no browser. tests/browser.rs copies the page beside this file and runs it with `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { read, write } from "./page/address.js";
import { RelayClock } from "./page/clock.js";
import { Figures } from "./page/figures.js";
import { GAP, GRIDS, arrange, place } from "./page/layout.js";
import { Series } from "./page/plot.js";
import { share } from "./page/rates.js";
import { description, origin, site } from "./page/screens.js";
import { capturedAt } from "./page/video.js";
import { pictureIn } from "./page/wire.js";
import { duration, liveFor, missing, nextTry, rate, trouble } from "./page/words.js";

const pane = (changes = {}) => ({ visible: true, focused: false, fps: 30, width: 1280, height: 720, ...changes });
const panes = (count) => Array.from({ length: count }, () => pane());

test("the answer that was fastest is believed, and half its round trip bounds the error", () => {
  const clock = new RelayClock();
  assert.equal(clock.at(0), null);
  clock.add(100, 180, 5_000_000 + 160_000);
  clock.add(200, 202, 5_000_000 + 201_000);
  clock.add(300, 390, 5_000_000 + 310_000);
  assert.equal(clock.at(400), 5_400_000);
  assert.ok(Math.abs(clock.error(400) - (1 + 100e-6 * 198)) < 1e-9);
});

test("answers that wait behind pictures never push out one that did not", () => {
  const clock = new RelayClock();
  clock.add(0, 1, 500);
  for (let at = 1; at < 200; at += 1) clock.add(1000 * at, 1000 * at + 70, 1e6 * at + 70_000);
  assert.ok(clock.error(200_000) < 22, `${clock.error(200_000)}`);
  assert.ok(Math.abs(clock.at(200_000) - 200_000_000) < 22_000);
});

test("a relay with another clock is believed at once", () => {
  const clock = new RelayClock();
  clock.add(0, 2, 1_000_000);
  clock.add(1000, 1002, 99_000_000);
  assert.equal(clock.at(1001), 99_000_000);
});

test("nine panes get ten pictures a second on two cores and the one in focus gets all", () => {
  assert.deepEqual(share(panes(9), "auto", 2), Array(9).fill(10));
  assert.deepEqual(share(panes(1), "auto", 2), [null]);
  const focused = share([pane({ focused: true }), ...panes(8)], "auto", 2);
  assert.deepEqual(focused, [null, ...Array(8).fill(7)]);
  assert.equal(share(panes(64), "auto", 1)[0], 2, "never so few that they look stale");
});

test("panes out of view ask for nothing, slow streams for all, and a chosen rate is the most", () => {
  assert.deepEqual(share([pane({ visible: false }), pane()], "auto", 2), [0, null]);
  assert.deepEqual(share(panes(9).map((one) => ({ ...one, fps: 5 })), "auto", 2), Array(9).fill(null));
  assert.deepEqual(share(panes(4), 5, 2), Array(4).fill(5));
  assert.deepEqual(share(panes(24), 15, 2), Array(24).fill(3));
  assert.deepEqual(share(panes(24), "full", 2), Array(24).fill(null));
});

test("the rate falls as soon as pictures stay away", () => {
  const figures = new Figures();
  for (let at = 0; at <= 2000; at += 100) figures.draw(at, 7);
  assert.equal(Math.round(figures.rate(2050)), 10);
  assert.ok(figures.rate(4000, 2500) < 4);
  assert.equal(figures.rate(60_000), 0);
});

test("a picture is live for as long as on a screen", () => {
  assert.equal(liveFor(0), 1200);
  assert.equal(liveFor(30), 1200);
  assert.equal(liveFor(1), 3000);
  assert.equal(liveFor(0.1), 10_000);
});

test("a stream that is not there is said with those that are", () => {
  assert.equal(missing("cam9", ["ball", "gate"]), "The relay has no stream cam9; it has ball, gate");
  assert.equal(missing("cam9", []), "The relay has no stream cam9; it has none");
});

test("the next try is never in 0 ms", () => {
  assert.equal(nextTry(-30), "Trying now");
  assert.equal(nextTry(0.4), "Trying now");
  assert.equal(nextTry(1234), "Next try in 1.2 s");
});

test("percentiles of ages leave out what is not known and what is long ago", () => {
  const figures = new Figures();
  figures.draw(0, 900);
  for (let at = 0; at < 100; at += 1) figures.draw(20_000 + at, at % 10 === 0 ? null : at);
  assert.equal(figures.age(0, 20_100), 1);
  assert.equal(figures.age(0.5, 20_100), 51);
  assert.equal(figures.age(1, 20_100), 99);
  assert.equal(figures.age(0.5, 90_000), null);
});

test("panes fill the window, and stand below each other where it is narrow", () => {
  assert.deepEqual(arrange("auto", 4, 1280, 670), { columns: 2, rows: 2 });
  assert.deepEqual(arrange("auto", 12, 1280, 670), { columns: 4, rows: 3 });
  assert.deepEqual(arrange("auto", 24, 1280, 670), { columns: 5, rows: 5 });
  assert.deepEqual(arrange("auto", 6, 390, 790), { columns: 1, rows: 0 });
  assert.deepEqual(arrange("12", 3, 1280, 670), { columns: 4, rows: 3 });
  assert.deepEqual(arrange("12", 3, 600, 900), { columns: 3, rows: 4 });
  assert.equal(arrange("auto", 500, 1280, 670).rows, 0, "the page scrolls before panes are too small to see");
});

test("no pane leaves the window", () => {
  for (const grid of ["auto", ...Object.keys(GRIDS)]) {
    for (const [width, height] of [[1280, 670], [390, 790], [1920, 300], [760, 1000]]) {
      for (const count of [1, 2, 5, 12, 24]) {
        const { columns, width: wide, height: high, scrolls } = place(grid, count, width, height);
        const rows = grid === "auto" ? Math.ceil(count / columns) : 1;
        assert.ok(columns * (wide + GAP) <= width, `${grid} ${count} in ${width}x${height}`);
        assert.ok(scrolls || rows * (high + GAP) <= height + GAP, `${grid} ${count} in ${width}x${height}`);
      }
    }
  }
});

test("an address says what it was made of, and nonsense in it is left out", () => {
  const said = { streams: ["cam1", "Hof_2.a-b"], grid: "9", rate: "10", videos: ["cam1"], status: true };
  assert.deepEqual(read(write(said)), said);
  assert.equal(write({ streams: null, grid: "auto", rate: "auto", videos: [], status: false }), "");
  assert.deepEqual(read("#&video=<b>,cam2"), { streams: null, videos: ["cam2"] });
  assert.deepEqual(read("#"), { streams: null });
  assert.deepEqual(read("#<b>,cam1,../x,%zz"), { streams: null });
  assert.deepEqual(read("#<b>,cam1&grid=7&rate=1e9&view=x"), { streams: ["cam1"] });
  assert.equal(read(`#${"a,".repeat(1000)}`).streams.length, 64);
});

test("a picture's header is read, and what is no picture is not", () => {
  const buffer = new ArrayBuffer(60);
  const view = new DataView(buffer);
  view.setUint8(0, 1);
  view.setUint8(1, 1);
  view.setUint16(2, 56);
  view.setUint32(4, 7);
  view.setBigUint64(8, 2n ** 63n);
  view.setBigUint64(16, 42n);
  view.setBigInt64(24, -(2n ** 63n));
  view.setBigInt64(32, 1_700_000_000_000_000n);
  view.setUint32(40, 0xffffffff);
  view.setUint32(44, 3);
  view.setUint16(48, 1280);
  view.setUint16(50, 720);
  assert.deepEqual(pictureIn(buffer), {
    id: 7,
    epoch: "9223372036854775808",
    number: 42,
    captured: null,
    utc: 1_700_000_000_000_000,
    age: null,
    skipped: 3,
    width: 1280,
    height: 720,
    start: 56,
  });
  for (const [at, value] of [[0, 2], [1, 9], [3, 60], [3, 55]]) {
    const other = new DataView(buffer.slice());
    other.setUint8(at, value);
    assert.equal(pictureIn(other.buffer), null, `${at}: ${value}`);
  }
  assert.equal(pictureIn(new ArrayBuffer(56)), null);
});

test("the time of capture of a video's picture is the one nearest to now, whenever its clock begins again", () => {
  const turn = 2 ** 32;
  for (const relay of [0, 5e6, 47_721 * 1e6, 47_722 * 1e6, 9e15 / 90]) {
    for (const age of [0, 40_000, 3e6, -1000]) {
      const rtp = ((Math.floor(((relay - age) * 90) / 1000) % turn) + turn) % turn;
      assert.ok(Math.abs(capturedAt(rtp, relay) - (relay - age)) < 30, `${relay} ${age}`);
    }
  }
});

test("states and figures are said in words", () => {
  assert.equal(trouble({ state: "live", reason: "", source_gone: false }), null);
  assert.equal(trouble({ state: "unplugged", reason: "camera unplugged: /dev/video0" }), "camera unplugged: /dev/video0");
  assert.equal(trouble({ state: "live", reason: "", source_gone: true }), "The source is gone");
  assert.deepEqual([0.4, 999, 1234, 61_000, 3 * 3600e3, null].map(duration), ["0 ms", "999 ms", "1.2 s", "61 s", "3 h", "–"]);
  assert.deepEqual([29.97, 7.5, 5, 0].map(rate), ["30 fps", "7.5 fps", "5 fps", "0 fps"]);
});

test("a plot remembers two minutes", () => {
  const series = new Series();
  for (let value = 0; value < 500; value += 1) series.add(value);
  assert.deepEqual([series.values.length, series.last, series.most], [120, 499, 499]);
});

const screen = (changes = {}) => ({ state: "own", direction: null, showing: [], shown_after_ms: null, ...changes });
const shows = (...streams) => streams.map((stream) => ({ stream, age_us: 48_000 }));
const told = (changes) => ({ streams: ["hall"], card: null, by: "admin", given_ms: 0, ...changes });

test("a screen's line says what it shows, what it was told and whether that is proved", () => {
  assert.equal(description(screen()), "nothing");
  assert.equal(description(screen({ showing: shows("gate") })), "gate · 48 ms old");
  const direction = told();
  assert.equal(description(screen({ state: "asked", direction, showing: shows("gate") })), "gate → hall");
  const proved = screen({ state: "showing", direction, showing: shows("hall"), shown_after_ms: 92 });
  assert.equal(description(proved), "hall · 48 ms old · proved after 92 ms");
  assert.equal(description(screen({ state: "wrong", direction, showing: shows("gate") })), "shows gate instead of hall");
  assert.equal(description(screen({ state: "wrong", direction: told({ streams: [] }) })), "shows nothing instead of its own settings");
  assert.equal(description(screen({ state: "away", direction })), "was told to show hall");
  const card = told({ streams: [], card: "Back at 2" });
  assert.equal(description(screen({ state: "showing", direction: card, shown_after_ms: 5 })), "the text “Back at 2” · shown after 5 ms");
});

test("who gave a direction is told where there is one", () => {
  assert.equal(origin(screen()), "");
  assert.match(origin(screen({ direction: told() })), /^by admin, /);
  assert.match(origin(screen({ direction: told({ by: "" }) })), /^by somebody, /);
});

test("of several relays one reads which does not answer", () => {
  const relay = (name, problem = null) => ({ name, url: null, reachable: problem === null, problem });
  assert.equal(site([relay("left")]), "");
  assert.equal(site([relay("left"), relay("right")]), "2 relays.");
  assert.equal(site([relay("left"), relay("right", "timed out")]), "2 relays, of which right does not answer (timed out).");
});

test("the views beside the panes stand in the address", () => {
  const plain = { streams: null, grid: "auto", rate: "auto", videos: [], status: false, screens: false };
  assert.equal(write(plain), "");
  assert.equal(write({ ...plain, screens: true }), "#&view=screens");
  assert.deepEqual(read("#cam1&view=status&view=screens"), { streams: ["cam1"], status: true, screens: true });
  assert.deepEqual(read("#&view=walls"), { streams: null });
});
