//! Counts the frames that one path would make whole by itself, whatever other paths bring. The engine calls it for each
//! datagram of media, on the thread of its socket.

use fanlight_proto::datagram::DataHeader;
use fanlight_proto::message::FrameId;

/// The count of the frame whose datagrams come at present. Frames are sent one after another: of one that others
/// interrupt it counts the longest run.
#[derive(Debug, Default)]
pub(super) struct FrameTally {
    id: Option<FrameId>,
    came: u16,
}

impl FrameTally {
    /// Takes a datagram; whether as many of its frame have come now as the frame has shards: with parity any will do.
    pub(super) fn note(&mut self, header: &DataHeader) -> bool {
        if self.id != Some(header.id) {
            self.id = Some(header.id);
            self.came = 0;
        }

        self.came = self.came.saturating_add(1);
        self.came == header.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_once_when_as_many_datagrams_came_as_it_has_shards() {
        let mut tally = FrameTally::default();
        let mut note = |number| {
            tally.note(&DataHeader {
                id: FrameId { epoch: 1, number },
                shards: 3,
                ..DataHeader::default()
            })
        };

        let whole = [1, 1, 1, 1, 2, 2, 3, 3, 3].map(&mut note);
        let expected = [false, false, true, false, false, false, false, false, true];
        assert_eq!(whole, expected);
    }
}
