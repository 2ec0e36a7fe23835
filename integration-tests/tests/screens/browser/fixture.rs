//! What these tests begin with: cameras, a relay that serves its page, and a browser.

use std::net::SocketAddr;
use std::path::PathBuf;

use fanlight_tests::TestEnv;
use fanlight_tests::jpeg::with_noise;
use fanlight_tests::lab::Host;
use fanlight_tests::program::{Launch, Program};

/// The relay's TCP port for browsers, on an address of the test's own.
pub(crate) const PORT: u16 = 8080;

/// Its port for WebRTC, UDP and TCP.
pub(crate) const WEBRTC_PORT: u16 = 8189;

/// Width and height of every camera.
pub(crate) const SIZE: (u32, u32) = (1280, 720);

/// Different pictures of a camera, shown again and again.
const PICTURES: u64 = 2;

/// Levels of noise in the pictures, which make about 107 kB of each: what a camera makes of a room by day.
const NOISE: usize = 20;

/// The number painted into a picture tells its camera: camera `n` has those from `n * CAMERA` on.
pub(crate) const CAMERA: u64 = 1000;

/// Cameras named cam1, cam2 and so on at one relay.
pub(crate) struct Fixture {
    pub(crate) relay: Program,
    pub(crate) sources: Vec<Program>,
    pub(crate) env: TestEnv,
    page: SocketAddr,
}

impl Fixture {
    /// With `cameras` that take `rate` pictures a second.
    pub(crate) fn open(cameras: usize, rate: u32) -> Self {
        Self::with(cameras, rate, |relay| relay)
    }

    /// As [`open`](Self::open), with a relay started as `change` makes of the usual way.
    pub(crate) fn with(cameras: usize, rate: u32, change: impl FnOnce(Launch) -> Launch) -> Self {
        let env = TestEnv::new();
        let sources = (1..=cameras)
            .map(|camera| source(&env, camera, rate).ready())
            .collect();
        let names: Vec<String> = (1..=cameras).map(name).collect();
        Self::serve(env, sources, &names, change)
    }

    /// With one camera called `pattern`, into whose pictures number and time are painted.
    pub(crate) fn pattern() -> Self {
        let env = TestEnv::new();
        let source = env
            .source("pattern")
            .flags("--input pattern --size 1280x720 --rate 30")
            .ready();
        Self::serve(env, vec![source], &["pattern".to_owned()], |relay| relay)
    }

    /// With one camera of `rate` pictures a second at a relay on `host`, which everyone may watch.
    pub(crate) fn at(host: &Host, rate: u32) -> Self {
        let env = TestEnv::new();
        let source = source(&env, 1, rate).ready();
        Self::serve_at(host, env, source, &name(1), "")
    }

    /// As [`pattern`](Self::pattern), at a relay on `host` that everyone may watch, also by WebRTC.
    pub(crate) fn pattern_at(host: &Host) -> Self {
        Self::pattern_with(host, "")
    }

    /// As that, by TCP too.
    pub(crate) fn pattern_by_tcp_at(host: &Host) -> Self {
        let tcp = SocketAddr::from((host.address(), WEBRTC_PORT));
        Self::pattern_with(host, &format!("--webrtc-tcp {tcp}"))
    }

    fn pattern_with(host: &Host, flags: &str) -> Self {
        let env = TestEnv::new();
        let source = env
            .source("pattern")
            .flags("--input pattern --size 1280x720 --rate 30")
            .ready();
        Self::serve_at(host, env, source, "pattern", flags)
    }

    fn serve_at(host: &Host, env: TestEnv, source: Program, stream: &str, flags: &str) -> Self {
        let [listen, http, webrtc] =
            [5004, PORT, WEBRTC_PORT].map(|port| SocketAddr::from((host.address(), port)));
        let relay = env
            .program("relay")
            .flag("sources", env.ipc(stream))
            .flag("listen", listen.to_string());

        let relay = relay
            .flags("--access open --http-access open")
            .flag("http", http.to_string())
            .flag("webrtc", webrtc.to_string())
            .flags(flags);
        Self {
            relay: relay.under(&host.enter()).ready(),
            sources: vec![source],
            env,
            page: http,
        }
    }

    /// With these sources.
    pub(crate) fn serve(
        env: TestEnv,
        sources: Vec<Program>,
        names: &[String],
        change: impl FnOnce(Launch) -> Launch,
    ) -> Self {
        let endpoints: Vec<String> = names.iter().map(|name| env.ipc(name)).collect();
        Self::serve_from(env, sources, &endpoints, change)
    }

    /// With these sources, which publish at `endpoints`.
    pub(crate) fn serve_from(
        env: TestEnv,
        sources: Vec<Program>,
        endpoints: &[String],
        change: impl FnOnce(Launch) -> Launch,
    ) -> Self {
        let page = SocketAddr::from((env.relay_address(0).ip(), PORT));
        let relay = env.relay(0, endpoints).flag("http", page.to_string());
        Self {
            relay: change(relay).ready(),
            sources,
            env,
            page,
        }
    }

    /// Where the page is, with `hash` behind it.
    pub(crate) fn url(&self, hash: &str) -> String {
        format!("http://{}/{hash}", self.page)
    }

    /// The pictures of a camera, as its source has them.
    pub(crate) fn pictures(&self, camera: usize) -> Vec<Vec<u8>> {
        let folder = folder(&self.env, camera).read_dir().unwrap();
        folder
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect()
    }
}

/// The name of camera `number`, from 1.
pub(crate) fn name(number: usize) -> String {
    format!("cam{number}")
}

/// A source that reads its pictures from files: it costs next to no processor time.
pub(crate) fn source(env: &TestEnv, camera: usize, rate: u32) -> Launch {
    let folder = folder(env, camera);
    std::fs::create_dir(&folder).unwrap();

    for picture in 0..PICTURES {
        let jpeg = with_noise(camera as u64 * CAMERA + picture, SIZE.0, SIZE.1, NOISE);
        std::fs::write(folder.join(format!("{picture}.jpg")), jpeg).unwrap();
    }

    env.source(&name(camera))
        .flags("--input files")
        .flag("path", folder)
        .flag("rate", rate.to_string())
}

fn folder(env: &TestEnv, camera: usize) -> PathBuf {
    env.path(&format!("pictures of {camera}"))
}
