"""A WebRTC client of a relay, made with aiortc: it looks for the ball in each frame and sends its coordinates back.

usage: webrtc_ball.py whep URL [KEY]    by WHEP
       webrtc_ball.py tcp HOST PORT [KEY]    by the TCP signalling of aiortc's examples, answering the relay's offer

KEY is what names the frame in each message: `pts` (what aiortc knows) or `none`. Prints one line of JSON for each frame. At
SIGTERM it ends its session, says what it was answered, and exits.
"""

import asyncio
import json
import signal
import sys
import urllib.error
import urllib.request

import aioice.ice
import numpy
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.signaling import BYE, TcpSocketSignaling

# aioice leaves loopback out, and a test has no need of any other network.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

MIN_CONTRAST = 60
MIN_PIXELS = 50


def find(grey):
    """The centre of what is bright. The ball's edge is weighed by how bright it is."""
    dark, bright = float(numpy.median(grey)), float(grey.max())
    if bright - dark < MIN_CONTRAST:
        return None
    weight = numpy.clip((grey - dark) / (bright - dark), 0, 1)
    weight[weight < 0.2] = 0
    if numpy.count_nonzero(weight) < MIN_PIXELS:
        return None
    rows, columns = numpy.indices(grey.shape)
    total = weight.sum()
    # Fanlight counts from the corner of the first pixel.
    return float((columns * weight).sum() / total + 0.5), float((rows * weight).sum() / total + 0.5)


async def watch(track, channel, key):
    """Takes frames until the track ends."""
    while True:
        frame = await track.recv()
        found = find(frame.to_ndarray(format="gray").astype(float))
        message = {"x": found[0], "y": found[1]} if found else {"x": None, "y": None}
        if key == "pts":
            message["pts"] = frame.pts
        sent = channel() is not None and channel().readyState == "open"
        if sent:
            channel().send(json.dumps(message))
        print(json.dumps({**message, "pts": frame.pts, "width": frame.width, "height": frame.height, "sent": sent}), flush=True)


def request(method, url, body=None):
    """Asks by HTTP: status, headers and text of the answer."""
    headers = {"Content-Type": "application/sdp"} if body else {}
    asked = urllib.request.Request(url, body and body.encode(), headers, method=method)
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


async def whep(peer, url):
    """Offers to watch; returns how the session is ended."""
    peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    status, headers, sdp = await asyncio.to_thread(request, "POST", url, peer.localDescription.sdp)
    if status != 201:
        raise SystemExit(f"the relay answers {status}: {sdp}")
    await peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
    session = urllib.request.urljoin(url, headers["Location"])

    async def end():
        first, _, _ = await asyncio.to_thread(request, "DELETE", session)
        again, _, _ = await asyncio.to_thread(request, "DELETE", session)
        print(json.dumps({"ended": first, "again": again}), flush=True)

    return end


async def tcp(peer, host, port):
    """Answers the relay's offer; returns how the session is ended."""
    signalling = TcpSocketSignaling(host, int(port))
    offer = await signalling.receive()
    if not isinstance(offer, RTCSessionDescription) or offer.type != "offer":
        raise SystemExit(f"no offer: {offer}")
    await peer.setRemoteDescription(offer)
    await peer.setLocalDescription(await peer.createAnswer())
    await signalling.send(peer.localDescription)

    async def end():
        # This says BYE.
        await signalling.close()
        print(json.dumps({"ended": BYE is not None}), flush=True)

    return end


async def main():
    way, *address = sys.argv[1:]
    key = address.pop() if len(address) > (1 if way == "whep" else 2) else "pts"
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    channels = []
    if way == "whep":
        channels.append(peer.createDataChannel("coordinates"))
    peer.on("datachannel", channels.append)
    watching = []

    def on_track(track):
        if track.kind == "video":
            watching.append(asyncio.ensure_future(watch(track, lambda: channels[-1] if channels else None, key)))

    peer.on("track", on_track)
    end = await {"whep": whep, "tcp": tcp}[way](peer, *address)
    await stop.wait()
    await end()
    await peer.close()
    for task in watching:
        task.cancel()


asyncio.run(main())
