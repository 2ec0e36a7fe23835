//! The relay: starts its threads, and runs the event loop that serves UDP viewers on the main thread.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::capture::{Capture, Direction, Requests, Role};
use fanlight_daemon::discovery::{Announcer, Kind, Service};
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::{Context, WatchdogFeeder, clock};
use fanlight_live::{EngineFeed, OutputServer, ScreenOrder, StreamTable};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::VERSION;
use fanlight_proto::handshake::RelayAccess;
use fanlight_proto::message::FeedbackReport;

use crate::StartError;
use crate::config::{Config, Sources};
use crate::engine::{Engine, Output, Route};
use crate::outputs;
use crate::udp::{self, Buffers, Captured, NextRun, Sender, Socket};
use crate::upstream::FeedKeys;

mod program;
mod reload;
mod sources;
mod status_report;
mod status_schedule;
use sources::Upstreams;
use status_report::{CAPTURE_COUNTS, StatusReporter, capture_counts};
use status_schedule::StatusSchedule;

/// Calls to the kernel for received datagrams before the loop looks after its other work.
const RECEIVES_PER_RUN: usize = 16;

/// Longest that GOODBYEs wait for room in the socket.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(100);

/// A relay that has its port.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    sources: Sources,
    feed_keys: FeedKeys,
    access: RelayAccess,
    socket: UdpSocket,
    address: SocketAddr,
    outputs: Vec<Box<dyn OutputServer>>,
}

impl Relay {
    /// Checks the settings and binds the port.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn load(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let sources = config.sources()?;
        let access = config.relay_access()?;
        let feed_keys = config.feed_keys()?;
        let socket = udp::bind(config.listen)?;
        if let Some((_, reach)) = config.multicast() {
            let interface = reach.interface;
            reach
                .apply(&socket)
                .map_err(|error| StartError::Multicast { interface, error })?;
        }

