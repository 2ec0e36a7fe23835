"""A wire that takes its time: joins two TAP devices and holds each packet for so many milliseconds each way.

    python3 delay.py NEAR FAR MILLISECONDS

It makes the devices in the network namespace that it runs in, prints `ready`, and goes on until its standard input ends;
whoever started it may move them to other namespaces. For kernels without netem. More than MAX_HELD packets under way in
one direction are lost, as in a switch.
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
MAX_HELD = 4096
MAX_PACKET = 1 << 16


def device(name):
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return file


def main():
    near, far = device(sys.argv[1]), device(sys.argv[2])
    delay = float(sys.argv[3]) / 1000
    other = {near: far, far: near}
    held = {near: collections.deque(), far: collections.deque()}
    print("ready", flush=True)

    while True:
        dues = [packets[0][0] for packets in held.values() if packets]
        patience = max(0, min(dues) - time.monotonic()) if dues else None
        readable, _, _ = select.select([near, far, sys.stdin], [], [], patience)
        if sys.stdin in readable:
            return

        for file in readable:
            take(file, held[other[file]], time.monotonic() + delay)
        for file, packets in held.items():
            while packets and packets[0][0] <= time.monotonic():
                give(file, packets.popleft()[1])


def take(file, packets, due):
    """Reads all that is there."""
    while True:
        try:
            packet = os.read(file, MAX_PACKET)
        except BlockingIOError:
            return
        if len(packets) < MAX_HELD:
            packets.append((due, packet))


def give(file, packet):
    try:
        os.write(file, packet)
    except OSError:
        pass  # The device is not up yet, or full: a lost packet.


main()
