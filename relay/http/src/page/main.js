// The page of a relay: puts its parts together.

import { copy, fullScreen, save, streamAddress } from "./actions.js";
import * as addresses from "./address.js";
import { admission, socketAddress } from "./api.js";
import { Controls } from "./controls.js";
import { element, icon, itemise, say } from "./element.js";
import { Grid } from "./grid.js";
import { explain, listen } from "./keys.js";
import { GRIDS } from "./layout.js";
import { Link } from "./link.js";
import { Notices } from "./notices.js";
import { Painter } from "./painter.js";
import { publish } from "./report.js";
import { Screens } from "./screens.js";
import { login } from "./session.js";
import { THEMES, remember, remembered, wear } from "./settings.js";
import { Status } from "./status.js";
import { nextTry, trouble } from "./words.js";

const part = (id) => document.getElementById(id);

const link = new Link(socketAddress(), admission);
const painter = Painter.start();
const grid = new Grid(part("grid"), link, painter);
const status = new Status(part("status"), grid, link);
const controls = new Controls(part("controls"));
const screens = new Screens(part("screens"), grid);
const notices = new Notices({ toast: part("toast"), speech: part("speech"), banner: part("banner") });
const memory = remembered();
let theme = THEMES.includes(memory.theme) ? memory.theme : "system";
let server = null;

const KEYS = [
  { keys: ["?"], shown: ["?"], words: "This help", act: () => part("help").showModal() },
  { keys: [..."123456789"], shown: ["1", "…", "9"], words: "Enlarge that pane", act: enlargeNumber },
  { keys: ["Enter"], shown: ["Enter"], words: "Enlarge the pane in focus, or back", act: () => enlarge(grid.current) },
  { keys: ["Escape", "0"], shown: ["Esc", "0"], words: "Back to all panes; close what is open", act: back },
  { keys: ["ArrowLeft"], shown: ["←", "↑", "→", "↓"], words: "Move the focus; the next pane while one is large", act: () => grid.move(0, -1) },
  { keys: ["f"], shown: ["f"], words: "Full screen: the pane in focus, else all", act: () => full(grid.current) },
  { keys: ["s"], shown: ["s"], words: "Save the picture as it was received", act: () => withCurrent(snapshot) },
  { keys: ["c"], shown: ["c"], words: "Copy the stream's address for other programs", act: () => withCurrent(copyStream) },
  { keys: ["w"], shown: ["w"], words: "Video by WebRTC, for slow networks; single pictures again", act: () => withCurrent(turnVideo) },
  { keys: ["o"], shown: ["o"], words: "Controls of the camera, for admins", act: () => withCurrent(showControls) },
  { keys: ["a"], shown: ["a"], words: "Add a pane", act: () => part("add").click() },
  { keys: ["x", "Delete"], shown: ["x", "Del"], words: "Remove the pane in focus", act: () => withCurrent((pane) => grid.remove(pane)) },
  { keys: ["g"], shown: ["g"], words: "Next size of the grid", act: nextSize },
  { keys: ["PageUp"], shown: ["PgUp", "PgDn"], words: "Former and next page of panes", act: () => grid.turn(-1) },
  { keys: ["d"], shown: ["d"], words: "Screens: what each shows, and directing them", act: toggleScreens },
  { keys: ["v"], shown: ["v"], words: "Status: viewers, losses, ages", act: toggleStatus },
  { keys: ["i"], shown: ["i"], words: "Figures in the panes on or off", act: toggleFigures },
  { keys: ["t"], shown: ["t"], words: "Theme: as the system, light, dark", act: nextTheme },
];

const UNLISTED_KEYS = [
  { keys: ["ArrowRight"], act: () => grid.move(0, 1) },
  { keys: ["ArrowUp"], act: () => grid.move(-1, 0) },
  { keys: ["ArrowDown"], act: () => grid.move(1, 0) },
  { keys: ["PageDown"], act: () => grid.turn(1) },
];

const ACTS = { enlarge, fullscreen: full, snapshot, copy: copyStream, video: turnVideo, controls: showControls, remove: (pane) => grid.remove(pane) };

start();

function start() {
  wear(theme);
  showTheme();
  document.body.classList.toggle("bare", memory.figures === false);
  offerSizes();
  follow();
  wire();
  publish(grid, link, painter);
  enter();
}

async function enter() {
  const answer = await admission().catch(() => "in");
  if (answer === "token") login(part("login"), () => link.open());
  else link.open();
}

