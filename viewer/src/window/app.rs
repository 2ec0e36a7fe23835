//! The event handler of the window: redraws, keys and timers. It runs on the main thread.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use winit::application::ApplicationHandler;
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow};
use winit::keyboard::{Key, NamedKey};
use winit::window::WindowId;

use super::screen::Screen;
use super::{Options, WindowError, snapshot};
use crate::canvas::{Area, Canvas, Painter, fit};
use crate::card;
use crate::marker::{self, Marker};
use crate::overlay::{self, Panel};
use crate::picture::Picture;
use crate::readings::Readings;
use crate::scene::{Card, Scene, SceneSlot};

/// How long the mouse pointer stays in full screen after it was last moved.
const CURSOR_LINGERS: Duration = Duration::from_secs(2);

/// How long a note, such as where a snapshot was saved, stays over the picture.
const NOTE_LINGERS: Duration = Duration::from_secs(3);

/// How long the screen says which it is: a person looks at the other screens meanwhile.
const IDENTITY_LINGERS: Duration = Duration::from_secs(8);

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
    painter: Painter,
    panels: Vec<Panel>,
    identifies_until: Option<Time>,
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
            scene: Scene::Message(Card {
                title: "One moment".into(),
                since: clock::now(),
                ..Card::default()
            }),
            titled: None,
            painter: Painter::default(),
            panels: options.panels.clone(),
            identifies_until: None,
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
        let fresh = self.take_scene();
        let Some(screen) = &mut self.screen else {
            return Ok(());
        };

        let readings = self.scenes.readings();
        let note = self.note.as_ref().map_or("", |(text, _)| text.as_str());
        let marker = self
            .scenes
            .marker()
            .filter(|marker| clock::now().saturating_since(marker.at) < MARKER_LINGERS);

        let scene = &self.scene;
        let panels = &self.panels;
        let identifies = self.identifies_until.is_some();
        let painter = &mut self.painter;
        let drawn = screen.draw(|canvas| {
            let taken = paint(canvas, scene, marker.as_ref(), &readings, painter);
            let font = &mut painter.font;
            overlay::draw(canvas, font, panels, &readings, note, &taken);
            if identifies {
                overlay::announce(canvas, font, &readings.screen, &readings.address);
            }
        })?;

        if let (true, Some(id)) = (drawn, fresh) {
            (self.presented)(id, clock::now());
        }

        Ok(())
    }

    /// Takes the newest scene if there is one; returns the identity of its frame.
    fn take_scene(&mut self) -> Option<FrameId> {
        let screen = self.screen.as_ref()?;
        let scene = self.scenes.take()?;
        let mut fresh = None;
        if let Scene::Picture(shown) = &scene {
            fresh = Some(shown.id);
            if self.titled.as_ref() != Some(&shown.stream) {
                screen.set_title(&format!("{} — Fanlight", shown.stream));
                self.titled = Some(shown.stream.clone());
            }
        }

        self.scenes
            .recycle(std::mem::replace(&mut self.scene, scene));
        fresh
    }

    fn on_key(&mut self, event_loop: &ActiveEventLoop, key: &Key) {
        match key.as_ref() {
            Key::Named(NamedKey::Escape) | Key::Character("q" | "Q") => event_loop.exit(),
            Key::Character("f" | "F") => self.toggle_full_screen(),
            Key::Character("s" | "S") => self.save_snapshot(),
            Key::Character("i" | "I") => self.toggle(Panel::Statistics),
            Key::Character("n" | "N") => self.toggle(Panel::Figures),
            Key::Character("t" | "T") => self.toggle(Panel::Name),
            Key::Character("h" | "H" | "?") => self.toggle(Panel::Help),
            Key::Character("w" | "W") => {
                self.identifies_until = Some(clock::now() + IDENTITY_LINGERS);
                self.request_redraw();
            }
            _ => {}
        }
    }

    fn toggle(&mut self, panel: Panel) {
        overlay::toggle(&mut self.panels, panel);
        self.request_redraw();
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
            Scene::Message(_) => "there is no picture to save".to_owned(),
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

        if self.identifies_until.is_some_and(|until| until <= now) {
            self.identifies_until = None;
            self.request_redraw();
        }

        if self.look_at.is_some_and(|at| at <= now) {
            self.look_for_the_window(now);
        }

        let until = self.note.as_ref().map(|(_, until)| *until);
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
        // Panels age also while no frame comes, and a card has a clock.
        let is_card = matches!(self.scene, Scene::Message(_));
        if self.scenes.has_scene() || is_card || !self.panels.is_empty() {
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

/// Draws what a screen shows: a picture with its marker, or a card. Returns where the words of a card are.
fn paint(
    canvas: &mut Canvas<'_>,
    scene: &Scene,
    marker: Option<&Marker>,
    readings: &Readings,
    painter: &mut Painter,
) -> [Area; 2] {
    match scene {
        Scene::Message(card) => card::draw(canvas, &mut painter.font, card, readings),
        Scene::Picture(shown) => {
            let marker = marker.filter(|marker| marker.id.epoch == shown.id.epoch);
            paint_picture(canvas, &shown.picture, marker, painter);
            <[Area; 2]>::default()
        }
    }
}

/// Draws a picture as large as it fits, with the marker over it.
pub(crate) fn paint_picture(
    canvas: &mut Canvas<'_>,
    picture: &Picture,
    marker: Option<&Marker>,
    painter: &mut Painter,
) {
    canvas.show(picture, &mut painter.scaler);
    if let Some(marker) = marker {
        let size = (picture.width() as usize, picture.height() as usize);
        let area = fit(size, (canvas.width(), canvas.height()));
        marker::draw(canvas, area, marker, &mut painter.font);
    }
}
