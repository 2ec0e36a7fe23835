//! The relay's live streams: where its inputs leave frames, and where its outputs take them.
//!
//! Upstream threads write to a [`StreamTable`], which keeps the newest frame of each stream. The UDP event loop reads
//! it through an [`EngineFeed`]; every other output is an [`Output`] whose clients are [`FrameSubscription`]s. The
//! registry of these clients and the counters of all traffic are here too, so that each output can show and count
//! them alike. Nobody waits for anybody: locks are held for a few moves of pointers.

#![forbid(unsafe_code)]

pub mod access;
mod client_detections;
mod clients;
mod clocks;
mod downstream;
pub mod events;
mod feed;
mod frame;
pub mod ledger;
pub mod listener;
mod output;
mod output_waker;
mod rate_meter;
mod screens;
mod slot;
mod sources;
mod status;
mod subscription;
mod table;
mod throttle;
pub mod tls;
mod traffic;
pub mod whep;

pub use client_detections::ClientDetections;
pub use clients::{Client, ClientHandle, ClientTotals, Clients, OutputKind, ScreenReport, Sent};
pub use clocks::Clocks;
pub use downstream::Downstream;
pub use feed::EngineFeed;
pub use frame::{Arrival, LiveFrame};
pub use output::{Output, OutputServer, start_thread};
pub use rate_meter::RateMeter;
pub use screens::{OrderError, ScreenEntry, ScreenOrder, ScreenState, ShownFrame};
pub use slot::Refused;
pub use sources::{ControlOrder, Problem, SourceEntry, Sources};
pub use status::{Counter, EngineStatus, ListedStream, StreamEntry, ViewerEntry};
pub use subscription::{FrameSubscription, MAX_CREDIT, Subscribe};
pub use table::StreamTable;
pub use throttle::Throttle;
pub use traffic::{AGE_EDGES_MS, Ages, OTHER, Traffic};
