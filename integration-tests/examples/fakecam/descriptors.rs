//! What the webcam says of itself (USB 2.0, 9.6; USB Video Class 1.0): MJPEG and YUYV in three sizes, sent by bulk.

/// Width and height of each size, for both layouts; frame indices count from 1 in this order.
pub(crate) const SIZES: [(u16, u16); 3] = [(640, 360), (1280, 720), (1920, 1080)];

/// Frame intervals in units of 100 ns: 60, 30, 29.97 and 15 a second. In ascending order: uvcvideo ends its search at
/// the first that fits worse.
pub(crate) const INTERVALS: [u32; 4] = [166_666, 333_333, 333_667, 666_666];

/// The usual interval.
pub(crate) const DEFAULT_INTERVAL: u32 = INTERVALS[1];

/// One payload is one transfer of uvcvideo: 32 packets of 512 bytes.
pub(crate) const MAX_PAYLOAD: u32 = 16_384;

/// The format index of MJPEG; YUYV has the next.
pub(crate) const MJPEG: u8 = 1;

/// The unit that has the brightness.
pub(crate) const PROCESSING_UNIT: u8 = 3;

/// The endpoint that the pictures leave by.
const ENDPOINT_IN: u8 = 0x81;

/// "A descriptor of the class", of an interface.
const CS_INTERFACE: u8 = 0x24;

pub(crate) const DEVICE: [u8; 18] = [
    18, 1, 0, 2, 0xef, 2, 1, 64, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01, 1, 2, 3, 1,
];
pub(crate) const QUALIFIER: [u8; 10] = [10, 6, 0, 2, 0xef, 2, 1, 64, 1, 0];
pub(crate) const LANGUAGES: [u8; 4] = [4, 3, 9, 4];

/// The string descriptor number `index`.
pub(crate) fn string(index: u8) -> Vec<u8> {
    let text = match index {
        1 => "Fanlight",
        2 => "Rig Camera",
        _ => "0001",
    };

    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&[2 + units.len() as u8, 3][..], &units].concat()
}

/// Bytes of an uncompressed YUYV picture.
pub(crate) fn frame_bytes((width, height): (u16, u16)) -> u32 {
    u32::from(width) * u32::from(height) * 2
}

/// The configuration with its two interfaces.
pub(crate) fn configuration() -> Vec<u8> {
    let mut all = vec![9, 2, 0, 0, 2, 1, 0, 0x80, 250];
    all.extend([8, 11, 0, 2, 0x0e, 3, 0, 2]); // both interfaces are one function: video
    all.extend([9, 4, 0, 0, 0, 0x0e, 1, 0, 2]);
    all.extend(control_interface());
    all.extend([9, 4, 1, 0, 1, 0x0e, 2, 0, 0]);
    all.extend(streaming_interface());
    all.extend([7, 5, ENDPOINT_IN, 2, 0x00, 0x02, 0]);
    let length = (all.len() as u16).to_le_bytes();
    all[2..4].copy_from_slice(&length);
    all
}

/// Camera → processing unit (brightness, contrast) → USB.
fn control_interface() -> Vec<u8> {
    let camera = [
        18,
        CS_INTERFACE,
        2,
        1,
        1,
        2,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        3,
        0,
        0,
        0,
    ];

    let processing = [
        11,
        CS_INTERFACE,
        5,
        PROCESSING_UNIT,
        1,
        0,
        0,
        2,
        0x03,
        0x00,
        0,
    ];

    let output = [9, CS_INTERFACE, 3, 2, 1, 1, 0, PROCESSING_UNIT, 0];
    let units = [&camera[..], &processing, &output].concat();
    let total = (13 + units.len() as u16).to_le_bytes();
    let header = [
        13,
        CS_INTERFACE,
        1,
        0x00,
        0x01,
        total[0],
        total[1],
        0x00,
        0x6c,
        0xdc,
        0x02,
        1,
        1,
    ];

    [&header[..], &units].concat()
}

fn streaming_interface() -> Vec<u8> {
    const YUY2: [u8; 16] = *b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";
    let sizes = SIZES.len() as u8;
    let mut formats = vec![11, CS_INTERFACE, 6, MJPEG, sizes, 1, 1, 0, 0, 0, 0];
    formats.extend(frames(7));
    formats.extend(COLOURS);
    formats.extend([27, CS_INTERFACE, 4, MJPEG + 1, sizes]);
    formats.extend(YUY2);
    formats.extend([16, 1, 0, 0, 0, 0]);
    formats.extend(frames(5));
    formats.extend(COLOURS);
    let total = (15 + formats.len() as u16).to_le_bytes();
    let header = [
        15,
        CS_INTERFACE,
        1,
        2,
        total[0],
        total[1],
        ENDPOINT_IN,
        0,
        2,
        0,
        0,
        0,
        1,
        0,
        0,
    ];

    [&header[..], &formats].concat()
}

/// BT.709 primaries and transfer, BT.601 matrix.
const COLOURS: [u8; 6] = [6, CS_INTERFACE, 0x0d, 1, 1, 4];

/// A frame descriptor of `subtype` for each size.
fn frames(subtype: u8) -> Vec<u8> {
    let mut all = Vec::new();
    for (index, &size) in (1..).zip(&SIZES) {
        let bytes = frame_bytes(size);
        let rates = INTERVALS.len() as u8;
        all.extend([26 + 4 * rates, CS_INTERFACE, subtype, index, 0]);
        all.extend(size.0.to_le_bytes());
        all.extend(size.1.to_le_bytes());
        all.extend((bytes * 8 * 15).to_le_bytes());
        all.extend((bytes * 8).saturating_mul(60).to_le_bytes());
        all.extend(bytes.to_le_bytes());
        all.extend(DEFAULT_INTERVAL.to_le_bytes());
        all.push(rates);
        all.extend(INTERVALS.iter().flat_map(|interval| interval.to_le_bytes()));
    }

    all
}
