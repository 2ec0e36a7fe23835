//! `GET /metrics`: what happened so far and what is, for Prometheus, as OpenMetrics text.
//!
//! Names follow Prometheus' conventions. Nobody can make the answer grow: streams are bounded, and what their names are
//! too many for is counted under [`OTHER`](fanlight_live::OTHER). No label is an address or a viewer's name.

mod udp;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fanlight_daemon::usage::{self, Usage};
use fanlight_daemon::{clock, usage::Meter};
use fanlight_live::{
    Client, ClientTotals, EngineStatus, ListedStream, OutputKind, ScreenState, SourceEntry, Traffic,
};
use fanlight_proto::clock::Time;
use fanlight_proto::message::NotShown;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};

use super::api_error::ApiError;
use super::{AppState, MJPEG, SNAPSHOT, TCP, WS};
use udp::UdpTotals;
use writer::Writer;

/// Those whose clients are shown also while there are none.
const KINDS: [OutputKind; 4] = [WS, TCP, MJPEG, SNAPSHOT];

/// Viewers over UDP.
const UDP: OutputKind = OutputKind("udp");

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is remembered between two looks.
#[derive(Debug)]
pub(super) struct Metrics {
    udp: Mutex<UdpTotals>,
    meter: Mutex<Meter>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            udp: Mutex::default(),
            meter: Mutex::new(Meter::new()),
        }
    }
}

/// Adds up what viewers report, who may have left before anybody asks. Runs for ever.
pub(super) async fn follow(app: Arc<AppState>) {
    let mut changes = app.table().watch_status();
    while changes.changed().await.is_ok() {
        let status = Arc::clone(&changes.borrow_and_update());
        app.metrics.udp.lock().note(&status);
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<AppState>>) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot::take(&app, clock::now())));
    let mut body = String::new();

    match text::encode(&mut body, &registry) {
        Ok(()) => (
            [
                (header::CONTENT_TYPE, CONTENT_TYPE),
                (header::CACHE_CONTROL, "no-store"),
            ],
            body,
        )
            .into_response(),
        Err(error) => {
            let message = format!("the figures cannot be written: {error}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "broken", message).into_response()
        }
    }
}

/// All that is told, as it was at one moment.
#[derive(Debug)]
struct Snapshot {
    at: Time,
    status: Arc<EngineStatus>,
    streams: Vec<ListedStream>,
    traffic: Vec<(String, Traffic)>,
    clients: Vec<(String, OutputKind, ClientTotals)>,
    sources: Vec<SourceEntry>,
    watching: Vec<Client>,
    udp: Vec<(String, udp::Totals)>,
    usage: Usage,
    processor: Duration,
    descriptors: Option<u64>,
    refused: Vec<(&'static str, u64)>,
    client_memory: usize,
    outputs: BTreeMap<&'static str, Option<String>>,
}

impl Snapshot {
    fn take(app: &AppState, now: Time) -> Self {
        let table = app.table();
        let status = table.status();
        let mut udp = app.metrics.udp.lock();
        udp.note(&status);
        let clients = table.clients().totals().into_iter();
        Self {
            at: now,
            sources: table.sources().all(now),
            streams: table.list(now),
            traffic: table.traffic(),
            clients: clients
                .map(|(name, kind, totals)| (name.to_string(), kind, totals))
                .collect(),
            watching: table.clients().all(now),
            udp: udp.totals(),
            usage: app.metrics.meter.lock().sample(now),
            processor: usage::processor_time(),
            descriptors: usage::open_descriptors(),
            client_memory: table.client_memory().bytes(),
            outputs: table.output_problems(),
            refused: status.refusals.sum_with(table.refusals()).collect(),
            status,
        }
    }

    fn streams(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        let by_name = |listed: &ListedStream| [("stream", listed.entry.name.to_string())];
        writer.gauges(
            "fanlight_relay_stream_up",
            "Whether the source of a stream is heard: 1 or 0",
            None,
            self.streams.iter().map(|listed| {
                (
                    by_name(listed),
                    f64::from(u8::from(!listed.entry.source_gone)),
                )
            }),
        )?;

        writer.gauges(
            "fanlight_relay_stream_rate_hertz",
            "Pictures of a stream that came in the last second",
            None,
            self.streams
                .iter()
                .map(|listed| (by_name(listed), listed.fps)),
        )?;

        let stream = |name: &String| [("stream", name.clone())];
        writer.counters(
            "fanlight_relay_received_frames",
            "Frames that came from sources",
            None,
            self.traffic
                .iter()
                .map(|(name, traffic)| (stream(name), traffic.frames)),
        )?;

        writer.counters(
            "fanlight_relay_received",
            "Bytes of the pictures that came from sources",
            Some(&Unit::Bytes),
            self.traffic
                .iter()
                .map(|(name, traffic)| (stream(name), traffic.bytes)),
        )?;

        self.stages(writer)
    }

