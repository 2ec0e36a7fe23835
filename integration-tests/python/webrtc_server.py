"""What aiortc makes of the same task: a WHEP server that shows a ball of 640x480 pixels at 30 fps to whoever asks.

usage: webrtc_server.py

Prints the port that it listens on, on 127.0.0.1. Frames are drawn beforehand. Each peer has an encoder of its own, as aiortc has it.
"""

import asyncio
import itertools

import aioice.ice
import numpy
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.contrib.media import MediaRelay
from av import VideoFrame

# aioice leaves loopback out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

WIDTH, HEIGHT, RADIUS, FRAMES = 640, 480, 20, 60


def draw(number):
    """A ball on its way around."""
    turn = 2 * numpy.pi * number / FRAMES
    x, y = WIDTH / 2 + 200 * numpy.cos(turn), HEIGHT / 2 + 150 * numpy.sin(turn)
    rows, columns = numpy.indices((HEIGHT, WIDTH))
    picture = numpy.full((HEIGHT, WIDTH, 3), 30, numpy.uint8)
    picture[(columns - x) ** 2 + (rows - y) ** 2 < RADIUS**2] = 230
    return VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")


class Ball(VideoStreamTrack):
    """The frames, each at its time."""

    def __init__(self):
        super().__init__()
        self.frames = itertools.cycle([draw(number) for number in range(FRAMES)])

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = next(self.frames)
        frame.pts, frame.time_base = pts, time_base
        return frame


ball, relay, peers = Ball(), MediaRelay(), {}


async def answer(offer):
    """A session."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(relay.subscribe(ball))
    await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    path = f"/session/{len(peers)}"
    peers[path] = peer
    return path, peer.localDescription.sdp


async def serve(reader, writer):
    """One request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, path, _ = head.split(" ", 2)
    lengths = [line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    body = (await reader.readexactly(int(lengths[0]))).decode() if lengths else ""
    if method == "POST":
        location, sdp = await answer(body)
        said = f"HTTP/1.1 201 Created\r\nLocation: {location}\r\nContent-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
    else:
        await peers[path].close()
        said = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
    writer.write(said.encode())
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
