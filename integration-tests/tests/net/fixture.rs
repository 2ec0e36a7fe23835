//! What most of these tests begin with: a source, a relay on a host of its own, and who watches from other hosts.

use std::net::SocketAddr;
use std::time::Duration;

use fanlight_proto::limits::SHARD_BYTES;
use fanlight_tests::TestEnv;
use fanlight_tests::jpeg::numbered;
use fanlight_tests::lab::{Host, Lab};
use fanlight_tests::light_viewers::{self, LightViewers};
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::viewer_process::{ViewerCommand, ViewerProcess};

/// The relay's UDP port.
pub(crate) const PORT: u16 = 5004;

/// Different pictures of a stream, shown again and again.
const PICTURES: u64 = 8;

/// What a socket of a light viewer holds: several frames, and of hundreds of sockets no more than a machine has.
const LIGHT_VIEWER_BUFFER: usize = 1 << 20;

/// What the source sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pictures {
    /// Width and height in pixels, which make the size of a frame: noise does not compress.
    pub(crate) size: (u32, u32),
    /// Frames a second.
    pub(crate) rate: u32,
}

/// Frames of about fifty datagrams, 30 a second.
pub(crate) const USUAL: Pictures = Pictures {
    size: (832, 464),
    rate: 30,
};

/// A stream `cam` at a relay on the host `host`. The programs end before the laboratory is taken down.
pub(crate) struct Fixture {
    pub(crate) relay: Program,
    _source: Program,
    pictures: Pictures,
    pub(crate) host: Host,
    pub(crate) env: TestEnv,
    pub(crate) lab: Lab,
}

impl Fixture {
    /// None where there can be no laboratory.
    pub(crate) fn open(pictures: Pictures) -> Option<Self> {
        Self::with(pictures, |relay| relay)
    }

    /// As [`open`](Self::open), with a relay started as `change` makes of the usual way.
    pub(crate) fn with(pictures: Pictures, change: impl FnOnce(Launch) -> Launch) -> Option<Self> {
        Self::with_access(pictures, "open", change)
    }

    /// As [`with`](Self::with), where the relay lets in whom `access` says.
    pub(crate) fn with_access(
        pictures: Pictures,
        access: &str,
        change: impl FnOnce(Launch) -> Launch,
    ) -> Option<Self> {
        let lab = Lab::open()?;
        let env = TestEnv::new();
        let host = lab.host("relay");
        let source = source(&env, pictures).ready();
        // Nothing but what the test is about crosses the switch.
        let relay = relay_for(&env, &host, access).flags("--discovery=false");
        let relay = change(relay).ready();
        Some(Self {
            relay,
            _source: source,
            pictures,
            host,
            env,
            lab,
        })
    }

    /// Where the relay is.
    pub(crate) fn address(&self) -> SocketAddr {
        (self.host.address(), PORT).into()
    }

    /// A viewer that is not started yet.
    pub(crate) fn watch(&self) -> ViewerCommand {
        self.env.viewer(self.address(), "cam")
    }

    /// A viewer on `host` that shows.
    #[track_caller]
    pub(crate) fn viewer(&self, host: &Host) -> ViewerProcess {
        let viewing = self.watch().under(&host.enter()).start();
        viewing.wait_shown(5);
        viewing
    }

    /// So many light viewers on `host`.
    pub(crate) fn light_viewers(&self, host: &Host, size: usize) -> LightViewers {
        self.light_viewers_of(self.address(), host, size)
    }

    /// So many light viewers on `host`, of the same stream at another relay.
    pub(crate) fn light_viewers_of(
        &self,
        relay: SocketAddr,
        host: &Host,
        size: usize,
    ) -> LightViewers {
        let sockets = host.within(|| {
            (0..size)
                .map(|_| light_viewers::socket(Some(LIGHT_VIEWER_BUFFER)))
                .collect()
        });

        LightViewers::join(
            sockets,
            relay,
            "cam",
            Duration::from_secs(1) / self.pictures.rate,
        )
    }
}

/// A source of the stream `cam`. It reads its pictures from files: it costs next to no processor time.
pub(crate) fn source(env: &TestEnv, pictures: Pictures) -> Launch {
    let (folder, (width, height)) = (env.path("pictures"), pictures.size);
    std::fs::create_dir(&folder).unwrap();

    for number in 0..PICTURES {
        let jpeg = numbered(number, width, height);
        if number == 0 {
            eprintln!(
                "measured: pictures of {} bytes, {} shards",
                jpeg.len(),
                jpeg.len().div_ceil(SHARD_BYTES)
            );
        }

        std::fs::write(folder.join(format!("{number}.jpg")), jpeg).unwrap();
    }

    env.source("cam")
        .flags("--input files")
        .flag("path", folder)
        .flag("rate", pictures.rate.to_string())
}

/// A relay on `host` that takes the stream `cam` and lets everyone in.
pub(crate) fn relay(env: &TestEnv, host: &Host) -> Launch {
    relay_for(env, host, "open")
}

fn relay_for(env: &TestEnv, host: &Host, access: &str) -> Launch {
    let listen = SocketAddr::from((host.address(), PORT)).to_string();
    let relay = env
        .program("relay")
        .flag("sources", env.ipc("cam"))
        .flag("listen", listen);
    relay.flag("access", access).under(&host.enter())
}