    fn stages(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        let stages = self.traffic.iter().flat_map(|(name, traffic)| {
            let of = |stage: &'static str, ages| {
                (
                    [("stream", name.clone()), ("stage", stage.to_owned())],
                    ages,
                )
            };

            [
                of("capture_to_published", traffic.prepared),
                of("published_to_relay", traffic.transit),
            ]
        });

        writer.histograms(
            "fanlight_relay_stage",
            "How long frames took for each stage of their way to the relay",
            stages,
        )
    }

    fn viewers(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        let watching = |stream: &ListedStream, kind: OutputKind| {
            let name = &stream.entry.name;
            let of_kind = self.watching.iter().filter(|client| client.kind == kind);
            of_kind.filter(|client| client.stream == *name).count()
        };

        let now = self.streams.iter().flat_map(|stream| {
            let name = stream.entry.name.as_str();
            let udp = (labels(name, UDP), f64::from(stream.entry.viewers));
            let http = KINDS.map(|kind| (labels(name, kind), watching(stream, kind) as f64));
            [udp].into_iter().chain(http)
        });

        writer.gauges(
            "fanlight_relay_viewers",
            "Who watches a stream now",
            None,
            now,
        )?;
        writer.gauges(
            "fanlight_relay_blind_screens",
            "Screens that say that frames come and are not shown",
            None,
            self.blind_screens(),
        )?;

        writer.counters(
            "fanlight_relay_delivered_frames",
            "Frames that viewers say they showed (udp), or that were handed to their sockets",
            None,
            self.totals(|udp| udp.frames, |http| http.frames),
        )?;

        writer.counters(
            "fanlight_relay_delivered",
            "Bytes that viewers say came (udp), or of the pictures that were handed to their sockets",
            Some(&Unit::Bytes),
            self.totals(|udp| udp.bytes, |http| http.bytes),
        )?;

        self.losses(writer)?;
        writer.histograms(
            "fanlight_relay_frame_age",
            "Age since capture: when shown, a viewer's median once a second (udp), or when handed to the socket",
            self.totals(|udp| udp.ages, |http| http.ages),
        )
    }

