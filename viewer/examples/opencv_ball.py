#!/usr/bin/env python3
"""A tracker for fanlight-viewer in Python with OpenCV: the bright ball, by its contour and its centre of mass.

    fanlight-viewer --tracker-command "python3 opencv_ball.py"

What comes on standard input and what goes to standard output stands in viewer/TRACKER.md.
"""

import json
import struct
import sys
import time

import cv2
import numpy

HEADER = struct.Struct("<4sBBBBIIQQQII")
JPEG, GREY, RGB = 1, 2, 3
MIN_RADIUS = 5


def frames(stream):
    """Yields (format, width, height, epoch, number, payload) until the viewer ends."""
    while len(header := stream.read(HEADER.size)) == HEADER.size:
        magic, version, length, kind, _, width, height, epoch, number, _, size, _ = HEADER.unpack(header)
        if magic != b"FLTR" or version != 1:
            raise SystemExit("this is no frame, or one of another version")
        # A longer header has fields that this program does not know.
        stream.read(length - HEADER.size)
        payload = stream.read(size)
        if len(payload) < size:
            return
        yield kind, width, height, epoch, number, payload


def grey(kind, width, height, payload):
    pixels = numpy.frombuffer(payload, numpy.uint8)
    if kind == JPEG:
        return cv2.imdecode(pixels, cv2.IMREAD_GRAYSCALE)
    if kind == RGB:
        return cv2.cvtColor(pixels.reshape(height, width, 3), cv2.COLOR_RGB2GRAY)
    return pixels.reshape(height, width)


def find(picture):
    """The roundest bright spot: its centre, radius, and how round it is. None when nothing is round."""
    level, bright = cv2.threshold(cv2.GaussianBlur(picture, (5, 5), 0), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if level < 40:
        return None
    # Opened, so that letters beside the ball do not belong to it.
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, numpy.ones((7, 7), numpy.uint8))
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    best = None
    for contour in contours:
        (_, _), radius = cv2.minEnclosingCircle(contour)
        roundness = cv2.contourArea(contour) / (numpy.pi * radius * radius) if radius > 0 else 0
        if radius >= MIN_RADIUS and roundness > 0.7 and (best is None or roundness > best[0]):
            best = roundness, contour, radius
    if best is None:
        return None
    roundness, contour, radius = best
    moments = cv2.moments(contour)
    # OpenCV counts from the middle of the first pixel, Fanlight from its corner.
    x, y = moments["m10"] / moments["m00"] + 0.5, moments["m01"] / moments["m00"] + 0.5
    return {"x": float(x), "y": float(y), "radius": float(radius), "confidence": float(min(roundness, 1))}


def main():
    for kind, width, height, epoch, number, payload in frames(sys.stdin.buffer):
        began = time.monotonic()
        found = find(grey(kind, width, height, payload))
        took_us = int((time.monotonic() - began) * 1e6)
        answer = {"epoch": f"{epoch:016x}", "number": number, "found": found, "took_us": took_us}
        print(json.dumps(answer), flush=True)


main()
