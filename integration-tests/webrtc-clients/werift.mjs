// A WHEP client made of werift, which is WebRTC in TypeScript: it counts the frames of a stream.
//
// usage: whep-werift.mjs URL FRAMES
//
// Prints one line of JSON when it has had so many frames, the first of them a key frame, and ends its session.

import { RTCPeerConnection, useVP8 } from "werift";

const [url, wanted] = process.argv.slice(2);
const peer = new RTCPeerConnection({ iceServers: [], codecs: { audio: [], video: [useVP8()] } });
const transceiver = peer.addTransceiver("video", { direction: "recvonly" });
const seen = { frames: 0, key: null };

const enough = new Promise((resolve) => {
  transceiver.onTrack.subscribe((track) => {
    track.onReceiveRtp.subscribe(({ header, payload }) => {
      if (payload.length === 0) return;
      seen.key ??= isKey(payload);
      if (header.marker) seen.frames += 1;
      if (seen.frames === Number(wanted)) resolve();
    });
  });
});

await peer.setLocalDescription(await peer.createOffer());
const headers = { "content-type": "application/sdp" };
const answer = await fetch(url, { method: "POST", headers, body: peer.localDescription.sdp });
if (answer.status !== 201) throw new Error(`the relay answers ${answer.status}: ${await answer.text()}`);
await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
await enough;
const ended = await fetch(new URL(answer.headers.get("location"), url), { method: "DELETE" });
console.log(JSON.stringify({ ...seen, ended: ended.status }));
process.exit(0);

// Whether a key frame begins in a payload of VP8 (RFC 7741, 4.2 and 4.3).
function isKey(payload) {
  let at = 1;
  if (payload[0] & 0x80) {
    const extension = payload[1];
    at += 1;
    if (extension & 0x80) at += payload[2] & 0x80 ? 2 : 1;
    if (extension & 0x40) at += 1;
    if (extension & 0x30) at += 1;
  }
  return (payload[0] & 0x10) !== 0 && (payload[at] & 1) === 0;
}
