//! What trackers of clients found, on its way from the output that serves them to the engine, which tells the source. Plain
//! data. UDP viewers tell the engine itself.

use std::net::SocketAddr;

use fanlight_proto::message::{Detections, Report, ScreenReport, StreamName};

/// Reports that wait for the engine. When there are more the oldest are lost, as on a network.
pub(crate) const MAX_WAITING: usize = 256;

/// What one client tells.
#[derive(Clone, Debug)]
pub struct ClientDetections {
    /// Names the client: [`ClientHandle::number`](crate::ClientHandle::number).
    pub client: u64,
    /// What its operator calls it.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// What it watches.
    pub stream: StreamName,
    /// What it was sent, and showed.
    pub report: Report,
    /// What it found since it told last.
    pub detections: Detections,
    /// It says itself how right its ages are. If not they are by the relay's clock, and the engine says how right that is.
    pub knows_clocks: bool,
    /// What it says of the screen that it is, when it takes directions.
    pub screen: Option<ScreenReport>,
    /// It has gone.
    pub left: bool,
}