function wire() {
  const on = (id, event, act) => part(id).addEventListener(event, act);
  on("size", "change", ({ target }) => resize(target.value));
  on("rate", "change", ({ target }) => limit(target.value));
  on("add-menu", "beforetoggle", ({ newState }) => newState === "open" && offerStreams());
  on("former", "click", () => grid.turn(-1));
  on("next", "click", () => grid.turn(1));
  on("show-screens", "click", toggleScreens);
  on("show-status", "click", toggleStatus);
  on("hide-status", "click", toggleStatus);
  on("share", "click", share);
  on("theme", "click", nextTheme);
  on("full", "click", () => full(null));
  on("show-help", "click", () => part("help").showModal());
  on("retry", "click", () => (link.state === "other" ? location.reload() : link.open()));
  explain(KEYS, part("keys"));
  listen([...KEYS, ...UNLISTED_KEYS]);
  grid.addEventListener("change", changed);
  grid.addEventListener("act", ({ detail }) => ACTS[detail.name](detail.pane));
  grid.addEventListener("state", ({ detail }) => announce(detail));
  grid.addEventListener("notice", ({ detail }) => notices.tell(detail));
  link.addEventListener("notice", ({ detail }) => notices.tell(detail));
  screens.addEventListener("notice", ({ detail }) => notices.tell(detail));
  link.addEventListener("state", showLink);
  link.addEventListener("streams", showEmptiness);
  window.addEventListener("hashchange", follow);
  window.addEventListener("online", () => link.probe());
  document.addEventListener("visibilitychange", () => !document.hidden && link.probe());
  setInterval(showLink, 500);
}

// The address decides, then what was chosen last time.
function follow() {
  const said = addresses.read(location.hash);
  grid.size = said.grid ?? (memory.grid in GRIDS ? memory.grid : "auto");
  grid.limit = said.rate ?? (addresses.RATES.includes(memory.rate) ? memory.rate : "auto");
  grid.videos = new Set(said.videos ?? (Array.isArray(memory.videos) && !said.streams ? memory.videos : []));
  part("rate").value = grid.limit;
  part("full").hidden = !document.fullscreenEnabled;
  if ((said.status ?? false) !== status.isOpen) toggleStatus();
  if ((said.screens ?? false) !== screens.isOpen) toggleScreens();
  grid.open(said.streams);
}

function changed() {
  const { size, limit, pages, page } = grid;
  const streams = grid.chosen ? grid.panes.map((pane) => pane.stream) : null;
  const videos = grid.panes.map((pane) => pane.stream).filter((name, at, all) => grid.videos.has(name) && all.indexOf(name) === at);
  const hash = addresses.write({ streams, grid: size, rate: limit, videos, status: status.isOpen, screens: screens.isOpen });
  if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname + location.search);
  part("size").value = size;
  part("pages").hidden = pages < 2 || grid.enlarged !== null;
  say(part("page"), `${page + 1}/${pages}`);
  showEmptiness();
}

function showEmptiness() {
  const none = grid.streams !== undefined && grid.panes.length === 0;
  part("empty").hidden = !none;
  say(part("empty-word"), grid.choices.streams.length > 0 ? "No pane is open" : "No cameras yet");
  itemise(part("empty-problems"), link.problems);
  part("show-status").classList.toggle("trouble", link.problems.length > 0);
  part("show-status").title = ["Status (v)", ...link.problems].join("\n");
  say(part("empty-hint"), grid.choices.streams.length > 0 ? "Add one with the button above." : "They appear here by themselves as soon as a source runs.");
}

function showLink() {
  const { state } = link;
  const dot = part("link");
  dot.dataset.state = state;
  say(part("link-word"), state === "open" ? counted() : LINK_WORDS[state]);
  if (state === "open") welcome();
  if (state === "refused") login(part("login"), () => link.open());
  if (state === "waiting") {
    notices.stay(`${link.problem || "The relay does not answer"}. ${nextTry(link.retryAt - performance.now())}.`, "Try now");
  } else if (state === "other") notices.stay("The relay is newer than this page.", "Load again");
  else if (state === "open") notices.stay("", "");
}

// How many are live of the panes or, where those are out of view, of the cameras.
function counted() {
  const cameras = grid.choices.streams.map((name) => grid.streams.find((stream) => stream.name === name));
  const live = screens.isOpen ? cameras.filter((stream) => trouble(stream) === null) : grid.panes.filter((pane) => pane.state === "live");
  return `${live.length}/${screens.isOpen ? cameras.length : grid.panes.length}`;
}

const LINK_WORDS = { opening: "Connecting", waiting: "Offline", refused: "A token is needed", other: "Load the page again" };

function welcome() {
  if (server !== null && link.server !== null && server !== link.server) notices.tell(`The relay is ${link.server} now: load the page again to have its page`);
  server = link.server ?? server;
}

