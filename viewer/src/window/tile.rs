//! What a window shows of one stream: its scene, how that lies there, and the past while a person looks at it. The window's
//! thread owns it.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::message::FrameId;

use super::history::{History, Past};
use crate::canvas::{Area, Canvas, Painter};
use crate::card;
use crate::decode::Decoder;
use crate::marker::{self, Marker, Span};
use crate::picture::Picture;
use crate::scene::{Card, Scene, SceneSlot, Shown};
use crate::view::View;

/// How long the marker of a detection stays after it: with the tracker gone, it would lie.
pub(crate) const MARKER_LINGERS: Duration = Duration::from_millis(500);

/// A step through what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// So many frames on; negative: back.
    Frames(isize),
    /// A second on.
    Forward,
    /// A second back.
    Back,
}

/// How far [`Seek::Forward`] and [`Seek::Back`] go.
const SEEK: Duration = Duration::from_secs(1);

pub(super) struct Tile<'a> {
    scenes: &'a SceneSlot,
    scene: Scene,
    view: View,
    /// Pixels (width, height) that it has on the screen.
    size: (usize, usize),
    history: History,
    /// Which frame of the history is shown while the picture is stopped.
    paused: Option<usize>,
    decoder: Decoder,
}

impl<'a> Tile<'a> {
    pub(super) fn new(scenes: &'a SceneSlot, view: View) -> Self {
        Self {
            scenes,
            scene: Scene::Message(Card {
                title: "One moment".into(),
                since: clock::now(),
                ..Card::default()
            }),
            view,
            size: (0, 0),
            history: History::default(),
            paused: None,
            decoder: Decoder::new(),
        }
    }

