"""libzmq at the other end of the codec: `bind pub|xpub` publishes, `connect sub|xsub ENDPOINT` subscribes."""

import sys
import time

import zmq

SIZES = [0, 1, 255, 256, 1000, 65_536, 300_000]


def publish(kind):
    socket = zmq.Context().socket(kind)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 50)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000)
    print(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}", flush=True)
    number = 0
    while True:
        if kind == zmq.XPUB:
            while socket.poll(0):
                print(socket.recv().hex(), flush=True)
        size = SIZES[number % len(SIZES)]
        socket.send_multipart([b"cam/", bytes([number % 256]) * size])
        number += 1
        time.sleep(0.005)


def subscribe(kind, endpoint):
    socket = zmq.Context().socket(kind)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 50)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000)
    socket.connect(endpoint)
    if kind == zmq.XSUB:
        socket.send(b"\x01cam/")
        socket.send(b"\x02hello")
    else:
        socket.setsockopt(zmq.SUBSCRIBE, b"cam/")
    for _ in range(50):
        topic, body = socket.recv_multipart()
        whole = body == body[:1] * len(body)
        print(topic.decode(), len(body), whole, flush=True)


role, kind = sys.argv[1], getattr(zmq, sys.argv[2].upper())
if role == "bind":
    publish(kind)
else:
    subscribe(kind, sys.argv[3])
