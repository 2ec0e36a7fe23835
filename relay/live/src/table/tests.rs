use std::pin::pin;
use std::task::{Context, Waker};

use fanlight_proto::message::{Format, FrameBuffer, FrameId, State, parse_frame};
use fanlight_proto::route::Route;
use tokio::sync::Notify;

use super::*;
use crate::ledger::Resource;
use crate::{Arrival, EngineFeed, FrameSubscription, MAX_CREDIT, Output, OutputKind, Subscribe};

const STALE: Duration = Duration::from_millis(1_500);

fn at(millis: u64) -> Time {
    Time::from_nanos((1_000 + millis) * 1_000_000)
}

fn header(stream: &str, epoch: u64, number: u64) -> FrameHeader {
    FrameHeader {
        stream: stream.into(),
        epoch,
        number,
        state: State::Live as i32,
        ..FrameHeader::default()
    }
}

/// A message of a source: with a picture or, when `jpeg` is empty, without one.
fn message(header: FrameHeader, jpeg: &[u8]) -> (CheckedFrame, Bytes) {
    let topic = format!("{}/", header.stream);
    let body = FrameBuffer::copy_of(jpeg).finish(header);
    let frame = parse_frame(topic.as_bytes(), body.clone(), 1_000_000).unwrap();
    (frame, body)
}

fn picture(stream: &str, epoch: u64, number: u64) -> (CheckedFrame, Bytes) {
    let header = FrameHeader {
        width: 2,
        height: 1,
        format: Format::Jpeg as i32,
        canary: if stream == "cam" {
            "cam.canary".to_owned()
        } else {
            String::new()
        },
        ..header(stream, epoch, number)
    };

    message(header, &[0xff, 0xd8, 0xff, 0xd9])
}

fn heartbeat(stream: &str, epoch: u64, number: u64) -> (CheckedFrame, Bytes) {
    message(header(stream, epoch, number), &[])
}

/// A picture of the first source.
pub(crate) fn live(stream: &str, epoch: u64, number: u64, received: Time) -> LiveFrame {
    let (frame, body) = picture(stream, epoch, number);
    LiveFrame::new(0, frame, body, received)
}

/// A table with the engine's feed, and another output.
struct Rig {
    table: Arc<StreamTable>,
    feed: EngineFeed,
    output: Output,
}

impl Rig {
    fn new() -> Self {
        let table = StreamTable::new(STALE);
        Self {
            feed: EngineFeed::new(Arc::clone(&table)),
            output: Output::new(Arc::clone(&table)),
            table,
        }
    }

    fn put(&self, (frame, body): (CheckedFrame, Bytes)) {
        self.table.publish(0, frame, body, at(0)).unwrap();
    }

    fn put_at(&self, millis: u64, stream: &str, number: u64) {
        let (frame, body) = picture(stream, 1, number);
        self.table.publish(0, frame, body, at(millis)).unwrap();
    }

    fn take(&mut self) -> Option<Arrival> {
        let arrival = self.feed.next_arrival(|_| false)?;
        Some(arrival)
    }

    /// Takes all that the engine has not seen.
    fn take_all(&mut self) {
        while self.take().is_some() {}
    }

    fn watch(&mut self, stream: &str) {
        self.take_all();
        self.feed.set_watched(|name| name.as_str() == stream);
        self.engine_is_woken();
    }

    /// Whether the engine was woken since this was asked last.
    fn engine_is_woken(&self) -> bool {
        is_ready(self.feed.changed())
    }

    fn subscribe(&self, stream: &str, options: Subscribe) -> FrameSubscription {
        let stream = stream.parse().unwrap();
        self.output
            .subscribe(&stream, options)
            .expect("the stream is there")
    }

