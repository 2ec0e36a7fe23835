"""A WHEP client made of GStreamer's webrtcbin: it decodes the video of a stream.

usage: webrtc_gstreamer.py URL FRAMES

Prints one line of JSON when it has decoded that many frames, and ends its session. It takes the interpreter that Debian's
python3-gi is for.
"""

import json
import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

CAPS = "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000"

url, wanted = sys.argv[1], int(sys.argv[2])
Gst.init(None)
loop = GLib.MainLoop()
pipeline = Gst.Pipeline.new()
peer = Gst.ElementFactory.make("webrtcbin")
peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
pipeline.add(peer)
state = {"frames": 0, "session": None}


def post(sdp):
    asked = urllib.request.Request(url, sdp.encode(), {"Content-Type": "application/sdp"})
    with urllib.request.urlopen(asked) as answer:
        state["session"] = urllib.parse.urljoin(url, answer.headers["Location"])
        return answer.read().decode()


def on_gathered(*_):
    """The offer goes out with its candidates."""
    if peer.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE or state["session"]:
        return
    answer = post(peer.get_property("local-description").sdp.as_text())
    _, message = GstSdp.SDPMessage.new_from_text(answer)
    description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
    peer.emit("set-remote-description", description, None)


def on_offer(promise):
    # Without this reference the offer goes with the reply.
    state["reply"] = promise.get_reply()
    offer = state["reply"].get_value("offer")
    peer.emit("set-local-description", offer, None)


def on_frame(sink, _pad):
    """A decoded frame."""
    state["frames"] += 1
    if state["frames"] == wanted:
        caps = sink.get_static_pad("sink").get_current_caps().get_structure(0)
        size = [caps.get_value(side) for side in ("width", "height")]
        print(json.dumps({"frames": wanted, "width": size[0], "height": size[1]}), flush=True)
        GLib.idle_add(loop.quit)


def on_pad(_peer, pad):
    """The video: it is decoded, and each frame counted."""
    if pad.get_direction() != Gst.PadDirection.SRC:
        return
    decode = Gst.parse_bin_from_description("rtpvp8depay ! vp8dec ! fakesink name=sink sync=false signal-handoffs=true", True)
    sink = decode.get_by_name("sink")
    sink.connect("handoff", lambda sink, _buffer, pad: on_frame(sink, pad))
    pipeline.add(decode)
    decode.sync_state_with_parent()
    pad.link(decode.get_static_pad("sink"))


peer.connect("notify::ice-gathering-state", lambda *_: GLib.idle_add(on_gathered))
peer.connect("pad-added", on_pad)
peer.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(CAPS))
pipeline.set_state(Gst.State.PLAYING)
peer.emit("create-offer", None, Gst.Promise.new_with_change_func(on_offer))
loop.run()
urllib.request.urlopen(urllib.request.Request(state["session"], method="DELETE"))
pipeline.set_state(Gst.State.NULL)
