//! The director of a screen: what it shows because a relay, or its own settings, say so, one for all tiles of the process.
//! The socket threads bring directions and tell relays what became of them; a thread of its own keeps the time, and the
//! direction in a file; the socket threads and whoever shows pictures obey.

mod directions;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{Direct, Direction, NotShown, StreamName};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::on_screen::OnScreen;
use super::streams::{Chosen, Streams};
use crate::config::{self, Config};
use crate::cover::CoverSlot;
use crate::engine::{Engine, ScreenState};
use crate::stats::Counters;
use crate::window::Grid;
use directions::{Directions, Programme};
use store::Store;

/// How often relays may learn the number of the frame on the screen.
const NUMBER_INTERVAL: Duration = Duration::from_millis(100);

/// How often it is looked whether the first picture of another stream is on the screen, and for how long: relays are to
/// learn of it at once.
const SWITCHING: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(500));

/// Longest time without looking at the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The director. Any thread may call.
pub(super) struct Director {
    state: Mutex<State>,
    changed: Condvar,
    /// How often anything was said or done.
    changes: AtomicU64,
    /// Whether relays may direct.
    directed: bool,
    reloads: AtomicBool,
    cover: Arc<CoverSlot>,
    /// Columns and rows by the screen's own settings.
    own_shape: (usize, usize),
}

struct State {
    directions: Directions,
    tiles: Vec<DirectedTile>,
    store: Option<Store>,
    /// The newest direction is not in the file yet.
    is_unwritten: bool,
    /// A direction said that the screen is to start anew, which it does once that is in the file: else it would do so again and
    /// again.
    is_to_reload: bool,
    ended: bool,
}

/// A tile that obeys.
struct DirectedTile {
    streams: Streams,
    counters: Arc<Counters>,
    /// The stream that it was told to show last; none: any.
    told: Option<StreamName>,
}

impl Director {
    /// One that goes by the direction that this screen was given last or, without one, by its own settings.
    pub(super) fn new(config: &Config, room: usize) -> Self {
        let own = Programme {
            streams: config.stream.clone(),
            tiles: config::tiles(config),
            cycle: config.cycle.map(Into::into),
        };
        let now = clock::now();
        let mut directions = Directions::new(now, own, room);
        let store = if config.directed {
            let store = Store::of(config.state_dir.as_deref(), &config::screen_name(config));
            if store.is_none() {
                tracing::warn!("directions are not kept: set `state_dir`, or HOME");
            }
            store
        } else {
            None
        };

        if let Some(direction) = store.as_ref().and_then(Store::read) {
            log("goes on by the direction that it was given", &direction);
            directions.obey(now, direction);
        }

        let cover = Arc::new(CoverSlot::default());
        cover.set(directions.cover());
        Self {
            state: Mutex::new(State {
                directions,
                tiles: Vec::new(),
                store,
                is_unwritten: false,
                is_to_reload: false,
                ended: false,
            }),
            changed: Condvar::new(),
            changes: AtomicU64::new(0),
            reloads: AtomicBool::new(false),
            directed: config.directed,
            cover,
            own_shape: config::grid(config),
        }
    }

    /// Whether relays may direct.
    pub(super) const fn is_directed(&self) -> bool {
        self.directed
    }

    /// What stands over the pictures.
    pub(super) const fn cover(&self) -> &Arc<CoverSlot> {
        &self.cover
    }

    /// The stream of each tile; none: any.
    pub(super) fn streams(&self) -> Vec<Option<StreamName>> {
        self.state.lock().directions.streams()
    }

    /// Columns and rows of the tiles.
    pub(super) fn shape(&self) -> (usize, usize) {
        let state = self.state.lock();
        if state.directions.is_own() {
            return self.own_shape;
        }
        Grid::Auto.shape(state.directions.streams().len())
    }

    /// The stream that each tile was told to show, when there are to be more of them or fewer.
    pub(super) fn misfit(&self) -> Option<Vec<Option<StreamName>>> {
        let state = self.state.lock();
        let told: Vec<_> = state.tiles.iter().map(|tile| tile.told.clone()).collect();
        (told.len() != state.directions.streams().len()).then_some(told)
    }

    /// Of the tiles, those `kept` obey on, in this order; others are attached then.
    pub(super) fn keep(&self, kept: &[usize]) {
        let mut state = self.state.lock();
        let mut former: Vec<_> = state.tiles.drain(..).map(Some).collect();
        let taken = kept.iter().filter_map(|at| former.get_mut(*at)?.take());
        state.tiles.extend(taken);
        state.apply();
    }

    /// The next tile obeys from now on; it was started with `stream`.
    pub(super) fn attach(
        &self,
        streams: Streams,
        counters: Arc<Counters>,
        stream: Option<StreamName>,
    ) {
        let mut state = self.state.lock();
        state.tiles.push(DirectedTile {
            streams,
            counters,
            told: stream,
        });
        state.apply();
    }

    /// A relay says what to show.
    pub(super) fn on_direct(&self, now: Time, direct: &Direct) {
        let mut state = self.state.lock();
        let reload = |state: &State| state.directions.direction().map_or(0, |it| it.reload);
        let former = reload(&state);
        let (newer, noticed) = state.directions.on_direct(now, direct);
        let number = reload(&state);
        state.is_to_reload |= newer && number != 0 && number != former;
        if newer && let Some(direction) = state.directions.direction() {
            log("is directed", direction);
            state.is_unwritten = true;
        }

        if newer || noticed {
            state.directions.turn(now);
            self.obey(state);
        }
    }

    /// A person at the screen has chosen another stream for a tile.
    fn on_choice(&self, tile: usize, stream: StreamName) {
        let mut state = self.state.lock();
        state.directions.on_choice(tile, stream.clone());
        if let Some(tile) = state.tiles.get_mut(tile) {
            tile.told = Some(stream);
        }
        self.obey(state);
    }

