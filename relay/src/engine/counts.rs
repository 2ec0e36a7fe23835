//! What happened in the engine, counted.

/// What happened. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames with a picture that came from sources and were not superseded.
    pub frames: u64,
    /// Frames that gave way to newer ones before they could be sent.
    pub superseded: u64,
    /// Frames given to the fan-out.
    pub frames_sent: u64,
    /// Arrivals that were not used: a stream too many, or a name that another source has.
    pub refused_frames: u64,
    /// Datagrams that are not ours or break a bound. Nothing is sent for them.
    pub malformed: u64,
    /// Challenges sent.
    pub challenges: u64,
    /// Sessions opened.
    pub joins: u64,
    /// Handshakes that gave a session another channel.
    pub renewals: u64,
    /// Joins answered by a refusal.
    pub refusals: u64,
    /// Sessions ended by silence.
    pub expired: u64,
    /// Datagrams of sessions that do not exist.
    pub unknown_sessions: u64,
    /// Of those, how many were answered by RESET.
    pub resets: u64,
    /// Shards that viewers asked for again, of frames that the relay has.
    pub repairs_asked: u64,
    /// Shards sent again.
    pub repairs_sent: u64,
    /// Handshakes that came to nothing: a wrong key, none, or one that is not known.
    pub handshakes_refused: u64,
    /// Messages of sealed sessions that were not sealed, or not by the viewer.
    pub unauthentic: u64,
    /// Keep-alives that claimed a sequence which was never sent.
    pub unsent_sequences: u64,
    /// Frames left out for one viewer that has gone, for the sake of what its way could take; see [`Engine::skipped`](super::Engine::skipped).
    pub skipped: u64,
    /// Frames of which one viewer got a part only.
    pub aborted: u64,
    /// Viewers that were given a socket of their own because they had fallen behind.
    pub isolated: u64,
    /// Sessions ended because their key is known no more.
    pub revoked: u64,
    /// Sessions ended because others had less than an equal share of a full relay.
    pub evicted: u64,
    /// Keys that followed another.
    pub keys_rotated: u64,
    /// Viewers that were taken out of their group, because it did not serve them well.
    pub left_groups: u64,
    /// Directions that this relay gave to screens.
    pub directions: u64,
    /// Reports of screens that were not taken: too many, of too many screens or sessions, or of viewers without a name.
    pub dropped_screen_reports: u64,
    /// Reports of screens that claim to show a frame which the relay has not had.
    pub unproved_screen_frames: u64,
    /// What viewers have found, as far as it came.
    pub detections: u64,
    /// Feedback reports made for sources.
    pub feedback: u64,
}
