"""A network camera that speaks RTSP, made of GStreamer's server: a test picture as VP8 or as JPEGs.

usage: rtsp_camera.py ADDRESS PORT vp8|jpeg [WIDTH HEIGHT]

It asks for user `admin` and the password in the variable PASSWORD, by Basic, and prints "ready" when it listens. It takes the
interpreter that Debian's python3-gi is for.
"""

import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CODING = {
    "vp8": "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=15 ! rtpvp8pay name=pay0",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0",
}

address, port, coding, *size = sys.argv[1:]
width, height = size or ("320", "240")
Gst.init(None)

token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
basic = GstRtspServer.RTSPAuth.make_basic("admin", os.environ["PASSWORD"])
auth = GstRtspServer.RTSPAuth()
auth.add_basic(basic, token)

permissions = GstRtspServer.RTSPPermissions()
permissions.add_role("viewer")
permissions.add_permission_for_role("viewer", "media.factory.access", True)
permissions.add_permission_for_role("viewer", "media.factory.construct", True)

factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( videotestsrc is-live=true ! video/x-raw,format=I420,width={width},height={height},framerate=15/1 ! "
    + CODING[coding]
    + " )"
)
factory.set_shared(True)
factory.set_permissions(permissions)

server = GstRtspServer.RTSPServer()
server.set_address(address)
server.set_service(port)
server.set_auth(auth)
server.get_mount_points().add_factory("/cam", factory)
if not server.attach(None):
    sys.exit("cannot listen")
print("ready", flush=True)
GLib.MainLoop().run()
