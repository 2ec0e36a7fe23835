//! The event handler of the window: redraws, keys and timers. It runs on the main thread.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_pixels::Scaler;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use winit::application::ApplicationHandler;
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow};
use winit::keyboard::{Key, NamedKey};
use winit::window::WindowId;

use super::screen::Screen;
use super::{Options, WindowError, snapshot};
use crate::canvas::{Canvas, fit};
use crate::card::{self, Corner};
use crate::marker::{self, Marker};
use crate::picture::Picture;
use crate::scene::{Scene, SceneSlot};

/// How long the mouse pointer stays in full screen after it was last moved.
const CURSOR_LINGERS: Duration = Duration::from_secs(2);

/// How long a note, such as where a snapshot was saved, stays over the picture.
const NOTE_LINGERS: Duration = Duration::from_secs(3);

/// How long the marker of a detection stays after it: with the tracker gone, it would lie.
pub(crate) const MARKER_LINGERS: Duration = Duration::from_millis(500);

/// How long the desktop may take to bring the window to the screen before it is asked again.
const OPENING_TAKES: Duration = Duration::from_millis(500);

/// How often it is asked: after so long it has its reasons.
const MAX_OPENINGS: u32 = 20;

/// Wakes the event loop: there is a new scene or text, or the scene slot is closed.
#[derive(Debug)]
pub(super) struct SceneWaits;

pub(super) struct App<'a> {
    options: &'a Options,
    scenes: &'a SceneSlot,
    presented: &'a mut dyn FnMut(FrameId, Time),
    screen: Option<Screen>,
    scene: Scene,
    titled: Option<StreamName>,
    scaler: Scaler,
    shows_statistics: bool,
    shows_figures: bool,
    note: Option<(String, Time)>,
    hide_cursor_at: Option<Time>,
    /// When to see whether the window is on the screen, and how often that was done.
    look_at: Option<Time>,
    looks: u32,
    failure: Option<WindowError>,
}

impl<'a> App<'a> {
    pub(super) fn new(
        options: &'a Options,
        scenes: &'a SceneSlot,
        presented: &'a mut dyn FnMut(FrameId, Time),
    ) -> Self {
        Self {
            options,
            scenes,
            presented,
            screen: None,
            scene: Scene::Message {
                title: "no picture yet".into(),
                reason: String::new(),
            },
            titled: None,
            scaler: Scaler::default(),
            shows_statistics: false,
            shows_figures: options.figures,
            note: None,
            hide_cursor_at: None,
            look_at: None,
            looks: 0,
            failure: None,
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

    /// Draws the newest scene and calls `presented` for a frame that was not on the screen before.
    fn draw(&mut self) -> Result<(), WindowError> {
        let Some(screen) = &mut self.screen else {
            return Ok(());
        };

        let mut fresh = None;
        if let Some(scene) = self.scenes.take() {
            if let Scene::Picture(shown) = &scene {
                fresh = Some(shown.id);
                if self.titled.as_ref() != Some(&shown.stream) {
                    screen.set_title(&format!("{} — Fanlight", shown.stream));
                    self.titled = Some(shown.stream.clone());
                }
            }

            self.scenes
                .recycle(std::mem::replace(&mut self.scene, scene));
        }

        let statistics = if self.shows_statistics {
            self.scenes.statistics()
        } else {
            String::new()
        };

        let figures = if self.shows_figures {
            self.scenes.figures()
        } else {
            String::new()
        };

        let note = self.note.as_ref().map_or("", |(text, _)| text.as_str());
        let marker = self
            .scenes
            .marker()
            .filter(|marker| clock::now().saturating_since(marker.at) < MARKER_LINGERS);

        let scene = &self.scene;
        let scaler = &mut self.scaler;
        let drawn = screen.draw(|canvas| {
            paint(canvas, scene, marker.as_ref(), scaler);
            card::draw_panel(canvas, &figures, Corner::UpperRight);
            card::draw_panel(canvas, &statistics, Corner::UpperLeft);
            card::draw_panel(canvas, note, Corner::LowerLeft);
        })?;

        if let (true, Some(id)) = (drawn, fresh) {
            (self.presented)(id, clock::now());
        }

        Ok(())
    }

    fn on_key(&mut self, event_loop: &ActiveEventLoop, key: &Key) {
        match key.as_ref() {
            Key::Named(NamedKey::Escape) | Key::Character("q" | "Q") => event_loop.exit(),
            Key::Character("f" | "F") => self.toggle_full_screen(),
            Key::Character("s" | "S") => self.save_snapshot(),
            Key::Character("i" | "I") => {
                self.shows_statistics = !self.shows_statistics;
                self.request_redraw();
            }
            Key::Character("n" | "N") => {
                self.shows_figures = !self.shows_figures;
                self.request_redraw();
            }
            _ => {}
        }
    }

    fn toggle_full_screen(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.toggle_full_screen();
        }
        self.show_cursor_for_a_while();
        self.request_redraw();
    }

    fn save_snapshot(&mut self) {
        let text = match &self.scene {
            Scene::Message { .. } => "there is no picture to save".to_owned(),
            Scene::Picture(shown) => match snapshot::save(&self.options.snapshots, shown) {
                Ok(path) => {
                    tracing::info!(path = %path.display(), "snapshot saved");
                    format!("saved {}", path.display())
                }
                Err(error) => {
                    let folder = self.options.snapshots.display();
                    tracing::warn!(%folder, %error, "snapshot not saved");
                    format!("not saved in {folder}: {error}")
                }
            },
        };

        self.note = Some((text, clock::now() + NOTE_LINGERS));
        self.request_redraw();
    }

    fn show_cursor_for_a_while(&mut self) {
        let Some(screen) = &self.screen else { return };
        screen.set_cursor_visible(true);
        self.hide_cursor_at = screen
            .is_full_screen()
            .then(|| clock::now() + CURSOR_LINGERS);
    }

    fn request_redraw(&self) {
        if let Some(screen) = &self.screen {
            screen.request_redraw();
        }
    }

    /// Does what is due by the clock; returns when something is due next.
    fn on_time(&mut self, now: Time) -> Option<Time> {
        if self.hide_cursor_at.is_some_and(|at| at <= now) {
            self.hide_cursor_at = None;
            if let Some(screen) = &self.screen {
                screen.set_cursor_visible(false);
            }
        }

        if self.note.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.note = None;
            self.request_redraw();
        }

        if self.look_at.is_some_and(|at| at <= now) {
            self.look_for_the_window(now);
        }

        let until = self.note.as_ref().map(|(_, until)| *until);
        [self.hide_cursor_at, until, self.look_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn look_for_the_window(&mut self, now: Time) {
        let missing = self.screen.as_ref().is_some_and(Screen::insist);
        self.looks += 1;
        self.look_at = (missing && self.looks < MAX_OPENINGS).then(|| now + OPENING_TAKES);
        if missing && self.looks == 1 {
            tracing::warn!("the desktop did not bring the window to the screen; asking again");
        }
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
                self.look_at = Some(clock::now() + OPENING_TAKES);
                self.show_cursor_for_a_while();
                self.request_redraw();
            }
            Err(failure) => self.fail(event_loop, failure),
        }
    }