    fn status(&self, at: Time, streams: &[(&str, bool)]) {
        let entry = |(name, source_gone): &(&str, bool)| StreamEntry {
            clock: None,
            name: name.parse().unwrap(),
            size: (2, 1),
            rate_millihertz: 0,
            state: State::Live,
            reason: String::new(),
            source_gone: *source_gone,
            epoch: 1,
            newest: 0,
            origin: 0,
            viewers: 0,
            clients: 0,
        };

        self.feed.publish_status(EngineStatus {
            at,
            streams: streams.iter().map(entry).collect(),
            ..EngineStatus::default()
        });
    }
}

fn is_ready(future: impl Future) -> bool {
    pin!(future)
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

fn number(arrival: &Arrival) -> u64 {
    arrival.frame.id.number
}

mod engine {
    use super::*;

    #[test]
    fn a_frame_over_a_quarter_of_its_streams_share_of_the_memory_is_not_taken() {
        let rig = Rig::new();
        let (frame, body) = picture("cam", 1, 1);
        let quarter = body.len();
        rig.table.set_stream_memory(4 * quarter);
        rig.table.publish(0, frame, body, at(0)).unwrap();

        let (frame, body) = picture("cam", 1, 2);
        rig.table.set_stream_memory(4 * quarter - 4);
        let refused = rig.table.publish(0, frame, body, at(0)).unwrap_err();
        let bytes = quarter;
        let limit = quarter - 1;
        assert_eq!(refused, Refused::TooLarge { bytes, limit });
        assert!(refused.to_string().contains("memory_budget"));

        let (frame, body) = picture("eye", 1, 1);
        rig.table.set_stream_memory(8 * body.len() - 8);
        let refused = rig.table.publish(1, frame, body, at(0));
        assert!(refused.is_err() && !rig.table.has(&"eye".parse().unwrap()));
    }

    #[test]
    fn the_newest_picture_waits_and_knows_how_many_it_superseded() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.watch("cam");

        for n in 6..10 {
            rig.put(picture("cam", 1, n));
        }

        let taken = rig.take().unwrap();
        assert_eq!(
            (number(&taken), taken.superseded, taken.unwatched),
            (9, 3, 0)
        );

        assert!(rig.take().is_none());
    }

    #[test]
    fn what_passed_while_nobody_watched_is_nobodys_loss() {
        let mut rig = Rig::new();
        for n in 5..8 {
            rig.put(picture("cam", 1, n));
        }

        let taken = rig.take().unwrap();
        assert_eq!(
            (number(&taken), taken.superseded, taken.unwatched),
            (7, 0, 2)
        );

        for n in 8..11 {
            rig.put(picture("cam", 1, n));
        }

        rig.feed.set_watched(|_| true);
        rig.put(picture("cam", 1, 11));
        let taken = rig.take().unwrap();
        assert_eq!(
            (number(&taken), taken.superseded, taken.unwatched),
            (11, 1, 2)
        );
    }

    #[test]
    fn pictures_that_came_too_late_are_counted_with_the_next_one() {
        let mut rig = Rig::new();
        rig.put(heartbeat("cam", 1, 4));
        rig.watch("cam");

        for n in 5..8 {
            rig.table.skip(0, &picture("cam", 1, n).0);
        }

        assert!(rig.take().is_none());

        rig.put(picture("cam", 1, 8));
        rig.put(picture("cam", 1, 9));
        assert_eq!(rig.take().unwrap().superseded, 4);
        rig.put(picture("cam", 1, 10));
        assert_eq!(rig.take().unwrap().superseded, 0);
    }

    #[test]
    fn a_heartbeat_does_not_displace_a_picture() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.put(heartbeat("cam", 1, 5));
        assert!(rig.take().unwrap().frame.is_picture());
        assert!(!rig.take().unwrap().frame.is_picture());
        assert!(rig.take().is_none());
    }

    #[test]
    fn a_busy_stream_keeps_its_picture_waiting_but_not_its_heartbeat_nor_others() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.put(heartbeat("cam", 1, 5));
        rig.put(picture("two", 1, 9));

        let busy = |stream: &StreamName| stream.as_str() == "cam";
        assert!(!rig.feed.next_arrival(busy).unwrap().frame.is_picture());
        assert_eq!(
            rig.feed.next_arrival(busy).unwrap().frame.stream.as_str(),
            "two"
        );

        assert!(rig.feed.next_arrival(busy).is_none());
        assert_eq!(number(&rig.take().unwrap()), 5);
    }

    #[test]
    fn frames_of_a_former_epoch_are_not_counted_as_superseded() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 4));
        rig.watch("cam");
        rig.put(picture("cam", 1, 5));
        rig.put(picture("cam", 2, 0));
        assert_eq!(rig.take().unwrap().superseded, 0);
    }

    #[test]
    fn only_frames_of_watched_streams_wake_the_engine() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        assert!(rig.engine_is_woken(), "a stream has come");
        rig.put(picture("two", 1, 5));
        rig.watch("two");

        rig.put(picture("cam", 1, 6));
        rig.put(heartbeat("cam", 1, 6));
        assert!(!rig.engine_is_woken());
        assert_eq!(
            number(&rig.take().unwrap()),
            6,
            "it is there when the engine looks"
        );

        rig.put(picture("two", 1, 6));
        assert!(rig.engine_is_woken());
        rig.feed.set_watched(|_| false);
        rig.put(picture("two", 1, 7));
        assert!(!rig.engine_is_woken());
    }

    #[test]
    fn a_stream_in_another_state_or_back_after_silence_wakes_the_engine() {
        let mut rig = Rig::new();
        rig.put(heartbeat("cam", 1, 5));
        assert!(rig.engine_is_woken());
        rig.take_all();

        let unplugged = FrameHeader {
            state: State::Unplugged as i32,
            ..header("cam", 1, 5)
        };

        rig.put(message(unplugged.clone(), &[]));
        assert!(rig.engine_is_woken());
        rig.put(message(unplugged.clone(), &[]));
        assert!(!rig.engine_is_woken());
        let reason = "no cable".to_owned();
        rig.put(message(
            FrameHeader {
                reason,
                ..unplugged.clone()
            },
            &[],
        ));

        assert!(rig.engine_is_woken());

        let (frame, body) = message(
            FrameHeader {
                reason: "no cable".to_owned(),
                ..unplugged
            },
            &[],
        );

        rig.table.publish(0, frame, body, at(600)).unwrap();
        assert!(rig.engine_is_woken());
    }

    #[test]
    fn clocks_and_verdicts_wake_the_engine_only_while_there_are_viewers() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.engine_is_woken();
        rig.table.put_clock(3, SourceClock::default());
        rig.table.put_verdicts(3, Vec::new());
        assert!(!rig.engine_is_woken());
        assert_eq!(rig.feed.next_clock(), Some((3, SourceClock::default())));
        assert_eq!(rig.feed.next_verdicts(), Some((3, Vec::new())));
        assert_eq!(rig.feed.next_clock(), None);

        rig.watch("cam");
        rig.table.put_clock(3, SourceClock::default());
        assert!(rig.engine_is_woken());
    }

    #[test]
    fn another_source_gets_a_stream_only_when_its_own_is_silent() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        let publish = |rig: &Rig, millis| {
            let (frame, body) = picture("cam", 9, 1);
            rig.table.publish(1, frame, body, at(millis))
        };

        assert_eq!(publish(&rig, 1_400), Err(Refused::Taken(0)));
        rig.take_all();
        rig.engine_is_woken();

        assert_eq!(publish(&rig, 1_500), Ok(()));
        assert!(rig.engine_is_woken());
        assert_eq!(rig.take().unwrap().frame.origin, 1);
    }

    /// What source `origin`, a relay, brings at `millis`, and which picture is the newest then.
    fn relayed(rig: &Rig, origin: usize, millis: u64, epoch: u64, n: u64) -> Result<u64, Refused> {
        let (mut frame, body) = picture("cam", epoch, n);
        frame.route = Route {
            hops: 1,
            first: origin as u64,
        };
        rig.table.publish(origin, frame, body, at(millis))?;
        Ok(rig.table.newest(&"cam".parse().unwrap()).unwrap().id.number)
    }

    #[test]
    fn of_two_relays_with_the_same_run_of_a_stream_each_picture_is_taken_from_the_first() {
        let mut rig = Rig::new();
        rig.table.sources().add(0, "ipc:///a".into());
        rig.table.sources().add(1, "ipc:///b".into());
        assert_eq!(relayed(&rig, 0, 0, 1, 5), Ok(5));
        rig.watch("cam");
        assert_eq!(relayed(&rig, 1, 1, 1, 5), Ok(5));
        assert!(rig.take().is_none());
        assert_eq!(relayed(&rig, 1, 30, 1, 6), Ok(6));
        assert_eq!(rig.take().unwrap().frame.origin, 0, "it stays that one's");
        assert_eq!(relayed(&rig, 0, 31, 1, 6), Ok(6));
        let spare = |now| rig.table.sources().all(at(now))[1].spare.len();
        assert_eq!((spare(31), spare(5_000)), (1, 0));

        assert_eq!(relayed(&rig, 1, 60, 2, 0), Err(Refused::Taken(0)));
        assert_eq!(relayed(&rig, 1, 900, 1, 7), Ok(7));
        assert_eq!(relayed(&rig, 1, 1_100, 1, 8), Ok(8));
        rig.take_all();
        assert_eq!(relayed(&rig, 1, 31 + 1_500, 1, 9), Ok(9));
        assert_eq!(
            rig.take().unwrap().frame.origin,
            1,
            "the other is long silent"
        );
    }

    #[test]
    fn of_two_relays_with_the_heartbeats_of_a_camera_that_sleeps_neither_is_refused() {
        let rig = Rig::new();
        for origin in [0, 1, 0, 1] {
            let (mut frame, body) = heartbeat("cam", 1, 0);
            frame.route.hops = 1;
            assert_eq!(rig.table.publish(origin, frame, body, at(1)), Ok(()));
        }
        assert_eq!(relayed(&rig, 1, 2, 1, 1), Ok(1));
    }

    #[test]
    fn a_stream_that_is_heard_directly_is_shared_with_no_relay() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        assert_eq!(relayed(&rig, 1, 1, 1, 6), Err(Refused::Taken(0)));
    }

    #[test]
    fn more_streams_than_the_relay_carries_are_refused_until_one_is_silent() {
        let mut rig = Rig::new();
        for n in 0..MAX_STREAMS {
            rig.put(heartbeat(&format!("s{n}"), 1, 0));
        }

        let publish = |rig: &Rig, millis| {
            let (frame, body) = heartbeat("one-more", 1, 0);
            rig.table.publish(0, frame, body, at(millis))
        };

        assert_eq!(publish(&rig, 1_000), Err(Refused::TooMany));
        rig.take_all();

        assert_eq!(publish(&rig, 1_500), Ok(()));
        assert_eq!(rig.table.slots().len(), MAX_STREAMS);
        assert_eq!(rig.take().unwrap().frame.stream.as_str(), "one-more");
    }

    /// The one copy of a picture in this process beside reading it is the cut into datagrams, which reads from the body
    /// that the engine takes.
    #[test]
    fn the_engine_gets_the_picture_where_it_was_read() {
        let mut rig = Rig::new();
        let (frame, body) = picture("cam", 1, 5);
        rig.put((frame, body.clone()));
        let frame = rig.take().unwrap().frame;
        assert_eq!(frame.body.as_ptr_range(), body.as_ptr_range());
        assert_eq!(frame.jpeg.as_ptr_range().end, body.as_ptr_range().end);
    }
}