    /// The slot that its scenes come from.
    pub(super) const fn scenes(&self) -> &'a SceneSlot {
        self.scenes
    }

    /// The frame on the screen; none while there is a card.
    pub(super) const fn shown(&self) -> Option<&Shown> {
        match &self.scene {
            Scene::Picture(shown) => Some(shown),
            Scene::Message(_) => None,
        }
    }

    /// Sets how many pixels it has.
    pub(super) fn set_size(&mut self, size: (usize, usize)) {
        self.size = size;
        self.set_target();
    }

    /// Takes the newest scene if there is one; returns the identity of its frame. A stopped picture takes none.
    pub(super) fn take_scene(&mut self) -> Option<FrameId> {
        if self.paused.is_some() {
            return None;
        }

        let scene = self.scenes.take()?;
        self.scenes
            .recycle(std::mem::replace(&mut self.scene, scene));
        let Scene::Picture(shown) = &self.scene else {
            return None;
        };

        self.history.push(clock::now(), shown);
        Some(shown.id)
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Stops the picture. A card is never stopped.
    pub(super) fn pause(&mut self) {
        let newest = self.history.len().checked_sub(1);
        self.paused = newest.filter(|_| self.shown().is_some());
    }

    /// Shows live pictures again.
    pub(super) fn resume(&mut self) {
        self.paused = None;
    }

    /// Shows another frame of the past; stops the picture if it is live.
    pub(super) fn seek(&mut self, seek: Seek) {
        if !self.is_paused() {
            self.pause();
        }

        let Some(at) = self.paused else { return };
        let newest = self.history.len() - 1;
        let time = self.history.get(at).map_or_else(clock::now, |past| past.at);
        let to = match seek {
            Seek::Frames(by) => at.saturating_add_signed(by).min(newest),
            Seek::Forward => self.history.position(time + SEEK).max(at),
            Seek::Back => self.history.position(time - SEEK).min(at),
        };
        self.paused = Some(to);
        self.decode_past();
    }

    /// How long before the picture was stopped the frame on the screen was shown; none while it is live.
    pub(super) fn paused_at(&self) -> Option<Duration> {
        let past = self.history.get(self.paused?)?;
        let newest = self.history.get(self.history.len() - 1)?;
        Some(newest.at.saturating_since(past.at))
    }

    /// Decodes the frame of the past that is to be shown, in the size that the view asks for.
    fn decode_past(&mut self) {
        let Some(past) = self.paused.and_then(|at| self.history.get(at)).cloned() else {
            return;
        };

        let mut picture = self.scenes.spare();
        let target = self.scenes.target();
        let Past {
            stream,
            id,
            rate_millihertz,
            jpeg,
            ..
        } = past;
        // It was decoded before: only what another size of it asks for can fail, and then the former picture stays.
        if self
            .decoder
            .decode_for(&jpeg, target, &mut picture)
            .is_err()
        {
            self.scenes.give_back(picture);
            return;
        }

        let scene = Scene::Picture(Shown {
            stream,
            id,
            picture,
            rate_millihertz,
            jpeg,
        });
        self.scenes
            .recycle(std::mem::replace(&mut self.scene, scene));
    }

    /// Changes how pictures are shown.
    pub(super) fn change_view(&mut self, change: impl FnOnce(&mut View)) {
        change(&mut self.view);
        self.set_target();
        self.decode_past();
    }

    /// Says how large pictures need to be.
    fn set_target(&self) {
        let (width, height) = self.size;
        let target = self.view.target((width as u32, height as u32));
        self.scenes.set_target(target);
    }

    /// Enlarges by `factor` at the point `at` of the tile.
    pub(super) fn zoom(&mut self, factor: f64, at: (f64, f64)) {
        let frame = self.size;
        if let Some(size) = self.seen_size() {
            self.change_view(|view| view.zoom(factor, at, size, frame));
        }
    }

    /// Moves the picture by so many pixels of the screen.
    pub(super) fn drag(&mut self, by: (f64, f64)) {
        if let Some(size) = self.seen_size() {
            self.view.drag(by, size, self.size);
        }
    }

    /// The picture's size as it is seen; none while there is no picture.
    fn seen_size(&self) -> Option<(usize, usize)> {
        let shown = self.shown()?;
        Some(self.view.turned_size(shown.picture.size()))
    }

    /// Whether a person has enlarged the picture.
    pub(super) fn is_enlarged(&self) -> bool {
        self.view.is_enlarged()
    }

    /// Place and colour of the picture's pixel at the point `at` of the tile, for people; none unless it is enlarged.
    pub(super) fn pixel_text(&self, at: (f64, f64)) -> Option<String> {
        let shown = self.shown().filter(|_| self.view.is_enlarged())?;
        let size = shown.picture.size();
        let (x, y) = self.view.pixel_at(at, size, self.size)?;
        let colour = shown.picture.pixels().get(y * size.0 + x)? & 0xff_ff_ff;
        Some(format!("x {x}  y {y}  #{colour:06x}"))
    }

    /// Draws picture or card. Returns where the words of a card are.
    pub(super) fn paint(&self, canvas: &mut Canvas<'_>, painter: &mut Painter) -> [Area; 2] {
        match &self.scene {
            Scene::Message(card) => {
                let readings = self.scenes.readings();
                card::draw(canvas, &mut painter.font, card, &readings)
            }
            Scene::Picture(shown) => {
                let marker = self.scenes.marker().filter(|marker| {
                    let is_fresh = clock::now().saturating_since(marker.at) < MARKER_LINGERS;
                    is_fresh && marker.id.epoch == shown.id.epoch && !self.is_paused()
                });
                paint_picture(canvas, &shown.picture, &self.view, marker.as_ref(), painter);
                <[Area; 2]>::default()
            }
        }
    }
}