    fn user_event(&mut self, event_loop: &ActiveEventLoop, _: SceneWaits) {
        if self.scenes.is_closed() {
            event_loop.exit();
        }
        // Statistics and figures age also while no frame comes.
        if self.scenes.has_scene() || self.shows_statistics || self.shows_figures {
            self.request_redraw();
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
            WindowEvent::Resized(size) => {
                self.scenes.set_target(size.width, size.height);
                self.request_redraw();
            }
            WindowEvent::CursorMoved { .. } => self.show_cursor_for_a_while(),
            WindowEvent::KeyboardInput {
                event:
                    KeyEvent {
                        state: ElementState::Pressed,
                        repeat: false,
                        logical_key,
                        ..
                    },
                is_synthetic: false,
                ..
            } => self.on_key(event_loop, &logical_key),
            _ => {}
        }
    }

    fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
        let now = clock::now();
        event_loop.set_control_flow(match self.on_time(now) {
            Some(next) => ControlFlow::wait_duration(next.saturating_since(now)),
            None => ControlFlow::Wait,
        });
    }
}

/// Draws what a screen shows: a picture with its marker, or a card.
fn paint(canvas: &mut Canvas<'_>, scene: &Scene, marker: Option<&Marker>, scaler: &mut Scaler) {
    match scene {
        Scene::Message { title, reason } => card::draw(canvas, title, reason),
        Scene::Picture(shown) => {
            let marker = marker.filter(|marker| marker.id.epoch == shown.id.epoch);
            paint_picture(canvas, &shown.picture, marker, scaler);
        }
    }
}

/// Draws a picture as large as it fits, with the marker over it.
pub(crate) fn paint_picture(
    canvas: &mut Canvas<'_>,
    picture: &Picture,
    marker: Option<&Marker>,
    scaler: &mut Scaler,
) {
    canvas.show(picture, scaler);
    if let Some(marker) = marker {
        let size = (picture.width() as usize, picture.height() as usize);
        let area = fit(size, (canvas.width(), canvas.height()));
        marker::draw(canvas, area, marker);
    }
}
