use std::fs;

use tempfile::TempDir;

use super::*;
use crate::jpeg::Encoder;
use crate::pixel_buffer::PixelBuffer;

/// A real picture, `shade` of grey, so that pictures differ.
fn picture(shade: u8) -> Vec<u8> {
    let mut buffer = PixelBuffer::default();
    buffer.reset_rgb(32, 16).fill(shade);
    Encoder::new(80)
        .unwrap()
        .encode(&buffer)
        .unwrap()
        .jpeg()
        .to_vec()
}

fn chunk(letters: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = [letters, &(body.len() as u32).to_le_bytes()[..], body].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn list(letters: &[u8; 4], kind: &[u8; 4], parts: &[Vec<u8>]) -> Vec<u8> {
    chunk(letters, &[kind, &parts.concat()[..]].concat())
}

/// An AVI whose stream 0 is sound and whose stream 1 is video.
fn avi(codec: &[u8; 4], pictures: &[Vec<u8>]) -> Vec<u8> {
    let stream = |kind: &[u8; 4], compression: &[u8; 4]| {
        let header = [&kind[..], &compression[..], &[0; 48]].concat();
        let format = [&[0u8; 16][..], &compression[..], &[0; 20]].concat();
        list(
            b"LIST",
            b"strl",
            &[chunk(b"strh", &header), chunk(b"strf", &format)],
        )
    };

    let head = list(
        b"LIST",
        b"hdrl",
        &[
            chunk(b"avih", &[0; 56]),
            stream(b"auds", b"\0\0\0\0"),
            stream(b"vids", codec),
        ],
    );

    let mut movie = Vec::new();
    for picture in pictures {
        movie.push(chunk(b"00wb", &[1, 2, 3]));
        movie.push(list(b"LIST", b"rec ", &[chunk(b"01dc", picture)]));
    }

    let junk = chunk(b"JUNK", &[7; 33]);
    list(
        b"RIFF",
        b"AVI ",
        &[
            head,
            list(b"LIST", b"INFO", std::slice::from_ref(&junk)),
            junk,
            list(b"LIST", b"movi", &movie),
        ],
    )
}

/// The AVI with a rate and, before its last picture, moments at which nothing changes.
fn with_rate(mut avi: Vec<u8>, scale: u32, rate: u32, still: usize) -> Vec<u8> {
    let header = avi
        .windows(4)
        .position(|letters| letters == b"vids")
        .unwrap();
    avi[header + 20..header + 24].copy_from_slice(&scale.to_le_bytes());
    avi[header + 24..header + 28].copy_from_slice(&rate.to_le_bytes());
    let last = avi
        .windows(4)
        .rposition(|letters| letters == b"01dc")
        .unwrap();
    let before = list(b"LIST", b"rec ", &vec![chunk(b"01dc", &[]); still]);
    // In front of the list that has the picture.
    avi.splice(last - 12..last - 12, before);
    avi
}

#[test]
fn an_avi_plays_at_its_own_speed_unless_another_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("film.avi");
    let pictures = [picture(1), picture(2)];
    fs::write(&path, with_rate(avi(b"MJPG", &pictures), 1001, 30_000, 0)).unwrap();
    let rate = |asked| {
        let mut input = FileInput {
            rate_millihertz: asked,
            ..input(&path, true)
        };
        input.open().unwrap().rate_millihertz()
    };

    assert_eq!(rate(None), 29_970);
    assert_eq!(rate(Some(5_000)), 5_000);
    fs::write(&path, avi(b"MJPG", &pictures)).unwrap();
    assert_eq!(
        rate(None),
        USUAL_RATE_MILLIHERTZ,
        "it says nothing of its rate"
    );
}

#[test]
fn a_picture_stays_as_long_as_the_avi_says_and_comes_again_each_second() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("film.avi");
    let pictures = [picture(1), picture(2)];
    for (still, moments) in [(0, vec![1, 1]), (3, vec![1, 4]), (25, vec![1, 10, 10, 6])] {
        fs::write(&path, with_rate(avi(b"MJPG", &pictures), 1, 10, still)).unwrap();
        let mut avi = Avi::open(&path).unwrap();
        let mut seen = Vec::new();
        while let Some(shown) = avi.next().unwrap() {
            seen.push(avi.moments());
            let is_last = avi.moments() < 10 && seen.len() > 1;
            let expected = &pictures[usize::from(is_last)];
            assert_eq!(shown.jpeg(), &expected[..], "{still}");
        }
        assert_eq!(seen, moments, "{still}");
    }
}