        let address = socket.local_addr()?;
        let outputs = outputs::bind(&config)?;
        Ok(Self {
            config,
            sources,
            access,
            feed_keys,
            socket,
            address,
            outputs,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `context.shutdown` is requested, then says goodbye to all viewers.
    ///
    /// # Errors
    /// When the system denies a thread, a timer or the like; never because of what peers do.
    pub fn run(self, context: &Context) -> io::Result<()> {
        let table = StreamTable::new(Duration::from_millis(self.config.source_stale_ms));
        table
            .client_memory()
            .set_limit(reload::client_memory(&self.config));
        table.set_stream_memory(reload::stream_memory(&self.config));
        let upstreams = Upstreams::start(
            &self.config,
            self.sources,
            self.feed_keys,
            Arc::clone(&table),
        )?;

        // Says goodbye when this returns.
        let _announcer = Announcer::start(&announced(&self.config, self.address, &self.access));
        let mut threads = Vec::new();
        let has_outputs = !self.outputs.is_empty();
        for output in self.outputs {
            threads.push(output.start(Arc::clone(&table), context.shutdown.clone())?);
        }

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (config, access, socket) = (self.config, self.access, self.socket);
        let running = context.clone();
        let serve = async move {
            let sources = (EngineFeed::new(table), upstreams);
            let status = StatusSchedule::new(has_outputs);
            let mut serving = EventLoop::new(&config, access, socket, sources, status)?;
            tracing::info!(listen = %self.address, gso = serving.sender.uses_gso(), "serving");
            let served = serving.run(&running).await;
            served.map(|()| serving.upstreams.stop())
        };

        // As a task: what `block_on` itself runs wakes by an `eventfd`, also from its own thread and at each timer.
        let served = runtime.block_on(async { tokio::spawn(serve).await });
        let served = served.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        runtime.shutdown_background();

        let upstreams = served?;
        if context.shutdown.requested() {
            // They have been asked too, and take no part in this result.
            let threads = threads.into_iter().chain(upstreams);
            threads.for_each(|thread| drop(thread.join()));
        }

        Ok(())
    }
}

/// What the network may know of this relay.
fn announced(config: &Config, listen: SocketAddr, access: &RelayAccess) -> Vec<Service> {
    if !config.discovery {
        return Vec::new();
    }

    let mut properties = vec![
        ("v", VERSION.to_string()),
        ("access", config.access.to_string()),
    ];
    if let RelayAccess::Keys { own, .. } = access {
        properties.push(("key", own.public().to_string()));
    }

    let relay = Service {
        kind: Kind::Relay,
        listen,
        properties,
    };

    // Browsers of services open what they find in the clear.
    let page = config.http.filter(|_| config.http_certificate.is_none());
    let page = page.map(|listen| Service {
        kind: Kind::Page,
        listen,
        properties: vec![("path", "/".to_owned())],
    });
    std::iter::once(relay).chain(page).collect()
}

/// The event loop.
struct EventLoop {
    engine: Engine,
    sender: Sender,
    socket: Socket,
    buffers: Buffers,
    feed: EngineFeed,
    upstreams: Upstreams,
    reporter: StatusReporter,
    config: Config,
    watch: FileWatch,
    capture: RefCell<Capture>,
    status: StatusSchedule,
}

impl EventLoop {
    fn new(
        config: &Config,
        access: RelayAccess,
        socket: UdpSocket,
        (feed, upstreams): (EngineFeed, Upstreams),
        status: StatusSchedule,
    ) -> io::Result<Self> {
        let socket = Socket::new(socket)?;
        Ok(Self {
            engine: Engine::new(reload::bounds(config), access, clock::random_bytes()),
            config: config.clone(),
            watch: reload::access_watch(config),
            sender: Sender::new(config.gso, socket.max_segments()),
            socket,
            buffers: Buffers::default(),
            feed,
            upstreams,
            reporter: StatusReporter::default(),
            capture: Capture::new(
                "fanlight-relay",
                Role::Relay,
                CAPTURE_COUNTS,
                config.capture_dir.as_deref(),
            )
            .into(),
            status,
        })
    }

    async fn run(&mut self, context: &Context) -> io::Result<()> {
        let mut stop = pin!(context.shutdown.wait());
        let mut ready = false;
        let mut watchdog = WatchdogFeeder::new(context.notify.clone());
        let mut requests = Requests::listen();

        loop {
            let next_run = self.run_once();
            let now = clock::now();
            if !std::mem::replace(&mut ready, true) {
                context.notify.ready();
            }

            let wakes = [
                watchdog.turn(now),
                next_run.time(),
                self.look_after(now, context),
            ];
            let wake = wakes.into_iter().flatten().min().unwrap_or(now);
            if next_run == NextRun::Again {
                if context.shutdown.requested() {
                    break;
                }
                tokio::task::yield_now().await;
                continue;
            }

            tokio::select! {
                () = &mut stop => break,
                () = self.socket.readable() => {}
                () = self.socket.writable(), if matches!(next_run, NextRun::Blocked(_)) => {}
                () = self.feed.changed() => {}
                () = context.reload.requested() => {}
                () = requests.next() => {
                    self.capture.get_mut().on_request(clock::now(), || capture_counts(&self.engine, &self.sender));
                }
                () = tokio::time::sleep(wake.saturating_since(now)) => {}
            }
        }

        self.say_goodbye().await;
        Ok(())
    }

    /// Does what is due beside serving; when it is next.
    fn look_after(&mut self, now: Time, context: &Context) -> Option<Time> {
        self.capture
            .get_mut()
            .turn(now, || capture_counts(&self.engine, &self.sender));
        if let Some(figures) = self.reporter.due(now, &self.engine, &self.sender) {
            context.notify.status(&figures);
        }

        if let Some(access) = self.watch.due(now, || self.config.relay_access()) {
            self.engine.set_access(now, access);
            self.handle_outputs(now);
        }

        self.reload(now, context);
        self.upstreams.look(now);
        let wakes = [
            self.publish_status(now),
            self.engine.next_deadline(),
            Some(self.reporter.next()),
            self.watch.next(),
            self.upstreams.next(),
        ];
        wakes.into_iter().flatten().min()
    }

    /// Serves what is due, for about a millisecond at most.
    fn run_once(&mut self) -> NextRun {
        let mut more = false;
        // Frames of streams without viewers woke nobody, and a viewer that joins now gets the newest as its catch-up.
        self.take_arrivals(clock::now());

        for received in 0..RECEIVES_PER_RUN {
            let Self {
                engine,
                socket,
                buffers,
                capture,
                ..
            } = self;

            let now = clock::now();
            let capture = capture.get_mut();

            if !socket.receive(buffers, |from, datagram| {
                capture.note(now, Direction::In, from.remote, datagram);
                engine.on_datagram(now, from, datagram);
            }) {
                break;
            }

            self.handle_outputs(now);
            more = received + 1 == RECEIVES_PER_RUN;
        }

        let now = clock::now();
        self.engine.on_tick(now);
        self.handle_outputs(now);
        self.feed
            .set_watched(|stream| self.engine.has_viewers(stream));
        self.take_feed(now);
        let before = self.sender.in_flight();
        let next_run = self.sender.run(
            now,
            &Captured {
                wire: &self.socket,
                capture: &self.capture,
                now,
            },
        );

        while let Some(aborted) = self.sender.take_aborted() {
            self.engine.on_aborted(aborted.to, aborted.begun);
        }

        // A stream that has just become free may have its next frame waiting.
        let freed = self.sender.in_flight() < before;
        if more || (freed && self.take_arrivals(now)) {
            NextRun::Again
        } else {
            next_run
        }
    }

    /// Publishes what the engine knows when that is due; when it is next.
    fn publish_status(&mut self, now: Time) -> Option<Time> {
        if self.status.take_due(now, &self.engine) {
            self.feed.publish_status(self.engine.status(now));
        }
        self.status.next()
    }

    /// Takes all that the table has for the engine.
    fn take_feed(&mut self, now: Time) {
        while let Some((origin, clock)) = self.feed.next_clock() {
            self.engine.on_source_clock(now, origin, clock);
        }

        while let Some((origin, verdicts)) = self.feed.next_verdicts() {
            self.engine.on_verdicts(now, origin, verdicts);
        }

        while let Some((stream, clients)) = self.feed.next_demand() {
            self.engine.on_clients(now, &stream, clients);
        }

        while let Some(said) = self.feed.next_detections() {
            self.engine.on_client_detections(now, said);
        }

        while let Some(report) = self.feed.next_viewer_report() {
            self.engine.on_viewer_report(now, report);
        }

        while let Some(order) = self.feed.next_order() {
            self.take_order(now, order);
        }

        self.handle_outputs(now);
        self.take_arrivals(now);
    }

    /// Who asked may have gone meanwhile: the order stands.
    fn take_order(&mut self, now: Time, order: ScreenOrder) {
        match order {
            ScreenOrder::Direct {
                screen,
                direction,
                answer,
            } => drop(answer.send(self.engine.direct(now, &screen, direction))),
            ScreenOrder::Notify {
                screen,
                notice,
                answer,
            } => drop(answer.send(self.engine.notify(now, &screen, notice))),
        }
    }

    /// Takes the frames that have come; whether there were any.
    fn take_arrivals(&mut self, now: Time) -> bool {
        let mut any = false;
        loop {
            let Self {
                engine,
                sender,
                feed,
                ..
            } = self;

            let busy = |stream: &_| engine.alias(stream).is_some_and(|alias| sender.busy(alias));
            let Some(arrival) = feed.next_arrival(busy) else {
                return any;
            };

            any = true;
            self.engine.on_arrival(now, &arrival);
            self.handle_outputs(now);
        }
    }

    fn handle_outputs(&mut self, now: Time) {
        while let Some(output) = self.engine.poll_output() {
            let wire = Captured {
                wire: &self.socket,
                capture: &self.capture,
                now,
            };

            match output {
                Output::Send { to, datagram } => self.sender.send(&wire, to, &datagram),
                Output::Transmit(transmit) => self.sender.start(now, transmit),
                Output::Retransmit(retransmit) => self.sender.retransmit(&wire, &retransmit),
                Output::Progress(progress) => self.sender.on_progress(&progress),
                Output::Isolate(route) => self.isolate(route),
                Output::Rejoin(route) => self.rejoin(now, route),
                Output::Feedback { origin, feedback } => self.pass_feedback(now, origin, feedback),
            }
        }
    }

    fn pass_feedback(&mut self, now: Time, origin: usize, feedback: FeedbackReport) {
        let queue = self.upstreams.queue(origin);
        let undelivered = queue.and_then(|queue| queue.put(feedback));
        if let Some(feedback) = undelivered {
            self.engine.on_feedback_undelivered(now, origin, feedback);
        }
    }

    /// Without a dedicated socket the viewer goes on using the shared one.
    fn isolate(&mut self, route: Route) {
        if let Err(error) = self.socket.isolate(route) {
            tracing::debug!(viewer = %route.remote, "no dedicated socket for a viewer: {error}");
        }
    }

    fn rejoin(&mut self, now: Time, route: Route) {
        let Self {
            engine,
            socket,
            buffers,
            ..
        } = self;

        socket.rejoin(route, buffers, |from, datagram| {
            engine.on_datagram(now, from, datagram);
        });
    }

    async fn say_goodbye(&mut self) {
        tracing::info!(viewers = self.engine.viewers(), "stopping");
        self.engine.shut_down();
        let until = clock::now() + GOODBYE_TIMEOUT;

        while let Some(output) = self.engine.poll_output() {
            let Output::Send { to, datagram } = output else {
                continue;
            };

            let buffer_full = self.sender.counts().buffer_full;
            self.sender.send(&self.socket, to, &datagram);
            let now = clock::now();

            if self.sender.counts().buffer_full > buffer_full && now < until {
                let room =
                    tokio::time::timeout(until.saturating_since(now), self.socket.writable());
                if room.await.is_ok() {
                    self.sender.send(&self.socket, to, &datagram);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
