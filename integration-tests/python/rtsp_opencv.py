"""Reads pictures of an RTSP server by OpenCV.

usage: rtsp_opencv.py URL tcp|udp PICTURES

Prints a line of JSON for each: width, height, and the mean of red, green and blue.
"""

import json
import os
import sys

url, transport, pictures = sys.argv[1:]
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{transport}"

import cv2  # noqa: E402: it reads the environment

capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
for _ in range(int(pictures)):
    taken, picture = capture.read()
    if not taken:
        sys.exit("no picture came")
    height, width, _ = picture.shape
    blue, green, red, _ = cv2.mean(picture)
    print(json.dumps({"size": [width, height], "mean": [red, green, blue]}))
