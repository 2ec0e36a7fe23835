use bytes::Bytes;
use fanlight_live::ledger::ClientMemory;
use fanlight_proto::limits::SOURCE_STALE;
use fanlight_proto::message::{CheckedFrame, Format, FrameHeader, State};

use super::*;
use crate::picture::BYTES_PER_PIXEL;
use crate::rung::MAX_KBPS;

const SIZE: (usize, usize) = (640, 480);

/// An encoder of a stream `cam` that has had one picture, and its frames.
fn started(jpeg: &[u8], kbps: u32) -> (EncoderTask, mpsc::Receiver<EncodedFrame>) {
    let stream: StreamName = "cam".parse().unwrap();
    let id = FrameId {
        epoch: 1,
        number: 0,
    };
    let header = FrameHeader {
        stream: "cam".into(),
        epoch: id.epoch,
        width: SIZE.0 as u32,
        height: SIZE.1 as u32,
        format: Format::Jpeg.into(),
        state: State::Live.into(),
        ..FrameHeader::default()
    };
    let frame = CheckedFrame {
        stream: stream.clone(),
        id,
        header,
        jpeg: Bytes::copy_from_slice(jpeg),
        route: fanlight_proto::route::Route::default(),
    };

    let table = StreamTable::new(SOURCE_STALE);
    table.publish(0, frame, Bytes::new(), clock::now()).unwrap();
    let output = Output::new(Arc::clone(&table));
    let mut subscription = output.subscribe(&stream, Subscribe::default()).unwrap();
    let frame = subscription.try_next(clock::now()).unwrap().frame;

    let control = Arc::new(Control {
        rung: Rung::Full,
        stop: Notify::new(),
        wake: Notify::new(),
        joined: AtomicBool::new(true),
        key_wanted: AtomicBool::new(false),
        kbps: AtomicU32::new(kbps),
    });
    let (sender, frames) = mpsc::channel(4);
    let charge = ClientMemory::default().open([127, 0, 0, 1].into(), 1);
    let mut task = EncoderTask::new(table, subscription, sender, control, charge);
    task.encode_frame(clock::now(), &frame).unwrap();
    (task, frames)
}

/// A picture of noise, of which encoders have most to keep.
fn noise((width, height): (usize, usize)) -> Vec<u8> {
    let noise: Vec<u8> = (0..width * height * 3)
        .map(|place| ((place * place) >> 7) as u8)
        .collect();
    let image = turbojpeg::Image {
        pixels: noise.as_slice(),
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, 50, turbojpeg::Subsamp::None).unwrap();
    jpeg.to_vec()
}

#[test]
fn a_key_frame_takes_a_fifth_of_a_second_at_most_whatever_the_picture_is() {
    let jpeg = noise(SIZE);
    for kbps in [600, 2_500] {
        let (_, mut frames) = started(&jpeg, kbps);
        let key = frames.try_recv().unwrap();
        assert!(key.is_key);
        assert!(
            key.data.len() <= kbps as usize * 200 / 8,
            "{}",
            key.data.len()
        );
    }
}

#[test]
fn who_joins_gets_the_picture_that_is_there_once_more_as_a_key_frame() {
    let (mut task, mut frames) = started(&noise(SIZE), 2_500);
    let first = frames.try_recv().unwrap();

    task.control.joined.store(true, Relaxed);
    task.encode_again(clock::now()).unwrap();
    let again = frames.try_recv().unwrap();
    assert!(again.is_key && again.origin == first.origin);
    assert!(again.rtp_time > first.rtp_time);
}

/// Resident memory of this process, in bytes (proc(5)).
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// With pictures of noise, of which libvpx has most to keep. Alone, because the memory is that of the process.
#[test]
#[ignore = "./dev promises"]
fn an_encoder_holds_no_more_than_it_is_charged_for() {
    let (width, height) = (1920, 1088);
    let jpeg = noise((width, height));

    let charge = ClientMemory::default().open([127, 0, 0, 1].into(), 1);
    let before = resident();
    let (mut decoder, mut picture) = (PictureDecoder::default(), Picture::default());
    let scale = decoder.decode(&jpeg, Rung::Full, &mut picture, &charge);
    assert_eq!(scale.unwrap(), 1);
    let mut most = 0;
    for _ in 0..2 {
        let mut codec = Codec::new(Time::default(), (width, height), MAX_KBPS).unwrap();
        for pts in 0..3 {
            let at = Time::from_nanos(pts * 33_000_000);
            let frame = codec.encode(at, &picture.planes).unwrap();
            assert!(frame.is_some_and(|(data, _)| !data.is_empty()));
            most = most.max(resident().saturating_sub(before));
        }
    }

    let of_pixel = most as f64 / (width * height) as f64;
    println!(
        "{width}x{height}: {} MiB, {of_pixel:.1} bytes a pixel",
        most >> 20
    );
    assert!(most <= width * height * BYTES_PER_PIXEL + jpeg.len());
}
