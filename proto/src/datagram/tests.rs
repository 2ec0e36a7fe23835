use super::*;
use crate::message::FrameId;

fn header() -> DataHeader {
    DataHeader {
        alias: 9,
        index: 2,
        shards: 3,
        length: 2 * SHARD_BYTES as u32 + 1,
        id: FrameId {
            epoch: 0x0102_0304_0506_0708,
            number: 77,
        },
        received_us: 5,
        lost_upstream: 1,
        lost_in_relay: 65_535,
        sequence: 4,
        ..DataHeader::default()
    }
}

#[test]
fn a_media_datagram_comes_back_as_it_was_sent() {
    let shard = [7; SHARD_BYTES];
    let mut out = Vec::new();
    ToViewer::Data(header(), &shard).encode(&mut out);
    assert_eq!(out.len(), DATA_BYTES);
    assert_eq!(ToViewer::parse(&out), Ok(ToViewer::Data(header(), &shard)));
}

#[test]
fn a_media_datagram_with_inconsistent_fields_is_refused() {
    let shard = [7; SHARD_BYTES];
    let mut out = Vec::new();
    let cases = [
        (
            "index",
            DataHeader {
                index: 3,
                ..header()
            },
        ),
        (
            "shards",
            DataHeader {
                shards: 0,
                ..header()
            },
        ),
        (
            "shards",
            DataHeader {
                shards: u16::MAX,
                ..header()
            },
        ),
        (
            "length",
            DataHeader {
                length: u32::MAX,
                ..header()
            },
        ),
        (
            "length",
            DataHeader {
                length: 0,
                ..header()
            },
        ),
        (
            "epoch",
            DataHeader {
                id: FrameId {
                    epoch: 0,
                    number: 0,
                },
                ..header()
            },
        ),
        (
            "sequence",
            DataHeader {
                sequence: 0,
                ..header()
            },
        ),
        (
            "parity",
            DataHeader {
                parity: 4,
                ..header()
            },
        ),
        (
            "index",
            DataHeader {
                index: 5,
                parity: 2,
                ..header()
            },
        ),
    ];

    for (name, bad) in cases {
        ToViewer::Data(bad, &shard).encode(&mut out);
        assert_eq!(ToViewer::parse(&out), Err(DatagramError::Field(name)));
    }
}

#[test]
fn a_media_datagram_with_any_bit_flipped_is_refused() {
    let shard: [u8; SHARD_BYTES] = std::array::from_fn(|i| i as u8);
    let mut out = Vec::new();
    ToViewer::Data(header(), &shard).encode(&mut out);

    for bit in 0..out.len() * 8 {
        out[bit / 8] ^= 1 << (bit % 8);
        assert!(ToViewer::parse(&out).is_err(), "bit {bit}");
        out[bit / 8] ^= 1 << (bit % 8);
    }

    out[DATA_HEADER] ^= 1;
    assert_eq!(ToViewer::parse(&out), Err(DatagramError::Damaged));
    write_checksum(&mut out);
    assert!(ToViewer::parse(&out).is_ok());
}

#[test]
fn a_sealed_media_datagram_has_zeros_for_a_check_sum() {
    let header = DataHeader {
        key: Some(KeySlot::Odd),
        ..header()
    };

    let mut out = Vec::new();
    ToViewer::Data(header, &[7; SHARD_BYTES + SEAL_BYTES]).encode(&mut out);
    assert_eq!(out[CHECKSUM], [0; 4]);
    write_checksum(&mut out);
    assert_eq!(ToViewer::parse(&out), Err(DatagramError::Damaged));
}

#[test]
fn a_sealed_media_datagram_has_room_for_its_seal_and_names_its_key() {
    let sealed = [7; SHARD_BYTES + SEAL_BYTES];
    let mut out = Vec::new();

    for key in [KeySlot::Even, KeySlot::Odd] {
        let header = DataHeader {
            key: Some(key),
            parity: 2,
            index: 4,
            ..header()
        };

        ToViewer::Data(header, &sealed).encode(&mut out);
        assert_eq!(out.len(), SEALED_DATA_BYTES);
        assert_eq!(ToViewer::parse(&out), Ok(ToViewer::Data(header, &sealed)));
        assert_eq!(
            ToViewer::parse(&out[..DATA_BYTES]),
            Err(DatagramError::Length(DATA_BYTES))
        );
    }
}

#[test]
fn what_is_sealed_of_a_message_comes_back_as_it_was() {
    let (mut inner, mut outer) = (Vec::new(), Vec::new());
    let message = ToRelay::KeepAlive(
        9,
        KeepAlive {
            sent_us: 5,
            ..KeepAlive::default()
        },
    );

    message.encode_inner(&mut inner);
    assert_eq!(ToRelay::parse_inner(9, &inner), Ok(message));
    assert_eq!(ToRelay::parse_inner(9, &[]), Err(DatagramError::Length(0)));
    inner[0] = kind::JOIN;
    assert_eq!(
        ToRelay::parse_inner(9, &inner),
        Err(DatagramError::Kind(kind::JOIN))
    );

    let sealed = ToRelay::Sealed(9, 77, &[3; SEAL_BYTES + 1]);
    sealed.encode(&mut outer);
    assert_eq!(ToRelay::parse(&outer), Ok(sealed));
    ToRelay::Sealed(9, 77, &[3; SEAL_BYTES]).encode(&mut outer);
    assert!(matches!(
        ToRelay::parse(&outer),
        Err(DatagramError::Length(_))
    ));
}

#[test]
fn a_join_is_padded_and_a_short_one_refused() {
    let join = Join {
        version: VERSION,
        nonce: 1,
        stream: "ball".into(),
        ..Join::default()
    };

    let mut out = Vec::new();
    ToRelay::Join(join.clone()).encode(&mut out);
    assert_eq!(out.len(), JOIN_BYTES);
    assert_eq!(ToRelay::parse(&out), Ok(ToRelay::Join(join)));
    assert_eq!(
        ToRelay::parse(&out[..JOIN_BYTES - 1]),
        Err(DatagramError::Length(JOIN_BYTES - 1))
    );
}

#[test]
fn a_reset_is_shorter_than_any_message_of_a_session() {
    let mut reset = Vec::new();
    ToViewer::Reset(3).encode(&mut reset);

    for request in [
        ToRelay::KeepAlive(
            3,
            KeepAlive {
                sent_us: 1,
                ..KeepAlive::default()
            },
        ),
        ToRelay::Repair(
            3,
            Repair {
                epoch: 1,
                ..Repair::default()
            },
        ),
    ] {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert!(reset.len() < out.len());
        assert_eq!(ToRelay::parse(&out), Ok(request));
    }
}

#[test]
fn no_bytes_panic() {
    let mut seed = 1_u64;
    let mut bytes = [0_u8; MAX_DATAGRAM + 1];

    for _ in 0..100_000 {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let length = (seed >> 33) as usize % bytes.len();
        for byte in &mut bytes[..length.min(48)] {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 56) as u8;
        }

        bytes[0] = MAGIC;
        bytes[1] %= 18;
        let _ = ToRelay::parse(&bytes[..length]);
        let _ = ToViewer::parse(&bytes[..length]);
    }
}
