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

fn area(x: usize, y: usize, width: usize, height: usize) -> Area {
    Area {
        x,
        y,
        width,
        height,
    }
}

fn tile(scenes: &Arc<SceneSlot>) -> Tile {
    let mut tile = Tile::new(Arc::clone(scenes), View::default());
    tile.set_area(area(0, 0, 16, 16));
    tile
}

fn taken(tile: &mut Tile) -> Option<u64> {
    tile.refresh(1, false);
    tile.take_fresh().map(|id| id.number)
}

fn colour(tile: &Tile) -> u32 {
    tile.shown().unwrap().picture.pixels()[0] & 0xff
}

#[test]
fn a_stopped_picture_goes_back_and_on_among_those_that_were_shown() {
    let scenes = Arc::new(SceneSlot::new());
    let mut tile = tile(&scenes);
    for number in 1..=4 {
        publish(&scenes, number);
        assert_eq!(taken(&mut tile), Some(number));
    }

    tile.pause();
    publish(&scenes, 5);
    assert_eq!(taken(&mut tile), None);
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
    assert_eq!(taken(&mut tile), Some(5));
    assert_eq!(tile.paused_at(), None);
}

#[test]
fn a_card_is_not_stopped_and_takes_the_next_scene() {
    let scenes = Arc::new(SceneSlot::new());
    let mut tile = tile(&scenes);
    tile.pause();
    tile.seek(Seek::Frames(-1));
    assert!(!tile.is_paused());

    publish(&scenes, 1);
    taken(&mut tile);
    scenes.publish(Scene::Message(Card::default()));
    taken(&mut tile);
    tile.seek(Seek::Back);
    assert!(!tile.is_paused());
}

#[test]
fn an_enlarged_picture_names_the_pixel_under_the_pointer_as_it_was_received() {
    let scenes = Arc::new(SceneSlot::new());
    let view = View::new(Scaling::Fit, Turn::Right, false);
    let mut tile = Tile::new(Arc::clone(&scenes), view);
    tile.set_area(area(1000, 500, 160, 160));
    publish(&scenes, 3);
    taken(&mut tile);
    assert_eq!(tile.pixel_text((1001.0, 501.0)), None);

    tile.zoom(2.0, (1000.0, 500.0));
    assert_eq!(scenes.target(), None);
    // The upper left of what is turned to the right is the lower left as received.
    let text = tile.pixel_text((1001.0, 501.0)).unwrap();
    assert!(text.starts_with("x 0  y 15  #"), "{text}");
    let text = tile.pixel_text((1001.0, 550.0)).unwrap();
    assert!(text.starts_with("x 2  y 15  #"), "{text}");
    assert_eq!(tile.pixel_text((1200.0, 500.0)), None);
}
#[test]
fn a_tile_that_is_not_seen_takes_nothing_and_asks_for_the_smallest_pictures() {
    let scenes = Arc::new(SceneSlot::new());
    let mut tile = tile(&scenes);
    assert_eq!(scenes.target(), Some((16, 16)));
    tile.set_area(Area::default());
    publish(&scenes, 1);
    assert!(!tile.is_stale(true));
    assert_eq!(taken(&mut tile), None);
    assert_eq!(scenes.target(), Some((1, 1)));

    tile.set_area(area(0, 0, 16, 16));
    assert_eq!(taken(&mut tile), Some(1));
}

#[test]
fn only_what_has_changed_is_drawn_anew() {
    let scenes = Arc::new(SceneSlot::new());
    let mut tile = tile(&scenes);
    publish(&scenes, 1);
    tile.refresh(5, false);
    assert!(tile.changed_since(4) && !tile.changed_since(5));
    tile.refresh(6, true);
    assert!(!tile.changed_since(5), "nothing came");

    scenes.set_readings(Readings {
        caption: "lobby".into(),
        ..Readings::default()
    });
    tile.refresh(7, false);
    assert!(!tile.changed_since(5), "no panel shows it");
    tile.refresh(8, true);
    assert!(tile.changed_since(7));
    assert_eq!(tile.readings().caption, "lobby");
}

#[test]
fn a_stopped_picture_does_not_say_that_its_stream_is_live() {
    let scenes = Arc::new(SceneSlot::new());
    let mut tile = tile(&scenes);
    scenes.set_readings(Readings {
        name: "lobby  live  14:05:23 UTC".into(),
        caption: "lobby  live  8 ms".into(),
        stream: "lobby".into(),
        ..Readings::default()
    });
    publish(&scenes, 1);
    tile.refresh(1, true);
    assert_eq!(tile.readings().caption, "lobby  live  8 ms");

    tile.pause();
    let readings = tile.readings();
    assert_eq!((&*readings.name, &*readings.caption), ("lobby", "lobby"));
}
