//! Saves the picture on the screen to a file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::scene::Shown;

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
    use crate::picture::Picture;

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
}
