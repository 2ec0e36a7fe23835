//! Keeps the broker informed: looks at the stream table once a second, connected or not, and publishes what has changed.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_live::events::LOOK_INTERVAL;
use fanlight_live::{ScreenOrder, StreamTable};
use fanlight_proto::message::Direction;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::entities::{Entities, OWN};
use crate::link::{Link, LinkError, PING_INTERVAL};
use crate::pictures::Pictures;
use crate::retained::RetainedMessages;
use crate::topics::Topics;
use crate::{NAME, Settings};

/// Until the broker is tried again: twice as long each time, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// See [`MIN_PAUSE`].
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A connection that lasted so long was good: others end at once, such as those of two clients with one name, which take the
/// connection from each other.
const STEADY: Duration = Duration::from_secs(30);

/// A relay that stops has so long to say so to the broker.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(300);

/// What the two tasks share: one looks, the other publishes.
struct Shared<'a> {
    settings: &'a Settings,
    table: &'a StreamTable,
    topics: Topics,
    retained: RefCell<RetainedMessages>,
    entities: RefCell<Entities>,
    /// The retained messages, or the stream table, may have changed.
    looked: Notify,
}

/// Publishes until `shutdown` is requested.
pub(crate) async fn run(settings: &Settings, table: &StreamTable, shutdown: &Shutdown) {
    let shared = Shared {
        settings,
        table,
        topics: Topics::new(settings),
        retained: RefCell::default(),
        entities: RefCell::new(Entities::new(settings)),
        looked: Notify::new(),
    };

    tokio::select! {
        () = look(&shared) => {}
        () = publish(&shared, shutdown) => {}
    }
}

async fn look(shared: &Shared<'_>) {
    loop {
        shared.entities.borrow_mut().look(
            shared.table,
            clock::now(),
            &mut shared.retained.borrow_mut(),
        );
        shared.looked.notify_one();
        sleep(LOOK_INTERVAL).await;
    }
}

/// Connects again and again.
async fn publish(shared: &Shared<'_>, shutdown: &Shutdown) {
    let mut pause = MIN_PAUSE;
    let mut told = String::new();

    loop {
        let ended = tokio::select! {
            opened = Link::open(shared.settings, &shared.topics) => match opened {
                Ok(mut link) => {
                    let began = Instant::now();
                    let ended = serve(shared, &mut link, shutdown).await;
                    if began.elapsed() >= STEADY {
                        pause = MIN_PAUSE;
                        told.clear();
                    }
                    ended
                }
                Err(error) => Some(error),
            },
            () = shutdown.wait() => None,
        };
        let Some(error) = ended else {
            return;
        };

        shared.retained.borrow_mut().disconnect();
        note_problem(shared, &error, &mut told);
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.wait() => return,
        }
        pause = MAX_PAUSE.min(pause * 2);
    }
}

/// Says once what is wrong, as long as it is the same.
fn note_problem(shared: &Shared<'_>, error: &LinkError, told: &mut String) {
    let problem = format!("{}: {error}", shared.settings.broker);
    if *told != problem {
        tracing::warn!("mqtt: {problem}");
        told.clone_from(&problem);
    }
    shared.table.set_output_problem(NAME, Some(problem));
}

/// Publishes on a connection until it breaks, which is returned, or the relay stops.
async fn serve(shared: &Shared<'_>, link: &mut Link, shutdown: &Shutdown) -> Option<LinkError> {
    tracing::info!(mqtt = %shared.settings.broker, "mqtt: connected");
    shared.table.set_output_problem(NAME, None);
    let ended = tokio::select! {
        ended = converse(shared, link) => ended,
        () = shutdown.wait() => {
            // It is a courtesy: with no time for it, the last will says the same.
            let _ = timeout(GOODBYE_TIMEOUT, link.close(&shared.topics)).await;
            return None;
        }
    };

    match ended {
        Ok(never) => match never {},
        Err(error) => Some(error),
    }
}