mod clients {
    use super::*;

    #[test]
    fn the_newest_frame_is_due_at_once_and_the_next_when_it_comes() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        let mut client = rig.subscribe("cam", Subscribe::default());
        let first = client.try_next(at(0)).unwrap();
        assert_eq!((number(&first), first.skipped, first.superseded), (5, 0, 0));
        assert!(client.try_next(at(1)).is_none(), "it has that one");

        for n in [7, 8, 9] {
            rig.put(picture("cam", 1, n));
        }

        let next = client.try_next(at(2)).unwrap();
        assert_eq!((number(&next), next.skipped, next.superseded), (9, 3, 2));
    }

    #[test]
    fn frames_of_another_epoch_were_not_skipped() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        let mut client = rig.subscribe("cam", Subscribe::default());
        client.try_next(at(0)).unwrap();
        rig.put(picture("cam", 2, 9));
        let next = client.try_next(at(1)).unwrap();
        assert_eq!((number(&next), next.skipped), (9, 0));
    }

    #[test]
    fn only_newer_pictures_are_given() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        let mut client = rig.subscribe("cam", Subscribe::default());
        client.try_next(at(0)).unwrap();
        rig.put(picture("cam", 1, 4));
        assert!(client.try_next(at(1)).is_none());
        rig.put(picture("cam", 1, 6));
        assert_eq!(number(&client.try_next(at(2)).unwrap()), 6);
        rig.put(picture("cam", 2, 0));
        assert_eq!(
            number(&client.try_next(at(3)).unwrap()),
            0,
            "its source has restarted"
        );
    }

    #[test]
    fn each_frame_takes_credit_and_the_newest_goes() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        let options = Subscribe {
            credit: Some(1),
            ..Subscribe::default()
        };

        let mut client = rig.subscribe("cam", options);
        assert_eq!(number(&client.try_next(at(0)).unwrap()), 5);
        assert!(!client.awaits_credit(), "there is no newer frame");
        rig.put(picture("cam", 1, 6));
        rig.put(picture("cam", 1, 7));
        assert!(client.try_next(at(1)).is_none() && client.deadline().is_none());
        assert!(client.awaits_credit());

        client.add_credit();
        assert!(!client.awaits_credit());
        let next = client.try_next(at(2)).unwrap();
        assert_eq!((number(&next), next.skipped), (7, 1));
    }

    #[test]
    fn credit_is_not_saved_up_without_end() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 0));
        let options = Subscribe {
            credit: Some(1),
            ..Subscribe::default()
        };

        let mut client = rig.subscribe("cam", options);
        (0..100).for_each(|_| client.add_credit());
        let sent = (1..100).filter(|n| {
            rig.put(picture("cam", 1, *n));
            client.try_next(at(*n)).is_some()
        });

        assert_eq!(sent.count(), MAX_CREDIT as usize);
    }

    #[test]
    fn with_a_rate_a_frame_goes_when_it_is_due_also_when_no_other_comes() {
        let rig = Rig::new();
        rig.put_at(0, "cam", 0);
        let options = Subscribe {
            fps: Some(10.0),
            ..Subscribe::default()
        };

        let mut client = rig.subscribe("cam", options);
        assert_eq!(number(&client.try_next(at(0)).unwrap()), 0);
        rig.put_at(33, "cam", 1);
        assert!(client.try_next(at(33)).is_none());
        assert_eq!(client.deadline(), Some(at(100)));
        assert_eq!(number(&client.try_next(at(100)).unwrap()), 1);

        client.set_rate(None);
        rig.put_at(101, "cam", 2);
        assert_eq!(number(&client.try_next(at(101)).unwrap()), 2);
    }

    #[tokio::test]
    async fn a_client_waits_for_a_frame_of_its_stream_and_for_no_other() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.put(picture("two", 1, 5));
        let wake = Arc::<Notify>::default();
        let options = Subscribe {
            wake: Arc::clone(&wake),
            ..Subscribe::default()
        };

        let mut client = rig.subscribe("cam", options);
        assert_eq!(number(&client.next().await.unwrap()), 5);

        rig.put(picture("two", 1, 6));
        assert!(!is_ready(rig.output.run()) && !is_ready(wake.notified()));
        rig.put(picture("cam", 1, 6));
        let next = tokio::select! {
            next = client.next() => next,
            () = rig.output.run() => None,
        };

        assert_eq!(number(&next.unwrap()), 6);
    }

    #[tokio::test]
    async fn a_stream_that_is_forgotten_ends_its_subscriptions() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.put(picture("two", 1, 5));
        let mut client = rig.subscribe("cam", Subscribe::default());
        client.next().await.unwrap();
        rig.status(at(1_500), &[("two", false)]);

        let next = tokio::select! {
            next = client.next() => next,
            () = rig.output.run() => panic!("an output runs for ever"),
        };

        assert!(next.is_none() && client.is_closed());
        assert!(!rig.table.has(client.stream()) && rig.table.has(&"two".parse().unwrap()));
    }

    #[test]
    fn a_client_without_memory_for_a_frame_skips_it_and_gets_the_next_when_there_is_room() {
        let rig = Rig::new();
        let memory = rig.table.client_memory();
        memory.set_limit(1000);
        let charge = Some(Arc::new(memory.open([10, 0, 0, 1].into(), 1)));
        rig.put(picture("cam", 1, 5));
        let options = Subscribe {
            charge,
            ..Subscribe::default()
        };
        let mut client = rig.subscribe("cam", options);
        client.try_next(at(0)).unwrap();

        memory.set_limit(0);
        rig.put(picture("cam", 1, 6));
        assert_eq!(client.try_next(at(0)).unwrap().skipped, 0, "it holds that");
        let (_, body) = picture("cam", 1, 7);
        let large = FrameHeader {
            reason: "a longer header".to_owned(),
            ..picture("cam", 1, 7).0.header
        };
        let large = message(large, &[0xff, 0xd8, 0xff, 0xd9]);
        assert!(large.1.len() > body.len());
        rig.put(large);
        assert!(client.try_next(at(0)).is_none() && !client.is_due(at(0)));
        assert_eq!(rig.table.refusals().of(Resource::Memory), 1);

        memory.set_limit(1000);
        rig.put(picture("cam", 1, 8));
        assert_eq!(client.try_next(at(0)).unwrap().skipped, 1);
        drop(client);
        assert_eq!(memory.bytes(), 0);
    }

    #[test]
    fn a_stream_that_the_engine_does_not_know_yet_stays() {
        let rig = Rig::new();
        rig.put(picture("new", 1, 0));
        rig.status(at(10), &[("cam", false)]);
        assert!(rig.table.has(&"new".parse().unwrap()));
        assert_eq!(rig.table.list(at(10)).len(), 1, "the list is the engine's");
    }

    #[test]
    fn the_engine_is_told_who_watches_once_each_time_that_it_changes() {
        let mut rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.watch("cam");
        assert_eq!(rig.feed.next_demand(), None, "it knows its own viewers");

        let first = rig.subscribe("cam", Subscribe::default());
        let second = rig.subscribe("cam", Subscribe::default());
        assert!(rig.engine_is_woken());
        let cam: StreamName = "cam".parse().unwrap();
        assert_eq!(rig.feed.next_demand(), Some((cam.clone(), 2)));
        rig.status(at(1), &[("cam", false)]);
        assert_eq!(rig.feed.next_demand(), None);
        drop((first, second));
        assert_eq!(rig.feed.next_demand(), Some((cam, 0)));
    }

    #[test]
    fn a_client_that_asks_for_a_picture_counts_for_a_while() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        let cam: StreamName = "cam".parse().unwrap();
        rig.table.ask(at(10), &cam);
        assert_eq!(rig.feed.next_demand(), Some((cam.clone(), 1)));
        rig.status(at(2_500), &[("cam", false)]);
        assert_eq!(rig.feed.next_demand(), None);
        rig.status(at(5_010), &[("cam", false)]);
        assert_eq!(rig.feed.next_demand(), Some((cam, 0)));
    }

    #[test]
    fn a_client_is_listed_with_what_it_got() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        let address = "10.0.0.1:1".parse().unwrap();
        let client = Some((OutputKind("ws"), address));
        let mut client = rig.subscribe(
            "cam",
            Subscribe {
                client,
                ..Subscribe::default()
            },
        );

        client.try_next(at(0)).unwrap();
        rig.put(picture("cam", 1, 8));
        client.try_next(at(1)).unwrap();

        let totals = rig.table.clients().all(at(1))[0].totals;
        assert_eq!((totals.frames, totals.skipped, totals.bytes), (2, 2, 8));
        drop(client);
        assert_eq!(rig.table.clients().count(), 0);
    }
}

