//! The event handler of the window: redraws, mouse and timers. It runs on the main thread.

mod keys;

use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamName;
use winit::application::ApplicationHandler;
use winit::event::{ElementState, KeyEvent, MouseButton, MouseScrollDelta, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoopProxy};
use winit::window::WindowId;

use super::pointer::Pointer;
use super::screen::Screen;
use super::tile::Tile;
use super::tiles::Tiles;
use super::{Handler, Options, Tiling, WindowError, snapshot};
use crate::canvas::{Area, Canvas, Painter};
use crate::card;
use crate::cover::{Announcement, Cover};
use crate::overlay::{self, Panel};
use crate::picture::Picture;
use crate::scene::SceneSlot;

/// How long the mouse pointer stays in full screen after it was last moved.
const CURSOR_LINGERS: Duration = Duration::from_secs(2);

/// How long a note, such as where a snapshot was saved, stays over the picture.
const NOTE_LINGERS: Duration = Duration::from_secs(3);

/// How long the screen says which it is: a person looks at the other screens meanwhile.
const IDENTITY_LINGERS: Duration = Duration::from_secs(8);

/// How often to see whether the window is on the screen that it shall be on, in full screen and while it opens: no event says
/// that monitors have changed.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often the desktop is asked to bring the window to the screen: after so long it has its reasons.
const MAX_OPENINGS: u32 = 20;

/// How much a key or a notch of the wheel enlarges.
const ZOOM_STEP: f64 = 1.25;

/// Pixels that a touchpad scrolls for a step.
const PIXELS_PER_STEP: f64 = 40.0;

/// Wakes the event loop: there is a new scene or text, or the scene slot is closed.
#[derive(Debug)]
pub(super) struct SceneWaits;

pub(super) struct App<'a> {
    options: &'a Options,
    handler: &'a mut dyn Handler,
    screen: Option<Screen>,
    tiles: Tiles,
    proxy: EventLoopProxy<SceneWaits>,
    titled: Option<StreamName>,
    painter: Painter,
    panels: Vec<Panel>,
    pointer: Pointer,
    identifies_until: Option<Time>,
    /// What stands over the pictures or in place of them.
    cover: Arc<Cover>,
    /// Words on a tile, and until when.
    note: Option<(usize, String, Time)>,
    hide_cursor_at: Option<Time>,
    /// When to see where the window is, and whether it may still have to be brought to the screen, and how often it was asked for.
    look_at: Option<Time>,
    is_opening: bool,
    openings: u32,
    failure: Option<WindowError>,
}

impl<'a> App<'a> {
    pub(super) fn new(
        options: &'a Options,
        slots: &[Arc<SceneSlot>],
        handler: &'a mut dyn Handler,
        proxy: EventLoopProxy<SceneWaits>,
    ) -> Self {
        let app = Self {
            options,
            handler,
            screen: None,
            tiles: Tiles::new(slots, options.grid, options.view),
            proxy,
            titled: None,
            painter: Painter::default(),
            panels: options.panels.clone(),
            pointer: Pointer::default(),
            identifies_until: None,
            cover: Arc::default(),
            note: None,
            hide_cursor_at: None,
            look_at: None,
            is_opening: true,
            openings: 0,
            failure: None,
        };
        app.have_woken(slots);
        app
    }

    /// Has new scenes wake the event loop.
    fn have_woken(&self, slots: &[Arc<SceneSlot>]) {
        for scenes in slots {
            let proxy = self.proxy.clone();
            scenes.set_waker(move || super::wake(&proxy));
        }
    }

    /// Why the event loop was left, unless a person or the program ended it.
    pub(super) fn into_failure(self) -> Option<WindowError> {
        self.failure
    }

    fn fail(&mut self, event_loop: &ActiveEventLoop, failure: WindowError) {
        self.failure = Some(failure);
        event_loop.exit();
    }

    /// Draws what has changed, and tells the handler of frames that were not on the screen before.
    fn draw(&mut self) -> Result<(), WindowError> {
        let Some(mut screen) = self.screen.take() else {
            return Ok(());
        };

        if self.cover.card.is_none() {
            self.tiles.refresh(&self.cover, !self.panels.is_empty());
            self.set_title(&screen);
        }
        let drawn = screen.draw(clock::now(), |canvas, age| self.paint(canvas, age));
        self.screen = Some(screen);

        if drawn? {
            self.tiles.on_drawn();
            let now = clock::now();
            let is_covered = self.cover.card.is_some();
            let mut has_pictures = false;
            for (at, tile) in self.tiles.iter_mut() {
                if let Some(id) = tile.take_fresh() {
                    self.handler.presented(at, id, now);
                }
                let shown = tile.shown().filter(|_| tile.is_visible() && !is_covered);
                has_pictures |= shown.is_some();
                self.handler.shows(at, shown, tile.is_moved_by_hand());
            }
            if let Some(screen) = &mut self.screen {
                screen.keep_awake(has_pictures);
            }
        }

        Ok(())
    }

