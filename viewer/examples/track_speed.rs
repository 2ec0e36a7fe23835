//! What a look for the ball costs: prints milliseconds of processor time a frame, by picture, as JSON lines.
//!
//! ```sh
//! cargo run --release -p fanlight-viewer --example track_speed
//! ```

use std::time::Duration;

use fanlight_viewer::decode::Decoder;
use fanlight_viewer::grey::Grey;
use fanlight_viewer::picture::Picture;
use fanlight_viewer::track::ball::Finder;
use rustix::time::{ClockId, clock_gettime};
use turbojpeg::{Image, PixelFormat, Subsamp};

/// Looks at each picture; the median is printed.
const ROUNDS: usize = 101;

fn main() -> turbojpeg::Result<()> {
    for (width, height) in [(160, 120), (640, 480), (1280, 720), (1920, 1080)] {
        for (name, behind) in [
            ("plain", plain as fn(usize, usize) -> u8),
            ("tiles", tiles),
            ("noise", noise),
        ] {
            for ball in [true, false] {
                let jpeg = picture(width, height, behind, ball)?;
                report(&format!("{width}x{height}"), name, ball, &jpeg);
            }
        }
    }

    Ok(())
}

fn report(size: &str, behind: &str, ball: bool, jpeg: &[u8]) {
    let (mut decoder, mut finder, mut grey) = (Decoder::new(), Finder::default(), Grey::default());
    let (mut small, mut found) = (Picture::default(), None);
    let decode = median(|| {
        decoder
            .decode_grey(jpeg, &mut grey)
            .expect("the picture is good");
    });

    let quarter = (grey.width() as u32 / 4, grey.height() as u32 / 4);
    let scaled = median(|| {
        decoder
            .decode_for(jpeg, Some(quarter), &mut small)
            .expect("the picture is good");
    });

    let find = median(|| found = finder.find(&grey));
    println!(
        r#"{{"bench":"track","size":"{size}","behind":"{behind}","ball":{ball},"found":{},"decode_grey_ms":{decode:.3},"decode_quarter_ms":{scaled:.3},"find_ms":{find:.3}}}"#,
        found.is_some()
    );
}

fn median(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = processor_time();
            work();
            processor_time() - began
        })
        .collect();

    times.sort_unstable();
    times[ROUNDS / 2].as_secs_f64() * 1e3
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn plain(_: usize, _: usize) -> u8 {
    16
}

fn tiles(x: usize, y: usize) -> u8 {
    if (x / 37 + y / 29).is_multiple_of(2) {
        70
    } else {
        30
    }
}

fn noise(x: usize, y: usize) -> u8 {
    let mixed = (x as u32).wrapping_mul(0x9e37_79b9) ^ (y as u32).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2c1b_3c6d);
    (mixed >> 26) as u8
}

fn picture(
    width: usize,
    height: usize,
    behind: fn(usize, usize) -> u8,
    ball: bool,
) -> turbojpeg::Result<Vec<u8>> {
    let (middle_x, middle_y, radius) = (width as f32 * 0.61, height as f32 * 0.37, 20.0);
    let pixel = |x: usize, y: usize| {
        let back = f32::from(behind(x, y));
        let distance = (x as f32 + 0.5 - middle_x).hypot(y as f32 + 0.5 - middle_y);
        let cover = if ball {
            (radius - distance + 0.5).clamp(0.0, 1.0)
        } else {
            0.0
        };

        [176.0, 255.0, 140.0].map(|colour| (back + (colour - back) * cover) as u8)
    };

    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|at| pixel(at % width, at / width))
        .collect();
    let image = Image {
        pixels: &pixels[..],
        width,
        pitch: 3 * width,
        height,
        format: PixelFormat::RGB,
    };

    turbojpeg::compress(image, 80, Subsamp::Sub2x2).map(|jpeg| jpeg.to_vec())
}