mod list {
    use super::*;

    #[test]
    fn the_age_of_a_frame_is_known_when_the_clock_of_its_source_is() {
        let mut rig = Rig::new();
        let captured = |clock_id| {
            let header = FrameHeader {
                captured_ns: at(40).as_nanos() + 7_000_000,
                clock_id,
                ..picture("cam", 1, 5).0.header
            };
            message(header, &[0xff, 0xd8, 0xff, 0xd9])
        };

        rig.put(captured(3));
        assert_eq!(rig.take().unwrap().frame.captured_us, None);

        let clock = SourceClock {
            clock_id: 3,
            offset_ns: 7_000_000,
            error_us: 1,
        };

        rig.table.put_clock(0, clock);
        let (mut frame, body) = captured(3);
        frame.id = FrameId {
            epoch: 1,
            number: 6,
        };

        rig.table.publish(0, frame, body, at(50)).unwrap();
        let taken = rig.take().unwrap();
        assert_eq!(taken.frame.age_us(at(50)), Some(10_000));

        let (mut frame, body) = captured(4);
        frame.id = FrameId {
            epoch: 1,
            number: 7,
        };

        rig.table.publish(0, frame, body, at(60)).unwrap();
        assert_eq!(
            rig.take().unwrap().frame.captured_us,
            None,
            "that is another clock"
        );
    }