async fn converse(shared: &Shared<'_>, link: &mut Link) -> Result<Infallible, LinkError> {
    let mut pictures = shared.settings.pictures.map(Pictures::new);
    let mut next_ping = Instant::now() + PING_INTERVAL;
    let mut is_heard = true;
    let mut is_newcomer = false;
    shared.retained.borrow_mut().publish_all();
    link.subscribe(shared.topics.subscriptions()).await?;
    link.publish(shared.topics.availability(), "online".into(), true)?;

    loop {
        tokio::select! {
            packet = link.read() => {
                is_heard = true;
                if let Packet::Publish(message) = packet? {
                    is_newcomer |= take(shared, &message);
                }
            }
            () = sleep_until(next_ping) => {
                if !std::mem::take(&mut is_heard) {
                    return Err(LinkError::Silent(PING_INTERVAL));
                }
                link.ping()?;
                link.flush().await?;
                next_ping = Instant::now() + PING_INTERVAL;
            }
            // Once a second, however often somebody says that they are new.
            () = shared.looked.notified() => {
                if std::mem::take(&mut is_newcomer) {
                    shared.retained.borrow_mut().publish_all();
                    link.publish(shared.topics.availability(), "online".into(), true)?;
                }
                publish_retained(shared, link).await?;
                publish_pictures(shared, link, pictures.as_mut()).await?;
            }
        }
    }
}

/// Has a screen show the stream that somebody has named, or go by its own settings.
fn direct(shared: &Shared<'_>, object: &str, message: &Publish) {
    let entities = shared.entities.borrow();
    let screen = entities.screen(object).cloned();
    let word = std::str::from_utf8(&message.payload).unwrap_or_default();
    // What the broker has kept was said long ago.
    let Some(screen) = screen.filter(|_| !message.retain && !word.is_empty()) else {
        return;
    };

    let streams = (word != OWN).then(|| word.to_owned());
    let direction = Direction {
        given_ms: clock::unix_millis(),
        by: "MQTT".to_owned(),
        streams: streams.into_iter().collect(),
        ..Direction::default()
    };
    let (answer, answered) = oneshot::channel();
    shared.table.put_order(ScreenOrder::Direct {
        screen: screen.clone(),
        direction,
        answer,
    });
    tokio::spawn(async move {
        if let Ok(Err(error)) = answered.await {
            tracing::warn!(screen, "mqtt: the screen is not directed: {error}");
        }
    });
}

/// Takes what somebody published; whether Home Assistant says that it has started.
fn take(shared: &Shared<'_>, message: &Publish) -> bool {
    if let Some(object) = shared.topics.directed(&message.topic) {
        direct(shared, object, message);
        return false;
    }

    if let Some(object) = shared.topics.described(&message.topic)
        && !message.payload.is_empty()
    {
        let mut entities = shared.entities.borrow_mut();
        entities.note_described(object, clock::now());
    }

    let is_birth = shared
        .topics
        .birth()
        .is_some_and(|birth| birth == message.topic);
    is_birth && message.payload == "online"
}

async fn publish_retained(shared: &Shared<'_>, link: &mut Link) -> Result<(), LinkError> {
    loop {
        let next = shared.retained.borrow_mut().next();
        let Some((topic, payload)) = next else {
            return link.flush().await;
        };
        if link.publish(topic, payload, true)? {
            link.flush().await?;
        }
    }
}

async fn publish_pictures(
    shared: &Shared<'_>,
    link: &mut Link,
    pictures: Option<&mut Pictures>,
) -> Result<(), LinkError> {
    let Some(pictures) = pictures else {
        return Ok(());
    };

    while let Some((stream, jpeg)) = pictures.next(shared.table, clock::now()) {
        link.publish(shared.topics.picture(stream.as_str()), jpeg, false)?;
        link.flush().await?;
    }
    Ok(())
}
