//! Uncompressed pictures one after the other: YUV4MPEG2, with brightness for each pixel and colour for each four.

use std::io::{self, Write};

use super::fitted::Fitted;
use crate::picture::Picture;

/// The rate that is named when a stream does not say its own, in thousandths of a frame a second.
const USUAL_RATE: u32 = 30_000;

/// Writes pictures. All have the size of the first one: the format knows one size only.
pub(super) struct Y4mWriter<W> {
    out: W,
    /// In that size, once there was one.
    fitted: Option<Fitted>,
    planes: Vec<u8>,
}

impl<W: Write> Y4mWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            fitted: None,
            planes: Vec::new(),
        }
    }

    /// Writes a picture of a stream with this rate in thousandths of a frame a second. One of another size than the first
    /// is scaled.
    pub(super) fn write(&mut self, picture: &Picture, rate_millihertz: u32) -> io::Result<()> {
        let fitted = match &mut self.fitted {
            Some(fitted) => fitted,
            None => {
                let (width, height) = (picture.width(), picture.height());
                let rate = Some(rate_millihertz).filter(|rate| *rate > 0);
                let header = format!(
                    "YUV4MPEG2 W{width} H{height} F{}:1000 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n",
                    rate.unwrap_or(USUAL_RATE)
                );
                self.out.write_all(header.as_bytes())?;
                self.fitted.insert(Fitted::new(width, height))
            }
        };

        fill_planes(fitted.fit(picture), &mut self.planes);
        self.out.write_all(b"FRAME\n")?;
        self.out.write_all(&self.planes)
    }
}

/// Red, green and blue of a pixel.
pub(super) fn channels(pixel: u32) -> [i32; 3] {
    [16, 8, 0].map(|shift| (pixel >> shift & 0xff).cast_signed())
}

/// Writes brightness, blue and red difference of a picture into `planes` (JFIF 1.02, in 65536ths), whose memory is reused.
fn fill_planes(picture: &Picture, planes: &mut Vec<u8>) {
    planes.clear();
    planes.extend(picture.pixels().iter().map(|&pixel| {
        let [red, green, blue] = channels(pixel);
        ((19_595 * red + 38_470 * green + 7_471 * blue + 32_768) >> 16) as u8
    }));

    let (width, _) = picture.size();
    for [of_red, of_green, of_blue] in [[-11_059, -21_709, 32_768], [32_768, -27_439, -5_329]] {
        for rows in picture.pixels().chunks(2 * width.max(1)) {
            let (upper, lower) = rows.split_at(width);
            // The last row of an odd number stands for two.
            let lower = if lower.is_empty() { upper } else { lower };
            let pairs = upper.chunks(2).zip(lower.chunks(2));
            planes.extend(pairs.map(|(upper, lower)| {
                let four = [
                    upper[0],
                    upper[upper.len() - 1],
                    lower[0],
                    lower[lower.len() - 1],
                ];
                let sum = four.map(channels).into_iter().fold([0; 3], |sum, pixel| {
                    [sum[0] + pixel[0], sum[1] + pixel[1], sum[2] + pixel[2]]
                });
                let difference = of_red * sum[0] + of_green * sum[1] + of_blue * sum[2];
                (((difference + 131_072) >> 18) + 128).clamp(0, 255) as u8
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(width: u32, height: u32, colour: u32) -> Picture {
        let mut picture = Picture::new(width, height);
        picture.pixels_mut().fill(colour);
        picture
    }

    #[test]
    fn colours_become_brightness_and_differences() {
        for (colour, expected) in [
            (0xff_ff_ff, [255, 128, 128]),
            (0x00_00_00, [0, 128, 128]),
            (0xff_00_00, [76, 85, 255]),
            (0x00_ff_00, [150, 44, 21]),
            (0x00_00_ff, [29, 255, 107]),
        ] {
            let mut planes = Vec::new();
            fill_planes(&filled(3, 3, colour), &mut planes);
            assert_eq!(planes.len(), 9 + 4 + 4);
            assert_eq!([planes[0], planes[9], planes[16]], expected, "{colour:06x}");
        }
    }

    #[test]
    fn colour_is_the_mean_of_four_pixels() {
        let mut picture = filled(2, 2, 0);
        picture.pixels_mut()[1] = 0x00_00_ff;
        let mut planes = Vec::new();
        fill_planes(&picture, &mut planes);
        assert_eq!(planes, [0, 29, 0, 0, 160, 123]);
    }

    #[test]
    fn every_picture_has_the_size_of_the_first_and_there_is_one_header() {
        let mut out = Vec::new();
        let mut writer = Y4mWriter::new(&mut out);
        writer.write(&filled(4, 2, 0xff_ff_ff), 29_970).unwrap();
        writer.write(&filled(8, 8, 0xff_ff_ff), 29_970).unwrap();
        drop(writer);

        let header = b"YUV4MPEG2 W4 H2 F29970:1000 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n";
        let body = out.strip_prefix(header).unwrap();
        let frame = |brightness: [u8; 8]| [b"FRAME\n", &brightness[..], &[128; 4]].concat();
        let (first, second) = body.split_at(body.len() / 2);
        assert_eq!(first, frame([255; 8]));
        // A square in the middle.
        assert_eq!(second, frame([0, 255, 255, 0, 0, 255, 255, 0]));
    }
}
