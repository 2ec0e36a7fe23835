//! The messages of USB over IP between a host controller and a device (Documentation/usb/usbip_protocol.rst).

use std::io::{self, Read, Write};

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// Every header has so many bytes.
const HEADER: usize = 48;

/// Largest transfer to the device: a control request's data.
const MAX_OUT: usize = 4096;

/// What the host asks.
pub(crate) enum Request {
    /// A transfer.
    Submit(Submit),
    /// Not to wait for a transfer any more.
    Unlink {
        /// Names this request.
        number: u32,
        /// Names the transfer.
        victim: u32,
    },
}

/// A transfer.
pub(crate) struct Submit {
    /// Names it.
    pub(crate) number: u32,
    /// Whether the device is to send.
    pub(crate) inward: bool,
    /// 0 for control requests.
    pub(crate) endpoint: u32,
    /// Room for what the device sends.
    pub(crate) length: usize,
    /// The setup packet of a control request.
    pub(crate) setup: [u8; 8],
    /// What the host sends.
    pub(crate) data: Vec<u8>,
}

impl Request {
    /// Waits for the next request.
    pub(crate) fn read(bus: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        bus.read_exact(&mut header)?;
        let word = |index: usize| {
            let bytes = &header[index * 4..index * 4 + 4];
            u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };

        let number = word(1);
        match word(0) {
            CMD_SUBMIT => {
                let inward = word(3) == 1;
                let length = word(6) as usize;
                let mut data = vec![0; if inward { 0 } else { length.min(MAX_OUT) }];
                bus.read_exact(&mut data)?;
                let mut setup = [0; 8];
                setup.copy_from_slice(&header[40..]);
                Ok(Self::Submit(Submit {
                    number,
                    inward,
                    endpoint: word(4),
                    length,
                    setup,
                    data,
                }))
            }
            CMD_UNLINK => Ok(Self::Unlink {
                number,
                victim: word(5),
            }),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("unknown command {other}"),
            )),
        }
    }
}

/// Answers a transfer. `status` is 0 or a negative errno; `sent` counts the bytes that went either way.
pub(crate) fn answer_submit(
    bus: &mut impl Write,
    number: u32,
    status: i32,
    sent: usize,
    data: &[u8],
) -> io::Result<()> {
    let message = header(RET_SUBMIT, number, status, sent);
    bus.write_all(&[&message[..], data].concat())
}

/// Answers an unlinking. `status` is -104 (ECONNRESET) when the transfer was still waiting, else 0.
pub(crate) fn answer_unlink(bus: &mut impl Write, number: u32, status: i32) -> io::Result<()> {
    bus.write_all(&header(RET_UNLINK, number, status, 0))
}

fn header(command: u32, number: u32, status: i32, sent: usize) -> Vec<u8> {
    let words = [
        command,
        number,
        0,
        0,
        0,
        status as u32,
        sent as u32,
        0,
        0,
        0,
        0,
        0,
    ];

    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
