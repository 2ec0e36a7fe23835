"""Reads frames from a Fanlight source with libzmq, protobuf and Pillow, and prints one line of JSON for each.

usage: subscriber.py ENDPOINT STREAM DESCRIPTOR_SET COUNT
"""

import hashlib
import io
import json
import sys

import zmq
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image

PATIENCE_MS = 20_000


def frame_class(descriptor_set):
    """The class of fanlight.v1.Frame, from what `protoc --descriptor_set_out` writes."""
    files = descriptor_pb2.FileDescriptorSet()
    with open(descriptor_set, "rb") as file:
        files.ParseFromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fanlight.v1.Frame"))


def main():
    endpoint, stream, descriptor_set, count = sys.argv[1:]
    frame_of = frame_class(descriptor_set)
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
    # Heartbeats are what a robust subscriber turns on, and what zeromq 0.7.0 hangs up on.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 200)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 2_000)
    socket.setsockopt(zmq.SUBSCRIBE, stream.encode() + b"/")
    socket.connect(endpoint)
    seen = 0
    while seen < int(count):
        topic, body = socket.recv_multipart()
        frame = frame_of()
        frame.ParseFromString(body)
        if not frame.jpeg:
            continue
        picture = Image.open(io.BytesIO(frame.jpeg))
        picture.load()
        print(
            json.dumps(
                {
                    "topic": topic.decode(),
                    "stream": frame.header.stream,
                    "epoch": frame.header.epoch,
                    "number": frame.header.number,
                    "state": frame.header.state,
                    "truth": frame.header.truth.WhichOneof("kind"),
                    "width": frame.header.width,
                    "height": frame.header.height,
                    "decoded": list(picture.size),
                    "format": picture.format,
                    "whole": frame.jpeg[:2] == b"\xff\xd8" and frame.jpeg[-2:] == b"\xff\xd9",
                    "sha256": hashlib.sha256(frame.jpeg).hexdigest(),
                }
            ),
            flush=True,
        )
        seen += 1


main()