fn input(path: &Path, repeat: bool) -> FileInput {
    FileInput {
        path: path.to_owned(),
        rate_millihertz: Some(200_000),
        repeat,
    }
}

/// Plays until the end or until `most` pictures are delivered or passed over; gives what was delivered, with the number
/// that each has.
fn play(input: &mut FileInput, most: u64) -> (Vec<(u64, Vec<u8>)>, Option<CameraError>) {
    let mut camera = match input.open() {
        Ok(camera) => camera,
        Err(error) => return (Vec::new(), Some(error)),
    };

    let (mut delivered, mut number) = (Vec::new(), 0);
    while number < most {
        match camera.next(number, &mut Raw::default()) {
            Ok(CapturedFrame {
                skipped,
                content: Content::Jpeg(jpeg),
                ..
            }) => {
                number += skipped;
                delivered.push((number, jpeg.jpeg().to_vec()));
                number += 1;
            }
            Ok(_) => panic!("files deliver JPEGs"),
            Err(error) => return (delivered, Some(error)),
        }
    }

    (delivered, None)
}

/// Every kind of file with these pictures in it.
fn files(pictures: &[Vec<u8>]) -> (TempDir, [PathBuf; 3]) {
    let dir = TempDir::new().unwrap();
    let paths = ["pictures", "movie.mjpeg", "movie.avi"].map(|name| dir.path().join(name));
    fs::create_dir(&paths[0]).unwrap();

    for (index, picture) in pictures.iter().enumerate() {
        fs::write(paths[0].join(format!("{index:03}.JPG")), picture).unwrap();
    }

    fs::write(paths[0].join("readme.txt"), "no picture").unwrap();
    fs::write(&paths[1], pictures.concat()).unwrap();
    fs::write(&paths[2], avi(b"MJPG", pictures)).unwrap();
    (dir, paths)
}

#[test]
fn every_kind_of_file_plays_its_pictures_in_order_and_over_again() {
    let pictures: Vec<_> = (0..10).map(|n| picture(n * 20)).collect();
    let (_dir, paths) = files(&pictures);

    for path in &paths {
        let (delivered, error) = play(&mut input(path, true), 35);
        assert!(error.is_none(), "{error:?}");
        assert!(delivered.len() > 5);

        for (number, jpeg) in delivered {
            assert_eq!(
                jpeg,
                pictures[number as usize % 10],
                "{} {number}",
                path.display()
            );
        }
    }
}

#[test]
fn what_is_not_repeated_ends() {
    let (_dir, paths) = files(&[picture(1), picture(2)]);
    for path in &paths {
        let (delivered, error) = play(&mut input(path, false), 100);
        assert!((1..=2).contains(&delivered.len()));
        assert!(matches!(error, Some(CameraError::Ended(_))), "{error:?}");
    }
}

/// The same picture with 12 bits per sample, as its header says.
fn with_12_bits(mut jpeg: Vec<u8>) -> Vec<u8> {
    let at = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[at + 4] = 12;
    jpeg
}

#[test]
fn damaged_and_12_bit_pictures_are_left_out_and_counted_as_skipped() {
    let good = picture(1);
    let cut = picture(3)[..good.len() - 5].to_vec();
    let twelve = with_12_bits(picture(2));
    let (_dir, paths) = files(&[good.clone(), cut, twelve, good.clone()]);

    for path in &paths {
        let mut input = FileInput {
            rate_millihertz: Some(5_000),
            ..input(path, false)
        };
        let (delivered, _) = play(&mut input, 100);
        assert!(delivered.iter().all(|(_, jpeg)| *jpeg == good));
        assert_eq!(delivered.last().unwrap().0, 3, "{}", path.display());
    }
}