    /// Names the window after the stream that fills it.
    fn set_title(&mut self, screen: &Screen) {
        if let Some(shown) = self.tiles.only_shown()
            && self.titled.as_ref() != Some(&shown.stream)
        {
            screen.set_title(&format!("{} — Fanlight", shown.stream));
            self.titled = Some(shown.stream.clone());
        }
    }

    /// Draws all that has changed on a canvas with the pixels of `age` drawings ago. Returns where that is; none when anywhere.
    fn paint(&mut self, canvas: &mut Canvas<'_>, age: u8) -> Option<Vec<Area>> {
        let announcement = self.announcement();
        // Its ground would become darker with each drawing.
        let age = if announcement.is_some() { 0 } else { age };
        let point = self.pointer.at();
        let cover = Arc::clone(&self.cover);
        let Self {
            tiles,
            painter,
            panels,
            note,
            ..
        } = self;

        let changed = if let Some(card) = &cover.card {
            card::draw(canvas, &mut painter.font, card, &tiles.get(0).readings());
            None
        } else {
            tiles.paint(canvas, age, |canvas, at, tile| {
                let note = note.as_ref().filter(|(tile, ..)| *tile == at);
                let words = tile.words(note.map(|(_, text, _)| text.as_str()), point);
                let taken = tile.paint(canvas, painter);
                let font = &mut painter.font;
                let panels = overlay::over(panels, tile.shown().is_none());
                overlay::draw(canvas, font, &panels, &tile.readings(), &words, &taken);
            })
        };

        let font = &mut painter.font;
        match announcement {
            Some(Announcement::Identity) => {
                let readings = tiles.get(0).readings();
                overlay::announce(canvas, font, &readings.screen, &readings.address);
            }
            Some(Announcement::Text(text)) => overlay::banner(canvas, font, &text),
            None => {}
        }

        changed
    }

    /// What a person or a relay wants to be told in large letters.
    fn announcement(&self) -> Option<Announcement> {
        let by_key = self.identifies_until.map(|_| Announcement::Identity);
        by_key.or_else(|| self.cover.announcement.clone())
    }

    /// Obeys what the screen is told newly. Returns whether all has to be drawn anew.
    fn obey(&mut self) -> bool {
        let cover = self.options.cover.get();
        if Arc::ptr_eq(&cover, &self.cover) {
            return false;
        }

        let former = std::mem::replace(&mut self.cover, cover);
        if let Some(Tiling { slots, shape }) = self.handler.follow() {
            self.have_woken(&slots);
            self.tiles.replace(&slots, shape);
            self.note = None;
            self.titled = None;
            if self.cover.overlay == 0 {
                overlay::caption_several(&mut self.panels, slots.len());
            }
        }
        if self.cover.overlay != former.overlay {
            self.panels = overlay::of_volume(self.cover.overlay, &self.options.panels);
        }
        if !self.cover.moves_as(&former) {
            for (at, tile) in self.tiles.iter_mut() {
                tile.follow(at, &self.cover);
            }
        }
        true
    }

    /// Gives each tile its place.
    fn lay_out(&mut self) {
        if let Some(screen) = &self.screen {
            let (width, height) = screen.size();
            self.tiles.lay_out((width as usize, height as usize));
        }
        self.request_redraw();
    }

    /// The tile that keys are for.
    fn current(&self) -> usize {
        self.tiles.at(self.pointer.at())
    }

    fn current_tile(&mut self) -> &mut Tile {
        let at = self.current();
        self.tiles.get(at)
    }

    fn on_pointer(&mut self, to: (f64, f64)) {
        self.show_cursor_for_a_while();
        let by = self.pointer.moved(to);
        let tile = self.current_tile();
        if let Some(by) = by {
            tile.drag(by);
        }
        if tile.is_enlarged() {
            self.request_redraw();
        }
    }

    fn on_button(&mut self, state: ElementState) {
        match state {
            ElementState::Released => self.pointer.released(),
            ElementState::Pressed if self.pointer.pressed(clock::now()) => {
                self.toggle_full_screen();
            }
            ElementState::Pressed => {}
        }
    }

    fn on_wheel(&mut self, delta: MouseScrollDelta) {
        let steps = match delta {
            MouseScrollDelta::LineDelta(_, lines) => f64::from(lines),
            MouseScrollDelta::PixelDelta(by) => by.y / PIXELS_PER_STEP,
        };
        self.zoom(ZOOM_STEP.powf(steps));
    }

    fn toggle(&mut self, panel: Panel) {
        overlay::toggle(&mut self.panels, panel);
        self.request_redraw();
    }

