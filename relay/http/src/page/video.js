// A stream as video by WebRTC: a session of WHEP (draft-ietf-wish-whep) that plays in a <video> of this page.

import { address } from "./api.js";

/** Milliseconds until the relay answers, from then until there is a connection, and from then until the first picture. A
 *  network that lets no UDP through has no connection; a slow one takes half a dozen round trips. */
const FIRST_PICTURE = 3000;

/** Milliseconds without a picture: the relay sends a card after 1.5 s without one of the camera. */
const SILENCE = 5000;

/** Ticks of the RTP clock in a millisecond, and where it begins again. */
const RTP_TICKS = 90;
const RTP_TURN = 2 ** 32;

/** Whether this browser can: it plays by WebRTC, and tells when it shows which picture. */
export const ABLE = typeof RTCPeerConnection === "function" && "requestVideoFrameCallback" in HTMLVideoElement.prototype;

/**
 * The time of capture in microseconds on the relay's clock, from the RTP time of a picture (32 bits of 90 kHz): the one
 * that is nearest to `relay`, the time there now.
 */
export function capturedAt(rtp, relay) {
  const now = Math.floor((relay * RTP_TICKS) / 1000) % RTP_TURN;
  const ahead = (((rtp - now) % RTP_TURN) + RTP_TURN) % RTP_TURN;
  const ticks = ahead < RTP_TURN / 2 ? ahead : ahead - RTP_TURN;
  return relay + (1000 * ticks) / RTP_TICKS;
}

/** One session. */
export class VideoSession {
  #stream;
  #video;
  #take;
  #fail;
  #peer = new RTCPeerConnection();
  /** Where the relay has it, once it has. */
  #address = null;
  #over = false;
  #timer = 0;
  #leave = () => this.end();

  /**
   * Plays `stream` in `video`. `take({ rtp, shownAt, width, height })` gets each picture that is shown, `fail(reason,
   * seen)` why there are no more, once, and whether there were any.
   */
  constructor(stream, video, take, fail) {
    this.#stream = stream;
    this.#video = video;
    this.#take = take;
    this.#fail = fail;
    // A page that is left tells nobody else.
    window.addEventListener("pagehide", this.#leave);
    this.#expect("the relay does not answer", FIRST_PICTURE, false);
    this.#open().catch((error) => this.#give(error.message, false));
  }

  /** Ends it; the relay is told. */
  end() {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    window.removeEventListener("pagehide", this.#leave);
    if (this.#address) this.#delete();
    else this.#peer.close();
  }

  // Closed first, the connection would end the session, and there would be nothing to delete.
  async #delete() {
    await fetch(this.#address, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#peer.close();
  }

  async #open() {
    const { receiver } = this.#peer.addTransceiver("video", { direction: "recvonly" });
    // The newest picture, not the smoothest: browsers wait otherwise, in case the next one is late.
    receiver.jitterBufferTarget = 0;
    this.#peer.addEventListener("connectionstatechange", () => this.#connect(this.#peer.connectionState));
    await this.#peer.setLocalDescription();
    const { sdp, location } = await ask(this.#stream, this.#peer.localDescription.sdp);
    this.#address = location;
    // It was ended while the relay answered.
    if (this.#over) return this.#delete();
    this.#video.srcObject = new MediaStream([receiver.track]);
    this.#watch();
    this.#expect("it does not get through", FIRST_PICTURE, false);
    await this.#peer.setRemoteDescription({ type: "answer", sdp });
  }

  #connect(state) {
    if (state === "failed") this.#give("the connection was lost", this.#playing());
    if (state === "connected" && !this.#playing()) this.#expect("no picture comes", FIRST_PICTURE, false);
  }

  #watch() {
    this.#video.requestVideoFrameCallback((_, shown) => {
      if (this.#over) return;
      this.#expect("no picture comes any more", SILENCE, true);
      const { rtpTimestamp: rtp, presentationTime: shownAt, width, height } = shown;
      this.#take({ rtp: rtp ?? null, shownAt, width, height });
      this.#watch();
    });
  }

  #expect(reason, milliseconds, seen) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#give(reason, seen), milliseconds);
  }

  #playing() {
    return this.#video.videoWidth > 0;
  }

  #give(reason, seen) {
    if (this.#over) return;
    this.end();
    this.#fail(reason, seen);
  }
}

async function ask(stream, sdp) {
  const offer = { method: "POST", headers: { "content-type": "application/sdp" }, body: sdp };
  const response = await fetch(address(`whep/${encodeURIComponent(stream)}`), { ...offer, credentials: "same-origin" });
  if (response.status !== 201) {
    const said = await response.json().catch(() => null);
    throw new Error(said?.message ?? `the relay answers ${response.status}`);
  }
  // Below a proxy's path the address that the relay says is not the one from here.
  const session = response.headers.get("location").split("/").pop();
  return { sdp: await response.text(), location: address(`whep/${encodeURIComponent(stream)}/${session}`) };
}
