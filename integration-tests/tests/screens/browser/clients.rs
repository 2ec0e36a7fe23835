//! WebRTC clients other than Chromium and aiortc, each on a host of its own: they watch a stream until they have had some
//! frames of it.

use std::path::Path;

use fanlight_tests::lab::{Host, Lab};
use fanlight_tests::program::Launch;
use fanlight_tests::{npm, python, skip};
use serde_json::Value;

use super::fixture::{Fixture, PORT};

/// Frames that each must get.
const FRAMES: u64 = 30;

/// Debian's own interpreter: the only one that has its python3-gi.
const DEBIAN_PYTHON: &str = "/usr/bin/python3";

const CHROMIUM: &str = "/usr/bin/chromium";
const FIREFOX: &str = "/usr/bin/firefox-esr";

/// What a client needs of GStreamer, tried out.
const WEBRTCBIN: &str = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstWebRTC', '1.0'); \
                         gi.require_version('GstSdp', '1.0'); from gi.repository import Gst, GstSdp, GstWebRTC; \
                         Gst.init(None); assert all(map(Gst.ElementFactory.find, ('webrtcbin', 'nicesrc', 'vp8dec')))";

/// Runs a client on a host of a laboratory, given the address of the stream; its line of JSON.
#[track_caller]
fn said(client: impl FnOnce(&Fixture, &Host) -> Launch) -> Option<Value> {
    let lab = Lab::open()?;
    let [relay, host] = ["relay", "client"].map(|name| lab.host(name));
    let fixture = Fixture::pattern_at(&relay);
    let program = client(&fixture, &relay).under(&host.enter()).start();
    let line = program.wait_for_line("{\"");
    Some(serde_json::from_str(&line.text).unwrap_or_else(|error| panic!("{error}: {}", line.text)))
}

/// Where clients ask for the stream.
fn whep(relay: &Host) -> String {
    format!("http://{}:{PORT}/whep/pattern", relay.address())
}

/// A script of `integration-tests/webrtc-clients`; none, said aloud, where it cannot run.
fn node_script(name: &str) -> Option<std::path::PathBuf> {
    let folder = npm::folder("webrtc-clients");
    let script = folder.map(|folder| folder.join(name));
    script.map_err(|missing| skip(&missing)).ok()
}

#[test]
fn webrtcbin_of_gstreamer_decodes_the_stream() {
    if let Err(missing) = npm::runs(DEBIAN_PYTHON, &["-c", WEBRTCBIN]) {
        return skip(&missing);
    }
    let Some(said) = said(|fixture, relay| {
        let python = fixture.env.launch("gstreamer", DEBIAN_PYTHON.into());
        let script = python::script("webrtc_gstreamer.py").display().to_string();
        python.flags(&format!("{script} {} {FRAMES}", whep(relay)))
    }) else {
        return;
    };

    assert_eq!(said["frames"], FRAMES, "{said}");
    // Half of the picture where this machine is too busy.
    let sizes = [(1280, 720), (640, 360)].map(|(width, height)| (width.into(), height.into()));
    let size: (Value, Value) = (said["width"].clone(), said["height"].clone());
    assert!(sizes.contains(&size), "{said}");
}

#[test]
fn werift_gets_the_stream_from_a_key_frame_on() {
    let Some(script) = node_script("werift.mjs") else {
        return;
    };
    let Some(said) = said(|fixture, relay| {
        let node = fixture.env.launch("werift", "node".into());
        node.flags(&format!("{} {} {FRAMES}", script.display(), whep(relay)))
    }) else {
        return;
    };

    assert_eq!(said["frames"], FRAMES, "{said}");
    assert_eq!((&said["key"], &said["ended"]), (&true.into(), &204.into()));
}

#[test]
fn whep_js_shows_the_stream_in_chromium_also_after_an_ice_restart() {
    if !Path::new(CHROMIUM).is_file() {
        return skip(&format!("{CHROMIUM} is not there"));
    }
    let Some(script) = node_script("whep-js.mjs") else {
        return;
    };
    let Some(said) = said(|fixture, relay| {
        let node = fixture.env.launch("whep-js", "node".into());
        let script = script.display();
        node.flags(&format!("{script} {CHROMIUM} {} {FRAMES}", whep(relay)))
    }) else {
        return;
    };

    assert_eq!(
        (&said["before"], &said["after"]),
        (&FRAMES.into(), &FRAMES.into())
    );
    assert_eq!(said["restarted"], true, "{said}");
    assert!(
        [1280, 640].map(Value::from).contains(&said["width"]),
        "{said}"
    );
    assert_eq!(said["errors"].as_array().map(Vec::len), Some(0), "{said}");
}

#[test]
fn firefox_shows_the_page_with_video() {
    if !Path::new(FIREFOX).is_file() {
        return skip(&format!("{FIREFOX} is not there"));
    }
    let Some(script) = node_script("firefox.mjs") else {
        return;
    };
    let Some(said) = said(|fixture, _| {
        let node = fixture.env.launch("firefox", "node".into());
        let page = fixture.url("#pattern&video=pattern");
        node.flags(&format!("{} {FIREFOX} {page}", script.display()))
    }) else {
        return;
    };

    eprintln!("measured: with {}", said["version"]);
    let pane = &said["pane"];
    assert_eq!(
        (&pane["by"], &pane["state"]),
        (&"video".into(), &"live".into())
    );
    assert!(pane["drawn"].as_u64() >= Some(FRAMES), "{said}");
    assert_eq!(said["errors"].as_array().map(Vec::len), Some(0), "{said}");
}