    fn toggle_full_screen(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.toggle_full_screen();
        }
        self.look_at = Some(clock::now() + LOOK_INTERVAL);
        self.show_cursor_for_a_while();
        self.request_redraw();
    }

    /// Saves the picture as it was received.
    fn save_snapshot(&mut self) {
        let folder = &self.options.snapshots;
        let note = match self.current_tile().shown() {
            None => "there is no picture to save".to_owned(),
            Some(shown) => snapshot::told(folder, snapshot::save(folder, shown)),
        };
        self.show_note(self.current(), note, NOTE_LINGERS);
    }

    /// Saves what is on the screen.
    fn save_screen(&mut self) {
        let Some(screen) = &self.screen else { return };
        let (width, height) = screen.size();
        let mut picture = Picture::new(width, height);
        let size = picture.size();
        self.paint(&mut Canvas::new(picture.pixels_mut(), size.0, size.1), 0);
        let folder = &self.options.snapshots;
        let note = snapshot::told(folder, snapshot::save_screen(folder, &picture));
        self.show_note(self.current(), note, NOTE_LINGERS);
    }

    fn show_note(&mut self, tile: usize, text: String, lingers: Duration) {
        self.note = Some((tile, text, clock::now() + lingers));
        self.request_redraw();
    }

    fn show_cursor_for_a_while(&mut self) {
        let Some(screen) = &self.screen else { return };
        screen.set_cursor_visible(true);
        self.hide_cursor_at = screen
            .is_full_screen()
            .then(|| clock::now() + CURSOR_LINGERS);
    }

    /// Has all tiles drawn anew.
    fn request_redraw(&mut self) {
        self.tiles.touch();
        if let Some(screen) = &self.screen {
            screen.request_redraw();
        }
    }

    /// Does what is due by the clock; returns when something is due next.
    fn on_time(&mut self, event_loop: &ActiveEventLoop, now: Time) -> Option<Time> {
        if self.hide_cursor_at.is_some_and(|at| at <= now) {
            self.hide_cursor_at = None;
            if let Some(screen) = &self.screen {
                screen.set_cursor_visible(false);
            }
        }

        if self.note.as_ref().is_some_and(|(.., until)| *until <= now) {
            self.note = None;
            self.request_redraw();
        }

        if self.identifies_until.is_some_and(|until| until <= now) {
            self.identifies_until = None;
            self.request_redraw();
        }

        if self.look_at.is_some_and(|at| at <= now) {
            self.look_for_the_window(event_loop, now);
        }

        let until = self.note.as_ref().map(|(.., until)| *until);
        [
            self.hide_cursor_at,
            until,
            self.identifies_until,
            self.look_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn look_for_the_window(&mut self, event_loop: &ActiveEventLoop, now: Time) {
        self.look_at = None;
        let Some(screen) = &mut self.screen else {
            return;
        };

        screen.follow_monitors(event_loop);
        self.is_opening = self.is_opening && self.openings < MAX_OPENINGS && screen.insist();
        if self.is_opening {
            self.openings += 1;
        }
        if self.is_opening && self.openings == 1 {
            tracing::warn!("the desktop did not bring the window to the screen; asking again");
        }

        let has_to_look_again = screen.is_full_screen() || self.is_opening;
        self.look_at = has_to_look_again.then(|| now + LOOK_INTERVAL);
    }
}

impl ApplicationHandler<SceneWaits> for App<'_> {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if self.screen.is_some() {
            return;
        }

        match Screen::open(event_loop, self.options) {
            Ok(screen) => {
                self.screen = Some(screen);
                self.obey();
                self.look_at = Some(clock::now() + LOOK_INTERVAL);
                self.show_cursor_for_a_while();
                self.lay_out();
            }
            Err(failure) => self.fail(event_loop, failure),
        }
    }

    fn user_event(&mut self, event_loop: &ActiveEventLoop, _: SceneWaits) {
        let mut told = None;
        for (at, tile) in self.tiles.iter_mut() {
            tile.scenes().answer();
            if tile.scenes().is_closed() {
                event_loop.exit();
            }
            if let Some((text, lingers)) = tile.scenes().take_note() {
                told = Some((at, text, lingers));
            }
        }

        if let Some((at, text, lingers)) = told {
            self.show_note(at, text, lingers);
        }
        if self.obey() {
            // Nothing of a card that covered all is left beside the tiles.
            return self.lay_out();
        }
        let is_stale = match self.cover.card {
            Some(_) => self.tiles.refresh_readings(),
            None => self.tiles.is_stale(!self.panels.is_empty()),
        };
        if let Some(screen) = self.screen.as_ref().filter(|_| is_stale) {
            screen.request_redraw();
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => event_loop.exit(),
            WindowEvent::RedrawRequested => {
                if let Err(failure) = self.draw() {
                    self.fail(event_loop, failure);
                }
            }
            WindowEvent::Resized(_) => self.lay_out(),
            WindowEvent::CursorMoved { position, .. } => self.on_pointer(position.into()),
            WindowEvent::MouseInput {
                state,
                button: MouseButton::Left,
                ..
            } => self.on_button(state),
            WindowEvent::MouseWheel { delta, .. } => self.on_wheel(delta),
            WindowEvent::KeyboardInput {
                event:
                    KeyEvent {
                        state: ElementState::Pressed,
                        repeat,
                        logical_key,
                        ..
                    },
                is_synthetic: false,
                ..
            } => {
                if repeat {
                    self.on_repeated_key(&logical_key);
                } else {
                    self.on_key(event_loop, &logical_key);
                }
            }
            _ => {}
        }
    }

    fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
        let now = clock::now();
        event_loop.set_control_flow(match self.on_time(event_loop, now) {
            Some(next) => ControlFlow::wait_duration(next.saturating_since(now)),
            None => ControlFlow::Wait,
        });
    }
}
