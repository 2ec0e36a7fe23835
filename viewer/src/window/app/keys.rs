//! What a person's keys do to the window. The event handler calls it, on the main thread.

use fanlight_daemon::clock;
use winit::event_loop::ActiveEventLoop;
use winit::keyboard::{Key, NamedKey};

use super::{App, IDENTITY_LINGERS, ZOOM_STEP};
use crate::overlay::Panel;
use crate::view::View;
use crate::window::Step;
use crate::window::tile::Seek;

impl App<'_> {
    /// Has a tile fill the window, or all seen again.
    fn toggle_full_tile(&mut self, number: &str) {
        let number: usize = number.parse().unwrap_or_default();
        self.tiles.toggle_full(number.checked_sub(1));
        self.titled = None;
        if let Some(screen) = &self.screen {
            screen.set_title(&self.options.title);
        }
        self.request_redraw();
    }

    pub(super) fn on_key(&mut self, event_loop: &ActiveEventLoop, key: &Key) {
        match key.as_ref() {
            Key::Named(NamedKey::Escape) | Key::Character("q" | "Q") => event_loop.exit(),
            Key::Character("f" | "F") => self.toggle_full_screen(),
            Key::Character("s") => self.save_snapshot(),
            Key::Character("S") => self.save_screen(),
            Key::Character("i" | "I") => self.toggle(Panel::Statistics),
            Key::Character("n" | "N") => self.toggle(Panel::Figures),
            Key::Character("t" | "T") => self.toggle(Panel::Name),
            Key::Character("h" | "H" | "?") => self.toggle(Panel::Help),
            Key::Character("c" | "C") => self.toggle(Panel::Caption),
            Key::Character("l" | "L") => self.step(Step::List),
            Key::Named(NamedKey::ArrowRight) => self.step(Step::Next),
            Key::Named(NamedKey::ArrowLeft) => self.step(Step::Previous),
            Key::Named(NamedKey::Space) | Key::Character(" ") => self.pause_or_resume(),
            Key::Character("z" | "Z") => self.change_view(View::next_scaling),
            Key::Character("r" | "R") => self.change_view(View::turn_right),
            Key::Character("m" | "M") => self.change_view(View::mirror),
            Key::Character("w" | "W") => {
                self.identifies_until = Some(clock::now() + IDENTITY_LINGERS);
                self.request_redraw();
            }
            Key::Character(key) if key.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.toggle_full_tile(key);
            }
            _ => self.on_repeated_key(key),
        }
    }

    /// The keys that do the same again as long as they are held.
    pub(super) fn on_repeated_key(&mut self, key: &Key) {
        match key.as_ref() {
            Key::Character("+" | "=") => self.zoom(ZOOM_STEP),
            Key::Character("-") => self.zoom(1.0 / ZOOM_STEP),
            Key::Character(",") => self.seek(Seek::Frames(-1)),
            Key::Character(".") => self.seek(Seek::Frames(1)),
            Key::Character("<") => self.seek(Seek::Back),
            Key::Character(">") => self.seek(Seek::Forward),
            _ => {}
        }
    }

    fn step(&mut self, step: Step) {
        let at = self.current();
        let tile = self.tiles.get(at);
        if step != Step::List {
            tile.resume();
        }
        let shown = tile.shown().map(|shown| shown.stream.clone());
        self.handler.step(at, step, shown);
        self.request_redraw();
    }

    fn pause_or_resume(&mut self) {
        self.current_tile().pause_or_resume();
        self.request_redraw();
    }

    fn seek(&mut self, seek: Seek) {
        self.current_tile().seek(seek);
        self.request_redraw();
    }

    fn change_view(&mut self, change: impl FnOnce(&mut View)) {
        self.current_tile().change_view(change);
        self.request_redraw();
    }

    pub(super) fn zoom(&mut self, factor: f64) {
        let at = self.pointer.at();
        self.current_tile().zoom(factor, at);
        self.request_redraw();
    }
}