    /// Keeps the time until the end: goes on with a cycle, ends notices, and keeps the newest direction. Requests
    /// `shutdown` when the screen is told to start anew.
    pub(super) fn run(&self, shutdown: &Shutdown) {
        let mut state = self.state.lock();
        while !state.ended {
            if std::mem::take(&mut state.is_unwritten) {
                let reloads = state.is_to_reload;
                let direction = state.directions.direction().cloned();
                let kept = state.store.clone().zip(direction);
                MutexGuard::unlocked(&mut state, || {
                    let is_kept = kept.is_some_and(|(store, direction)| keep(&store, &direction));
                    if reloads && is_kept {
                        tracing::info!("the screen starts anew, as it is told");
                        self.reloads.store(true, Ordering::Release);
                        shutdown.trigger();
                    }
                });
                continue;
            }

            let now = clock::now();
            let before = (state.directions.streams(), state.directions.cover());
            let due = state.directions.turn(now);
            let steps = state.directions.take_step();
            if let Some(tile) = state.tiles.first().filter(|_| steps) {
                tile.streams.go_on(tile.counters.stream());
            }
            if before != (state.directions.streams(), state.directions.cover()) {
                self.obey(state);
                state = self.state.lock();
                continue;
            }

            let wait = due.map_or(LONGEST_WAIT, |due| due.saturating_since(now));
            self.changed.wait_for(&mut state, wait);
        }
    }

    /// Whether the screen is to start anew once it has ended.
    pub(super) fn reloads(&self) -> bool {
        self.reloads.load(Ordering::Acquire)
    }

    /// Ends [`Director::run`].
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// Has all do what the directions say now.
    fn obey(&self, mut state: MutexGuard<'_, State>) {
        state.apply();
        self.cover.set(state.directions.cover());
        drop(state);
        self.changes.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }

    fn screen_state(&self) -> ScreenState {
        let state = self.state.lock();
        let said = state.directions.state();
        ScreenState {
            in_force: said.in_force && !state.is_to_reload,
            ..said
        }
    }
}

impl State {
    /// Has each tile ask for its stream, unless it was told already. When there are to be more tiles or fewer, whoever has
    /// them follows first.
    fn apply(&mut self) {
        let streams = self.directions.streams();
        if streams.len() != self.tiles.len() {
            return;
        }

        for (tile, stream) in self.tiles.iter_mut().zip(streams) {
            if tile.told != stream {
                tile.streams.choice.choose(stream.clone());
                tile.told = stream;
            }
        }
    }
}

/// Whether the direction is in the file.
fn keep(store: &Store, direction: &Direction) -> bool {
    let kept = store.write(direction);
    if let Err(error) = &kept {
        tracing::warn!("the direction is lost with a restart: {error:#}");
    }
    kept.is_ok()
}

fn log(what: &str, direction: &Direction) {
    let Direction {
        version,
        by,
        streams,
        cycle_ms,
        frozen,
        card,
        ..
    } = direction;
    let streams = streams.join(",");
    tracing::info!(
        version,
        ?by,
        streams,
        cycle_ms,
        frozen,
        ?card,
        "this screen {what}"
    );
}

/// Tells the relays of one tile what became of directions. The socket's thread owns it.
pub(super) struct Teller {
    director: Arc<Director>,
    on_screen: Arc<OnScreen>,
    /// The changes that were told last.
    told: Option<(u64, u64)>,
    number_due: Time,
    /// When another stream was asked for, until its first picture is on the screen or that takes too long.
    switching: Option<Time>,
}

impl Teller {
    pub(super) const fn new(director: Arc<Director>, on_screen: Arc<OnScreen>) -> Self {
        Self {
            director,
            on_screen,
            told: None,
            number_due: Time::from_nanos(0),
            switching: None,
        }
    }

    /// A relay says what to show.
    pub(super) fn on_direct(&self, now: Time, direct: &Direct) {
        self.director.on_direct(now, direct);
    }

    /// The tile asks for another stream.
    pub(super) fn on_choice(&mut self, now: Time, chosen: &Chosen) {
        self.switching = Some(now);
        if let Chosen {
            stream: Some(stream),
            by_hand: true,
        } = chosen
        {
            let tile = self.on_screen.place();
            self.director.on_choice(tile, stream.clone());
        }
    }

    /// Why no new picture is to be seen, when the screen was told so.
    pub(super) fn hides(&self) -> Option<NotShown> {
        let cover = self.director.cover().get();
        let (shown, _) = self.on_screen.get();
        let place = self.on_screen.place();
        let stands = shown.is_none_or(|(stream, _)| cover.stops(place, &stream));
        let hides = cover.card.is_some() || cover.frozen && stands;
        hides.then_some(NotShown::Directed)
    }

    /// Has relays told what is new, if they may direct; returns when there may be something new.
    pub(super) fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time> {
        if !self.director.is_directed() {
            return None;
        }

        let changes = (
            self.director.changes.load(Ordering::Acquire),
            self.on_screen.changes(),
        );
        let is_new = self.told.replace(changes) != Some(changes);
        if is_new || self.number_due <= now {
            self.number_due = now + NUMBER_INTERVAL;
            let (shown, by_hand) = self.on_screen.get();
            let state = self.director.screen_state();
            engine.on_screen(ScreenState {
                in_force: state.in_force && !by_hand,
                shown,
                ..state
            });
        }

        let (often, longest) = SWITCHING;
        self.switching = self.switching.filter(|began| now < *began + longest);
        let soon = self.switching.map(|_| now + often);
        Some(soon.unwrap_or(self.number_due))
    }
}