/// Draws a picture as `view` has it, with the marker over it.
pub(crate) fn paint_picture(
    canvas: &mut Canvas<'_>,
    picture: &Picture,
    view: &View,
    marker: Option<&Marker>,
    painter: &mut Painter,
) {
    let Painter {
        scaler,
        font,
        turned,
    } = painter;
    let picture = if view.is_upright() {
        picture
    } else {
        view.turn_picture(picture, turned);
        turned
    };

    let size = picture.size();
    let (place, part) = view.place(size, (canvas.width(), canvas.height()));
    canvas.show(picture, (place, part), scaler);
    if let Some(marker) = marker {
        let scale = place.width as f64 / part.width.max(1.0);
        let whole = Span {
            x: (place.x as f64 - part.left * scale) as f32,
            y: (place.y as f64 - part.top * scale) as f32,
            width: (size.0 as f64 * scale) as f32,
        };
        marker::draw(canvas, whole, &view.turn_marker(marker), font);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::view::{Scaling, Turn};

    /// A JPEG of one grey: `number` times ten.
    fn grey(number: u64) -> Bytes {
        let pixels = vec![number as u8 * 10; 16 * 16 * 4];
        let image = turbojpeg::Image {
            pixels: &pixels[..],
            width: 16,
            pitch: 64,
            height: 16,
            format: turbojpeg::PixelFormat::BGRX,
        };
        let jpeg = turbojpeg::compress(image, 95, turbojpeg::Subsamp::None).unwrap();
        Bytes::copy_from_slice(&jpeg)
    }

    fn publish(scenes: &SceneSlot, number: u64) {
        let jpeg = grey(number);
        let mut picture = scenes.spare();
        Decoder::new().decode(&jpeg, &mut picture).unwrap();
        scenes.publish(Scene::Picture(Shown {
            stream: "lobby".parse().unwrap(),
            id: FrameId { epoch: 1, number },
            picture,
            rate_millihertz: 0,
            jpeg,
        }));
    }

    fn colour(tile: &Tile<'_>) -> u32 {
        tile.shown().unwrap().picture.pixels()[0] & 0xff
    }

    #[test]
    fn a_stopped_picture_goes_back_and_on_among_those_that_were_shown() {
        let scenes = SceneSlot::new();
        let mut tile = Tile::new(&scenes, View::default());
        for number in 1..=4 {
            publish(&scenes, number);
            assert_eq!(tile.take_scene().unwrap().number, number);
        }

        tile.pause();
        publish(&scenes, 5);
        assert_eq!(tile.take_scene(), None);
        let numbers = [-1, -1, 1, -9, 9].map(|by| {
            tile.seek(Seek::Frames(by));
            let number = tile.shown().unwrap().id.number;
            assert!(u64::from(colour(&tile)).abs_diff(number * 10) <= 2);
            number
        });
        assert_eq!(numbers, [3, 2, 3, 1, 4]);

        tile.seek(Seek::Back);
        assert_eq!(tile.shown().unwrap().id.number, 1);
        assert!(tile.paused_at().unwrap() > Duration::ZERO);
        tile.seek(Seek::Forward);
        assert_eq!(tile.paused_at(), Some(Duration::ZERO));

        tile.resume();
        assert_eq!(tile.take_scene().unwrap().number, 5);
        assert_eq!(tile.paused_at(), None);
    }

    #[test]
    fn a_card_is_not_stopped_and_takes_the_next_scene() {
        let scenes = SceneSlot::new();
        let mut tile = Tile::new(&scenes, View::default());
        tile.pause();
        tile.seek(Seek::Frames(-1));
        assert!(!tile.is_paused());

        publish(&scenes, 1);
        tile.take_scene();
        scenes.publish(Scene::Message(Card::default()));
        tile.take_scene();
        tile.seek(Seek::Back);
        assert!(!tile.is_paused());
    }

    #[test]
    fn an_enlarged_picture_names_the_pixel_under_the_pointer_as_it_was_received() {
        let scenes = SceneSlot::new();
        let view = View::new(Scaling::Fit, Turn::Right, false);
        let mut tile = Tile::new(&scenes, view);
        tile.set_size((160, 160));
        publish(&scenes, 3);
        tile.take_scene();
        assert_eq!(tile.pixel_text((1.0, 1.0)), None);

        tile.zoom(2.0, (0.0, 0.0));
        assert_eq!(scenes.target(), None);
        // The upper left of what is turned to the right is the lower left as received.
        let text = tile.pixel_text((1.0, 1.0)).unwrap();
        assert!(text.starts_with("x 0  y 15  #"), "{text}");
        let text = tile.pixel_text((1.0, 50.0)).unwrap();
        assert!(text.starts_with("x 2  y 15  #"), "{text}");
        assert_eq!(tile.pixel_text((200.0, 0.0)), None);
    }
}
