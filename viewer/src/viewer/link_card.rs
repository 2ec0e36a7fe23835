//! The card of each link state: what is wrong in plain words, and what a person can do about it. The decoder's thread calls it.

use fanlight_proto::clock::Time;
use fanlight_proto::message::{NotShown, State};

use crate::engine::LinkState;
use crate::scene::Card;

const BY_ITSELF: &str = "The picture returns by itself.";

/// What the screen says in place of a picture that is missing since `since`; `relay` is the one that is asked.
#[must_use]
pub fn card(link_state: &LinkState, relay: &str, since: Time) -> Card {
    let (title, advice) = words(link_state);
    let reason = match link_state {
        LinkState::Connecting => format!("{link_state} at {relay}"),
        LinkState::Unreachable(_) => format!("{link_state} ({relay})"),
        _ => link_state.to_string(),
    };

    Card {
        title: title.to_owned(),
        reason,
        advice: advice.to_owned(),
        since,
    }
}

/// Title and advice.
const fn words(link_state: &LinkState) -> (&'static str, &'static str) {
    match link_state {
        LinkState::Connecting => (
            "Looking for the relay",
            "If this stays: is the relay running, and does the network reach it?",
        ),
        LinkState::Unreachable(_) => (
            "No way to the relay",
            "Look at the network cable, the relay's address and the firewall.",
        ),
        LinkState::OtherVersion => (
            "Relay of another version",
            "Install the same version of Fanlight on the relay and on this screen.",
        ),
        LinkState::NoStreams => (
            "No stream yet",
            "Start a source, and name it in the settings of the relay.",
        ),
        LinkState::NoSuchStream { .. } => (
            "No such stream",
            "Start the source of this stream, or choose another one by the arrow keys.",
        ),
        LinkState::OtherStream => ("Another stream came", BY_ITSELF),
        LinkState::NoKey(_) => (
            "The keys do not match",
            "Compare key_file and relay_key of this screen with the keys of the relay.",
        ),
        LinkState::Rejected(_) => (
            "The relay refuses",
            "Look at the address, the token and the certificate of the relay.",
        ),
        LinkState::Busy(_) => (
            "The relay is full",
            "It is asked again by itself. Its limit is max_viewers.",
        ),
        LinkState::Camera { state, .. } => camera_words(*state),
        LinkState::SourceGone => (
            "The source is gone",
            "Is the camera's computer on, and does its network reach the relay?",
        ),
        LinkState::NoFrames => (
            "No pictures come",
            "Look at the camera and the network. The picture returns by itself.",
        ),
        LinkState::NotShown(NotShown::Display) => (
            "The display takes no pictures",
            "Look at the graphics of this screen, or restart its viewer.",
        ),
        LinkState::NotShown(NotShown::Directed) => ("One moment", BY_ITSELF),
        LinkState::NotShown(_) => (
            "Pictures that cannot be shown",
            "Set the camera to ordinary (baseline) JPEG, or look for a damaged cable.",
        ),
        LinkState::Live => ("One moment", ""),
    }
}

const fn camera_words(state: State) -> (&'static str, &'static str) {
    match state {
        State::Idle | State::Opening | State::Live | State::Unspecified => {
            ("One moment", BY_ITSELF)
        }
        State::Stalled => (
            "The camera is silent",
            "Unplug the camera and plug it in again if this stays.",
        ),
        State::Unplugged => (
            "The camera is away",
            "Look at its plug, its power and its network. The picture returns by itself.",
        ),
        State::Busy => (
            "Another program has the camera",
            "Close the other program. The picture returns by itself.",
        ),
        State::WrongFormat => (
            "The camera lacks this format",
            "Set a size and a rate that the camera has: v4l2-ctl --list-formats-ext names them.",
        ),
        State::Failed => (
            "The camera fails",
            "Look at the log of the source, or unplug the camera and plug it in again.",
        ),
        State::Ended => ("The input has ended", "Start the source again."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn all() -> Vec<LinkState> {
        let camera = |state| LinkState::Camera {
            state,
            reason: "/dev/video0".into(),
        };

        vec![
            LinkState::Connecting,
            LinkState::Unreachable("no route".into()),
            LinkState::OtherVersion,
            LinkState::NoStreams,
            LinkState::NoSuchStream {
                wanted: "lobby".into(),
                others: "gate".into(),
            },
            LinkState::OtherStream,
            LinkState::NoKey("this viewer has no key"),
            LinkState::Rejected("HTTP 403".into()),
            LinkState::Busy(Duration::from_secs(1)),
            camera(State::Idle),
            camera(State::Stalled),
            camera(State::Unplugged),
            camera(State::Busy),
            camera(State::WrongFormat),
            camera(State::Failed),
            camera(State::Ended),
            LinkState::SourceGone,
            LinkState::NoFrames,
            LinkState::NotShown(NotShown::Display),
            LinkState::NotShown(NotShown::Damaged),
        ]
    }

    #[test]
    fn each_reason_has_a_card_of_its_own_that_says_what_to_do() {
        let cards = all();
        let cards = cards
            .iter()
            .map(|link_state| card(link_state, "10.0.0.1:5004", Time::default()));
        let cards: Vec<Card> = cards.collect();
        let titles: BTreeSet<_> = cards.iter().map(|card| &card.title).collect();
        assert_eq!(titles.len(), cards.len());
        for card in cards {
            assert!(
                !card.reason.is_empty() && card.advice.ends_with(['.', '?']),
                "{card:?}"
            );
        }
    }

    #[test]
    fn a_relay_that_does_not_answer_is_named() {
        for link_state in [&all()[0], &all()[1]] {
            let card = card(link_state, "10.0.0.1:5004", Time::default());
            assert!(card.reason.contains("10.0.0.1:5004"), "{card:?}");
        }
    }
}
