//! Saves the picture that was received, or what is on the screen, to a file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use fanlight_daemon::clock;

use crate::picture::Picture;
use crate::scene::Shown;

/// Quality of the JPEG of a screen: letters over a picture stay sharp.
const SCREEN_QUALITY: i32 = 92;

/// Saves the JPEG as it was received in `folder`, under a name made of the frame's identity, and returns the path. The
/// file appears whole or not at all.
pub(super) fn save(folder: &Path, shown: &Shown) -> io::Result<PathBuf> {
    let name = format!(
        "fanlight-{}-{:016x}-{}.jpg",
        shown.stream, shown.id.epoch, shown.id.number
    );

    let path = folder.join(&name);
    write_whole(&path, &shown.jpeg)?;
    Ok(path)
}

/// Saves what is on the screen in `folder`, under a name made of the time, and returns the path.
pub(super) fn save_screen(folder: &Path, screen: &Picture) -> io::Result<PathBuf> {
    let (width, height) = screen.size();
    let image = turbojpeg::Image {
        pixels: bytemuck::cast_slice(screen.pixels()),
        width,
        pitch: width * size_of::<u32>(),
        height,
        format: turbojpeg::PixelFormat::BGRX,
    };
    let jpeg = turbojpeg::compress(image, SCREEN_QUALITY, turbojpeg::Subsamp::None)
        .map_err(io::Error::other)?;

    let utc = clock::now()
        .as_nanos()
        .saturating_add_signed(clock::wall_offset_ns());
    let path = folder.join(format!("fanlight-screen-{}.jpg", utc / 1_000_000));
    write_whole(&path, &jpeg)?;
    Ok(path)
}

/// Whether a picture was saved, for the log and the person.
pub(super) fn told(folder: &Path, saved: io::Result<PathBuf>) -> String {
    match saved {
        Ok(path) => {
            tracing::info!(path = %path.display(), "snapshot saved");
            format!("saved {}", path.display())
        }
        Err(error) => {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "snapshot not saved");
            format!("not saved in {folder}: {error}")
        }
    }
}

/// Writes a file that appears whole or not at all; nothing is left when that fails.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.part"));
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanlight_proto::message::FrameId;

    use super::*;

    #[test]
    fn the_jpeg_is_saved_as_received_under_the_name_of_its_frame() {
        let folder = tempfile::tempdir().unwrap();
        let shown = Shown {
            stream: "lobby.1".parse().unwrap(),
            id: FrameId {
                epoch: 0xabc,
                number: 42,
            },
            picture: Picture::default(),
            rate_millihertz: 0,
            jpeg: Bytes::from_static(b"picture"),
        };

        let path = save(folder.path(), &shown).unwrap();
        assert_eq!(
            path,
            folder
                .path()
                .join("fanlight-lobby.1-0000000000000abc-42.jpg")
        );

        assert_eq!(fs::read(path).unwrap(), b"picture");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(save(&folder.path().join("missing"), &shown).is_err());

        // It cannot take the place of a folder.
        let taken = folder.path().join("taken.jpg");
        fs::create_dir(&taken).unwrap();
        assert!(write_whole(&taken, b"picture").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_on_the_screen_is_saved_as_it_looks() {
        let folder = tempfile::tempdir().unwrap();
        let mut screen = Picture::new(40, 30);
        screen.pixels_mut().fill(0x10_80_f0);

        let path = save_screen(folder.path(), &screen).unwrap();
        let mut saved = Picture::default();
        let jpeg = fs::read(path).unwrap();
        crate::decode::Decoder::new()
            .decode(&jpeg, &mut saved)
            .unwrap();
        assert_eq!(saved.size(), (40, 30));
        let near =
            |shift: u32| (saved.pixels()[0] >> shift & 0xff).abs_diff(0x10_80_f0 >> shift & 0xff);
        assert!([0, 8, 16].into_iter().all(|shift| near(shift) <= 3));
    }
}
