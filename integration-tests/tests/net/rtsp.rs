//! RTSP by multicast: one copy of a stream for all players that ask for it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use fanlight_tests::jpeg::numbered;
use fanlight_tests::lab::{Host, Lab};
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::viewer_process::hash;
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, npm, skip};
use turbojpeg::PixelFormat;

/// The group of the first stream, and its ports.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 43, 0);
const PORT: u16 = 5006;

/// Pictures that each player writes.
const PICTURES: usize = 20;

/// Different pictures of the camera.
const KINDS: u64 = 4;

/// A relay with a camera of a few pictures, which sends by multicast too.
struct Fixture {
    lab: Lab,
    env: TestEnv,
    host: Host,
    pictures: BTreeSet<u64>,
    _programs: [Program; 2],
}

impl Fixture {
    fn open() -> Option<Self> {
        let lab = Lab::open()?;
        let (env, host) = (TestEnv::new(), lab.host("relay"));
        let folder = env.path("pictures");
        fs::create_dir(&folder).unwrap();
        let jpegs: Vec<_> = (0..KINDS)
            .map(|number| numbered(number, 320, 240))
            .collect();
        for (number, jpeg) in jpegs.iter().enumerate() {
            fs::write(folder.join(format!("{number}.jpg")), jpeg).unwrap();
        }

        let source = env.source("cam").flags("--input files --rate 20");
        let source = source.flag("path", folder).ready();
        let address = host.address();
        let relay = env
            .program("relay")
            .flag("sources", env.ipc("cam"))
            .flag("listen", format!("{address}:5004"))
            .flag("rtsp", format!("{address}:8554"))
            .flag("rtsp-multicast", format!("{GROUP}:{PORT}"))
            .flags("--access open --http-access open")
            .under(&host.enter())
            .ready();
        relay.wait_for_line("live stream=cam");
        Some(Self {
            lab,
            env,
            host,
            pictures: jpegs.iter().map(|jpeg| decoded(jpeg)).collect(),
            _programs: [source, relay],
        })
    }

    /// A player on a host of its own, given where the stream is and where to write pictures.
    fn player(
        &self,
        name: &str,
        player: impl FnOnce(&str, &Path) -> (&'static str, String),
    ) -> Player {
        let (host, folder) = (self.lab.host(name), self.env.path(name));
        fs::create_dir(&folder).unwrap();
        // Players join by the interface that has the way there.
        host.run("ip route add 224.0.0.0/4 dev eth0");
        let url = format!("rtsp://{}:8554/cam", self.host.address());
        let (program, flags) = player(&url, &folder);
        let launch: Launch = self.env.launch(name, program.into()).flags(&flags);
        Player {
            _program: launch.under(&host.enter()).start(),
            _host: host,
            folder,
        }
    }
}

struct Player {
    _program: Program,
    _host: Host,
    folder: PathBuf,
}

impl Player {
    /// Waits until all the pictures are there, and asserts that they are those of the camera.
    #[track_caller]
    fn assert_shows(&self, pictures: &BTreeSet<u64>) {
        let written = until("the player writes pictures", SOON, || {
            let files = self.folder.read_dir().unwrap();
            let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            // The last one may be half written.
            files.sort();
            (files.len() > PICTURES).then(|| files[..PICTURES].to_vec())
        });
        let shown = written.iter().map(|file| decoded(&fs::read(file).unwrap()));
        assert_eq!(&shown.collect::<BTreeSet<_>>(), pictures);
    }
}

fn decoded(jpeg: &[u8]) -> u64 {
    hash(
        &turbojpeg::decompress(jpeg, PixelFormat::RGB)
            .unwrap()
            .pixels,
    )
}

fn gstreamer(url: &str, folder: &Path) -> (&'static str, String) {
    let to = folder.display();
    let flags = format!(
        "-q rtspsrc location={url} protocols=udp-mcast latency=0 ! rtpjpegdepay ! multifilesink location={to}/%06d.jpg"
    );
    ("gst-launch-1.0", flags)
}

fn ffmpeg(url: &str, folder: &Path) -> (&'static str, String) {
    let to = folder.display();
    let flags = format!(
        "-nostdin -loglevel error -rtsp_transport udp_multicast -i {url} -c copy -f image2 {to}/%06d.jpg"
    );
    ("ffmpeg", flags)
}

/// What comes to a port of the group, on a host that has joined it.
fn listen(host: &Host, port: u16) -> UdpSocket {
    let address = host.address();
    host.within(|| {
        let socket = UdpSocket::bind((GROUP, port)).unwrap();
        socket.join_multicast_v4(&GROUP, &address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    })
}

#[test]
fn players_that_ask_for_multicast_share_one_copy_which_ends_with_the_last() {
    for (player, version) in [("gst-launch-1.0", "--version"), ("ffmpeg", "-version")] {
        if let Err(missing) = npm::runs(player, &[version]) {
            return skip(&missing);
        }
    }
    let Some(fixture) = Fixture::open() else {
        return;
    };
    let listener = fixture.lab.host("listener");
    let rtcp = listen(&listener, PORT + 1);

    let players = [
        fixture.player("gstreamer", gstreamer),
        fixture.player("again", gstreamer),
        fixture.player("ffmpeg", ffmpeg),
    ];
    for player in &players {
        player.assert_shows(&fixture.pictures);
    }

    let rtp = listen(&listener, PORT);
    let mut packet = [0; 1500];
    let mut next = || {
        // GStreamer sends something to the group too, to open firewalls.
        while rtp.recv_from(&mut packet).unwrap().1.ip() != fixture.host.address() {}
        let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        ((word(0) & 0xffff) as u16, word(8))
    };
    let (mut sequence, ssrc) = next();
    for _ in 0..500 {
        let (number, of) = next();
        assert_eq!(
            (number, of),
            (sequence.wrapping_add(1), ssrc),
            "it comes once"
        );
        sequence = number;
    }

    drop(players);
    until("the sender says goodbye", SOON, || {
        let (length, from) = rtcp.recv_from(&mut packet).unwrap();
        let report = &packet[..length];
        // Players report to the group too.
        let is_ours = from.ip() == fixture.host.address() && report[4..8] == ssrc.to_be_bytes();
        // BYE comes last (RFC 3550, 6.1).
        (is_ours && report[length - 8..][..2] == [0x81, 203]).then_some(())
    });
}
