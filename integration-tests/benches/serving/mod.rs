//! The relay without its event loop: frames come in and leave by its socket.

use fanlight_daemon::clock;
use fanlight_relay::config::Gso;
use fanlight_relay::engine::Output;
use fanlight_relay::udp::{NextRun, Sender, Socket};
use tokio::runtime::Runtime;

use crate::engine_harness::EngineHarness;

/// See the module.
pub(crate) struct Serving<'a> {
    runtime: &'a Runtime,
    socket: &'a Socket,
    sender: Sender,
    engine_harness: EngineHarness,
}

impl<'a> Serving<'a> {
    /// The viewers of `engine_harness` are sent to by `socket`.
    pub(crate) fn new(
        runtime: &'a Runtime,
        socket: &'a Socket,
        engine_harness: EngineHarness,
    ) -> Self {
        Self {
            runtime,
            socket,
            sender: Sender::new(Gso::Auto, socket.max_segments()),
            engine_harness,
        }
    }

    /// The next frame comes in and leaves: how many datagrams did.
    pub(crate) fn frame(&mut self) -> u64 {
        let Self {
            runtime,
            socket,
            sender,
            engine_harness,
        } = self;

        let before = sender.counts().datagrams;
        let now = clock::now();
        engine_harness.frame(|output| match output {
            Output::Transmit(fan) => sender.start(now, fan),
            Output::Send { to, datagram } => sender.send(*socket, to, &datagram),
            Output::Retransmit(resend) => sender.retransmit(*socket, &resend),
            Output::Progress(progress) => sender.on_progress(&progress),
            Output::Isolate(_) | Output::Rejoin(_) | Output::Feedback { .. } => {}
        });

        send_all(runtime, sender, socket);
        sender.counts().datagrams - before
    }
}

/// Sends all that `sender` has, waiting as its event loop would.
pub(crate) fn send_all(runtime: &Runtime, sender: &mut Sender, socket: &Socket) {
    loop {
        let now = clock::now();
        match sender.run(now, socket) {
            NextRun::Idle => return,
            NextRun::Again => {}
            NextRun::At(time) => {
                runtime.block_on(async { tokio::time::sleep(time.saturating_since(now)).await });
            }
            NextRun::Blocked(_) => runtime.block_on(socket.writable()),
        }
    }
}