#[test]
fn a_file_with_only_unusable_pictures_says_why() {
    let scans = crate::jpeg::markers::tests::with_scans(8, 8, 1000);
    for (pictures, reason) in [
        (with_12_bits(picture(1)), "pictures are 12-bit JPEG"),
        (scans, "too many scans"),
    ] {
        let (_dir, paths) = files(&[pictures.clone(), pictures]);
        for path in &paths {
            let (_, error) = play(&mut input(path, true), 100);
            let Some(CameraError::WrongFormat(text)) = &error else {
                panic!("{error:?}")
            };
            assert!(text.contains(reason), "{}: {text}", path.display());
        }
    }
}

#[test]
fn a_file_without_any_usable_picture_is_an_error_not_a_loop() {
    let cut = picture(3)[..100].to_vec();
    let (_dir, paths) = files(&[cut.clone(), cut]);
    for path in &paths {
        let (_, error) = play(&mut input(path, true), 100);
        let text = error.unwrap().to_string();
        assert!(text.contains("no usable picture"), "{text}");
    }
}

#[test]
fn what_cannot_be_played_is_refused_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let refusal = |name: &str, content: Option<&[u8]>| {
        let path = dir.path().join(name);
        if let Some(bytes) = content {
            fs::write(&path, bytes).unwrap();
        }
        play(&mut input(&path, true), 1).1.unwrap()
    };

    assert!(matches!(refusal("none", None), CameraError::Unplugged(_)));
    assert!(matches!(
        refusal("text", Some(b"hello world!")),
        CameraError::WrongFormat(_)
    ));

    assert!(matches!(
        refusal("empty", Some(b"")),
        CameraError::WrongFormat(_)
    ));

    let h264 = refusal("h264", Some(&avi(b"H264", &[picture(1)])));
    assert!(h264.to_string().contains("H264"), "{h264}");
    fs::create_dir(dir.path().join("bare")).unwrap();
    assert!(refusal("bare", None).to_string().contains("no *.jpg"));
}

#[test]
fn an_avi_cut_anywhere_plays_what_is_whole_and_never_panics() {
    let pictures: Vec<_> = (0..3).map(picture).collect();
    let whole = avi(b"MJPG", &pictures);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("cut.avi");

    for end in (12..whole.len()).step_by(11) {
        fs::write(&path, &whole[..end]).unwrap();
        let Ok(mut avi) = Avi::open(&path) else {
            continue;
        };

        let mut played = Vec::new();
        while let Some(picture) = avi.next().unwrap() {
            played.push(picture.jpeg().to_vec());
        }

        assert_eq!(played, pictures[..played.len()], "{end}");
    }
}

#[test]
fn lengths_that_lie_do_not_harm() {
    let whole = avi(b"MJPG", &[picture(1), picture(2)]);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("lie.avi");

    for at in 12..whole.len() - 4 {
        let mut lying = whole.clone();
        lying[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        fs::write(&path, &lying).unwrap();
        if let Ok(mut avi) = Avi::open(&path) {
            while avi.next().unwrap().is_some() {}
        }
    }
}

#[test]
fn what_changes_in_a_directory_between_two_rounds_is_seen_although_pictures_are_kept() {
    let (directory, [folder, ..]) = files(&[picture(1), picture(2), picture(3)]);
    let mut pictures = Directory::open(&folder).unwrap();
    let mut round = || {
        pictures.rewind().unwrap();
        let jpegs: Vec<_> = std::iter::from_fn(|| pictures.next().unwrap())
            .map(|buffer| buffer.jpeg().to_vec())
            .collect();
        (jpegs, pictures.kept_bytes())
    };

    let first = round();
    assert_eq!(
        first,
        (
            vec![picture(1), picture(2), picture(3)],
            [1, 2, 3].map(|shade| picture(shade).len()).iter().sum()
        )
    );

    assert_eq!(round(), first);
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();

    names.sort();
    fs::write(&names[0], picture(9)).unwrap();
    fs::remove_file(&names[1]).unwrap();
    fs::rename(&names[2], directory.path().join("away")).unwrap();
    fs::write(&names[2], picture(8)).unwrap();
    let second = vec![picture(9), picture(8)];
    assert_eq!(round().0, second);
    assert_eq!(round().0, second);
}