    #[test]
    fn ages_and_rates_make_no_new_version_and_a_source_that_goes_does() {
        let rig = Rig::new();
        rig.put(picture("cam", 1, 5));
        rig.status(at(1), &[("cam", false)]);
        let mut version = rig.table.watch_list();
        version.mark_unchanged();
        rig.put_at(40, "cam", 6);
        rig.status(at(50), &[("cam", false)]);
        assert!(!version.has_changed().unwrap());
        rig.status(at(60), &[("cam", true)]);
        assert!(version.has_changed().unwrap());
    }

    #[test]
    fn the_first_stream_is_one_with_a_source_and_no_canary() {
        let first = |streams: &[(&str, bool)]| {
            let rig = Rig::new();
            for (name, _) in streams {
                rig.put(picture(name, 1, 5));
            }
            rig.status(at(1), streams);
            rig.table.first(at(2)).map(|name| name.to_string())
        };

        let cam = Some("cam".to_owned());
        assert_eq!(
            first(&[("cam.canary", false), ("gone", true), ("cam", false)]),
            cam
        );

        assert_eq!(first(&[("cam.canary", false), ("cam", true)]), cam);
        assert_eq!(
            first(&[("cam.canary", false)]),
            Some("cam.canary".to_owned())
        );

        assert_eq!(first(&[]), None);
    }

    #[test]
    fn every_picture_is_counted_by_its_stream() {
        let rig = Rig::new();
        for n in 0..3 {
            rig.put(picture("cam", 1, n));
        }

        rig.put(heartbeat("cam", 1, 3));
        let traffic = rig.table.traffic();
        assert_eq!(
            (
                traffic[0].0.as_str(),
                traffic[0].1.frames,
                traffic[0].1.bytes
            ),
            ("cam", 3, 12)
        );
    }
}