function announce(pane) {
  if (pane.state === "trouble") notices.speak(`${pane.stream}: no signal. ${pane.reason}`);
  if (pane.state === "blind") notices.speak(`${pane.stream}: ${pane.reason}`);
  if (pane.state === "stale") notices.speak(`${pane.stream}: stale`);
  showLink();
}

function enlarge(pane) {
  if (!pane) return;
  grid.enlarge(grid.enlarged === pane ? null : pane);
}

function enlargeNumber(key) {
  const pane = (grid.enlarged ? grid.panes : grid.inView)[Number(key) - 1];
  if (pane) grid.enlarge(grid.enlarged === pane ? null : pane);
}

function back() {
  if (screens.isOpen && screens.unchoose()) return true;
  if (grid.enlarged) grid.enlarge(null);
  else if (status.isOpen && part("status").contains(document.activeElement)) toggleStatus();
  else return false;
  return true;
}

async function full(pane) {
  const done = await fullScreen(pane ? pane.element : part("stage")).catch(() => false);
  if (!done) notices.tell("This browser has no full screen here");
}

async function snapshot(pane) {
  notices.tell(await save(pane));
}

function turnVideo(pane) {
  if (!link.video) return notices.tell("There is no video here: the relay has no WebRTC, or the browser cannot play it");
  grid.turnVideo(pane);
  memory.videos = [...grid.videos].slice(0, addresses.MAX_PANES);
  remember({ videos: memory.videos });
}

function showControls(pane) {
  if (link.role !== "admin") return notices.tell("Only an admin can set a camera's controls");
  controls.toggle(pane.stream);
}

async function copyStream(pane) {
  const text = await streamAddress(pane.stream);
  notices.tell((await copy(text)) ? `Copied ${text}` : text);
}

async function share() {
  notices.tell((await copy(location.href)) ? "Copied the address of this view" : location.href);
}

function withCurrent(act) {
  if (grid.current) act(grid.current);
  else notices.tell("No pane is in focus: choose one with the arrow keys");
}

function offerSizes() {
  const names = ["auto", ...Object.keys(GRIDS)];
  part("size").replaceChildren(...names.map((name) => element("option", { value: name }, name === "auto" ? "Fit" : name)));
}

function nextSize() {
  const names = ["auto", ...Object.keys(GRIDS)];
  resize(names[(names.indexOf(grid.size) + 1) % names.length]);
}

function resize(size) {
  memory.grid = size;
  remember({ grid: size });
  grid.size = size;
  grid.page = 0;
  grid.enlarged = null;
  grid.arrange();
}

function limit(value) {
  memory.rate = value;
  remember({ rate: value });
  grid.limit = value;
  part("rate").value = value;
  grid.arrange();
}

function offerStreams() {
  const { streams, canaries } = grid.choices;
  const shown = new Set(grid.panes.map((pane) => pane.stream));
  const choose = (act) => () => {
    part("add-menu").hidePopover();
    act();
  };
  const item = (name) => {
    const mark = shown.has(name) ? icon("check") : "";
    return element("button", { type: "button", role: "menuitem", on: { click: choose(() => grid.add(name)) } }, name, mark);
  };
  const heading = (text) => element("p", { class: "heading" }, text);
  const all = element("button", { type: "button", role: "menuitem", on: { click: choose(() => grid.open(null)) } }, "All streams", grid.chosen ? "" : icon("check"));
  part("add-menu").replaceChildren(
    all,
    heading(streams.length > 0 ? "Add a pane with" : "There are no streams yet"),
    ...streams.map(item),
    ...(canaries.length > 0 ? [heading("Canaries"), ...canaries.map(item)] : []),
  );
}

function toggleStatus() {
  const opening = !status.isOpen;
  part("status").hidden = !opening;
  part("show-status").setAttribute("aria-expanded", opening);
  if (opening) status.open();
  else status.close();
  changed();
}

function toggleScreens() {
  const opening = !screens.isOpen;
  part("stage").hidden = opening;
  part("show-screens").setAttribute("aria-expanded", opening);
  if (opening) screens.open();
  else screens.close();
  changed();
}

function toggleFigures() {
  const bare = document.body.classList.toggle("bare");
  remember({ figures: !bare });
}

function nextTheme() {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  remember({ theme });
  wear(theme);
  showTheme();
  notices.tell({ system: "Theme as the system has it", light: "Light theme", dark: "Dark theme" }[theme]);
}

function showTheme() {
  part("theme").replaceChildren(icon({ system: "system", light: "sun", dark: "moon" }[theme]));
}
