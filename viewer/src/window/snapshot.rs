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
    let unfinished = folder.join(format!(".{name}.part"));
    fs::write(&unfinished, &shown.jpeg)?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
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
    }
}
