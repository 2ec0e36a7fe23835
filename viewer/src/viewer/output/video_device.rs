//! A video device that takes pictures, such as one of v4l2loopback: other programs take it for a camera.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use v4l::capability::Flags;
use v4l::fraction::Fraction;
use v4l::video::Output as _;
use v4l::video::output::Parameters;
use v4l::{Device, Format, FourCC};

use super::fitted::Fitted;
use super::y4m::channels;
use crate::picture::Picture;

/// Two pixels in four bytes, which whatever opens a camera understands.
const CODING: &[u8; 4] = b"YUYV";

/// An open device.
pub(super) struct VideoDevice {
    device: Device,
    /// Since the first picture.
    layout: Option<Layout>,
    bytes: Vec<u8>,
}

/// What the device takes.
struct Layout {
    fitted: Fitted,
    /// Bytes of a row.
    stride: usize,
}

impl VideoDevice {
    /// Opens the device at `path`.
    ///
    /// # Errors
    /// When there is none, or it takes no pictures.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let hint = "load v4l2loopback (apt install v4l2loopback-dkms; modprobe v4l2loopback), and be in the group video";
        let device =
            Device::with_path(path).with_context(|| format!("cannot open {name}: {hint}"))?;
        let takes = device
            .query_caps()
            .with_context(|| format!("{name} is no video device"))?;
        ensure!(
            takes.capabilities.contains(Flags::VIDEO_OUTPUT),
            "{name} takes no pictures ({}): {hint}",
            takes.card
        );
        Ok(Self {
            device,
            layout: None,
            bytes: Vec::new(),
        })
    }

    /// Writes a picture of a stream with this rate in thousandths of a frame a second. All go out in the size of the first,
    /// or in that which a program that reads already keeps the device at.
    pub(super) fn write(&mut self, picture: &Picture, rate_millihertz: u32) -> io::Result<()> {
        let layout = match &mut self.layout {
            Some(layout) => layout,
            None => {
                let layout = negotiate(&self.device, picture, rate_millihertz)?;
                self.layout.insert(layout)
            }
        };

        fill_rows(layout.fitted.fit(picture), layout.stride, &mut self.bytes);
        // A call is a picture.
        let written = self.device.write(&self.bytes)?;
        if written == self.bytes.len() {
            Ok(())
        } else {
            Err(io::Error::other("the device took half a picture"))
        }
    }
}

fn negotiate(device: &Device, picture: &Picture, rate_millihertz: u32) -> io::Result<Layout> {
    // Two pixels share their colour.
    let width = (picture.width() & !1).max(2);
    let wanted = Format::new(width, picture.height(), FourCC::new(CODING));
    let got = device.set_format(&wanted)?;
    if got.fourcc != wanted.fourcc || got.width % 2 != 0 {
        let message = format!("it takes {} {}x{} only", got.fourcc, got.width, got.height);
        return Err(io::Error::other(message));
    }

    if rate_millihertz > 0 {
        // Readers are told; a device that knows no rate takes pictures all the same.
        let _ = device.set_params(&Parameters::new(Fraction::new(1000, rate_millihertz)));
    }

    tracing::info!(
        width = got.width,
        height = got.height,
        "the video device takes pictures"
    );
    Ok(Layout {
        fitted: Fitted::new(got.width, got.height),
        stride: (got.stride as usize).max(got.width as usize * 2),
    })
}

/// Writes rows of brightness and colour as V4L2 has YUYV by default (BT.601, 16 to 235) into `bytes`, whose memory is reused.
fn fill_rows(picture: &Picture, stride: usize, bytes: &mut Vec<u8>) {
    let (width, height) = picture.size();
    bytes.clear();
    bytes.resize(stride * height, 0);
    let rows = picture.pixels().chunks_exact(width.max(1));
    for (row, out) in rows.zip(bytes.chunks_exact_mut(stride.max(1))) {
        for (pair, out) in row.chunks_exact(2).zip(out.chunks_exact_mut(4)) {
            let [left, right] = [channels(pair[0]), channels(pair[1])];
            let sum = [left[0] + right[0], left[1] + right[1], left[2] + right[2]];
            out[0] = brightness(left);
            out[1] = difference(sum, [-38, -74, 112]);
            out[2] = brightness(right);
            out[3] = difference(sum, [112, -94, -18]);
        }
    }
}

fn brightness([red, green, blue]: [i32; 3]) -> u8 {
    (((66 * red + 129 * green + 25 * blue + 128) >> 8) + 16) as u8
}

/// The difference of colour of two pixels.
fn difference([red, green, blue]: [i32; 3], [of_red, of_green, of_blue]: [i32; 3]) -> u8 {
    (((of_red * red + of_green * green + of_blue * blue + 256) >> 9) + 128) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_bt_601_and_rows_have_the_devices_length() {
        for (colour, expected) in [
            (0xff_ff_ff, [235, 128, 235, 128]),
            (0x00_00_00, [16, 128, 16, 128]),
            (0xff_00_00, [82, 90, 82, 240]),
            (0x00_ff_00, [144, 54, 144, 34]),
            (0x00_00_ff, [41, 240, 41, 110]),
        ] {
            let mut picture = Picture::new(2, 2);
            picture.pixels_mut().fill(colour);
            let mut bytes = vec![7; 99];
            fill_rows(&picture, 6, &mut bytes);
            let row = [&expected[..], &[0, 0]].concat();
            assert_eq!(bytes, row.repeat(2), "{colour:06x}");
        }
    }

    #[test]
    fn what_is_no_device_for_pictures_is_named_with_what_to_do() {
        for path in ["/nowhere/video9", "/dev/null"] {
            let error = VideoDevice::open(Path::new(path)).err().unwrap();
            assert!(format!("{error:#}").contains(path), "{error:#}");
        }
    }
}
