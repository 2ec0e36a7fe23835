// Ordinary requests to the relay, below the page's own address.

/** Milliseconds that an answer may take. */
const LONGEST_ANSWER = 5000;

/** The relay wants a token, or a better one. */
export class Refused extends Error {}

/** The address of `path` below the page's own: a proxy may have put the page below a path. */
export function address(path) {
  return new URL(path, document.baseURI.replace(/[?#].*$/, ""));
}

/** The address of the WebSocket. */
export function socketAddress() {
  const socket = address("ws");
  socket.protocol = socket.protocol.replace("http", "ws");
  return socket;
}

/** The JSON at `path`. Throws `Refused` when a token is needed, and `Error` with the relay's words on other failures. */
export async function get(path) {
  return answer(await request(path, {}));
}

/** The newest picture of a stream, as its camera made it. */
export async function picture(name) {
  const response = await request(`snapshot/${encodeURIComponent(name)}.jpg`, {});
  return response.ok ? response.blob() : answer(response);
}

/** Posts `body` as JSON; as `get` otherwise. */
export function post(path, body) {
  return send("POST", path, body);
}

/** Puts `body` as JSON; as `get` otherwise. */
export function put(path, body) {
  return send("PUT", path, body);
}

/**
 * Whether the relay lets this page in: "in", "token" when one is needed, else the relay's words. Rejects when
 * it cannot be reached.
 */
export async function admission() {
  const response = await request("api/session", {});
  const body = await response.json().catch(() => null);
  if (!response.ok) return body?.message ?? `The relay answers ${response.status}`;
  return body?.role ? "in" : "token";
}

async function send(method, path, body) {
  const headers = { "content-type": "application/json" };
  return answer(await request(path, { method, headers, body: JSON.stringify(body) }));
}

function request(path, options) {
  const signal = AbortSignal.timeout(LONGEST_ANSWER);
  return fetch(address(path), { cache: "no-store", credentials: "same-origin", signal, ...options });
}

async function answer(response) {
  const body = await response.json().catch(() => null);
  // 503 with a body is the relay's word about its health.
  if (response.ok || (response.status === 503 && body)) return body;
  const words = body?.message ?? body?.reason ?? `${response.status} ${response.statusText}`;
  throw response.status === 401 || response.status === 403 ? new Refused(words) : new Error(words);
}