    /// One figure of what all viewers of a stream got, over UDP and by each kind of client.
    fn totals<T>(
        &self,
        of_udp: impl Fn(&udp::Totals) -> T,
        of_http: impl Fn(&ClientTotals) -> T,
    ) -> impl Iterator<Item = ([(&'static str, String); 2], T)> {
        let udp = self.udp.iter();
        let udp = udp.map(move |(name, totals)| (labels(name, UDP), of_udp(totals)));
        let http = self.clients.iter();
        udp.chain(http.map(move |(name, kind, totals)| (labels(name, *kind), of_http(totals))))
    }

    fn blind_screens(&self) -> impl Iterator<Item = ([(&'static str, String); 2], f64)> {
        self.streams.iter().flat_map(|stream| {
            let name = &stream.entry.name;
            let udp = self.status.viewers.iter();
            let udp = udp.filter(|viewer| viewer.stream == *name);
            let sees = [NotShown::Unspecified, NotShown::Directed];
            let udp = udp.filter(|viewer| !sees.contains(&viewer.report.not_shown()));
            let blind = |kind: OutputKind| {
                let clients = self.watching.iter().filter(|client| client.kind == kind);
                let clients = clients.filter(|client| client.stream == *name);
                let is_blind =
                    |client: &&Client| client.not_shown(self.at) != NotShown::Unspecified;
                clients.filter(is_blind).count()
            };

            [(UDP, udp.count()), (WS, blind(WS)), (TCP, blind(TCP))]
                .map(|(kind, count)| (labels(name.as_str(), kind), count as f64))
        })
    }

    fn losses(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        let labels = |stream: &str, kind: OutputKind, reason: &str| {
            let [stream, kind] = labels(stream, kind);
            [stream, kind, ("reason", reason.to_owned())]
        };

        let udp = self.udp.iter().flat_map(|(name, totals)| {
            let lost = totals.lost().into_iter();
            lost.map(move |(reason, count)| (labels(name, UDP, reason), count))
        });

        let http = self.clients.iter();
        let http =
            http.map(|(name, kind, totals)| (labels(name, *kind, "skipped"), totals.skipped));
        writer.counters(
            "fanlight_relay_lost_frames",
            "Frames of a stream that viewers of it did not get, by the reason",
            None,
            udp.chain(http),
        )
    }

    fn sources(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        let number = |source: &SourceEntry| [("source", (source.origin + 1).to_string())];
        let heard = |source: &SourceEntry| f64::from(u8::from(!source.is_away()));
        writer.gauges(
            "fanlight_relay_source_up",
            "Whether a source is heard, by its place in the settings: 1 or 0",
            None,
            self.sources
                .iter()
                .map(|source| (number(source), heard(source))),
        )?;

        let refused = |source: &SourceEntry| source.refused.len() as f64;
        writer.gauges(
            "fanlight_relay_output_up",
            "Whether an output has the peer that it needs, such as a broker: 1 or 0",
            None,
            self.outputs.iter().map(|(name, problem)| {
                let labels = [("output", (*name).to_owned())];
                (labels, f64::from(u8::from(problem.is_none())))
            }),
        )?;

        writer.gauges(
            "fanlight_relay_source_refused_streams",
            "Streams of a source that are not taken, because another source has the name or there is no room",
            None,
            self.sources.iter().map(|source| (number(source), refused(source))),
        )
    }

    fn refusals(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        writer.counters(
            "fanlight_relay_refusals",
            "What clients and viewers asked for and did not get, by what they wanted",
            None,
            self.refused
                .iter()
                .map(|(resource, count)| ([("resource", (*resource).to_owned())], *count)),
        )
    }

    fn screens(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        let count = |state: ScreenState| {
            let screens = self.status.screens.iter();
            let count = screens.filter(|screen| screen.state == state).count();
            ([("state", state.word().to_owned())], count as f64)
        };
        writer.gauges(
            "fanlight_relay_screens",
            "Screens that take directions, by how they stand to the newest",
            None,
            ScreenState::ALL.into_iter().map(count),
        )
    }

    fn process(&self, writer: &mut Writer<'_, '_>) -> std::fmt::Result {
        writer.info(
            "fanlight_relay_build",
            "The version of the relay",
            [("version", env!("CARGO_PKG_VERSION"))],
        )?;

        writer.gauge(
            "fanlight_relay_streams",
            "Streams that the relay has",
            self.status.streams.len() as f64,
        )?;

        writer.gauge(
            "fanlight_relay_dedicated_sockets",
            "UDP viewers that have a socket of their own",
            self.status.dedicated_sockets as f64,
        )?;

        writer.counter_seconds(
            "process_cpu",
            "Processor time, user and system",
            self.processor,
        )?;

        let resident = self.usage.resident_bytes as f64;
        writer.gauge("process_resident_memory_bytes", "Memory in RAM", resident)?;
        writer.gauge(
            "process_uptime_seconds",
            "Since the process began",
            self.usage.uptime.as_secs_f64(),
        )?;

        match self.descriptors {
            Some(count) => writer.gauge("process_open_fds", "Open files and sockets", count as f64),
            None => Ok(()),
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut writer = Writer::new(&mut encoder);
        self.streams(&mut writer)?;
        self.sources(&mut writer)?;
        self.viewers(&mut writer)?;

        for counter in &self.status.counters {
            let name = format!("fanlight_relay_{}", counter.name);
            writer.counter(&name, counter.help, counter.value)?;
        }

        self.refusals(&mut writer)?;
        self.screens(&mut writer)?;
        writer.gauge(
            "fanlight_relay_client_memory_bytes",
            "Memory that clients are charged for while frames are on their way to them",
            self.client_memory as f64,
        )?;

        self.process(&mut writer)
    }
}

fn labels(stream: &str, kind: OutputKind) -> [(&'static str, String); 2] {
    [("stream", stream.to_owned()), ("kind", kind.0.to_owned())]
}
