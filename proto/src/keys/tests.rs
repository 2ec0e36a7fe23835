//! What the text of keys must hold.

use super::*;

const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn public(seed: u8) -> PublicKey {
    PrivateKey::new([seed; KEY_BYTES]).public()
}

#[test]
fn a_key_comes_back_as_it_was_written() {
    let bytes = std::array::from_fn(|i| i as u8);
    let (shared, private) = (SharedKey::new(bytes), PrivateKey::new(bytes));
    assert_eq!(*shared.to_text(), format!("fanlight-psk:{DIGITS}"));
    assert_eq!(*private.to_text(), format!("fanlight-private:{DIGITS}"));
    let file = |text: &str| format!("# made today\r\n\n  {text}  \n#\n");
    assert_eq!(SharedKey::parse(&file(&shared.to_text())), Ok(shared));
    assert_eq!(
        PrivateKey::parse(&file(&private.to_text())),
        Ok(private.clone())
    );

    assert_eq!(
        PublicKey::parse(&file(&private.public().to_string())),
        Ok(private.public())
    );

    assert_eq!(
        private
            .public()
            .to_string()
            .to_uppercase()
            .replace("FANLIGHT-PUBLIC", "fanlight-public")
            .parse(),
        Ok(private.public())
    );
}

/// The first vector of RFC 7748 section 6.1.
#[test]
fn a_public_key_is_that_of_rfc_7748() {
    let alice = "fanlight-private:77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    let public = "fanlight-public:8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    assert_eq!(
        PrivateKey::parse(alice).unwrap().public().to_string(),
        public
    );
}

#[test]
fn what_is_no_key_is_refused_with_its_line_and_without_its_content() {
    let key = format!("fanlight-psk:{DIGITS}");
    let cases = [
        (String::new(), "needs a line `fanlight-psk:…`"),
        ("# nothing\n\n".to_owned(), "no key in it"),
        (DIGITS.to_owned(), "line 1 is no key"),
        (format!("\n#\n{key}0"), "line 3 is no key"),
        (key[..key.len() - 1].to_owned(), "64 hexadecimal digits"),
        (key.replace("0001", "00g1"), "line 1 is no key"),
        (key.replace("0001", "00é"), "line 1 is no key"),
        (key.replace("0001", "+001"), "line 1 is no key"),
        (
            key.replace("psk", "private"),
            "begins with `fanlight-private:`, but `fanlight-psk:` is wanted",
        ),
        (format!("{key}\n{key}\n"), "line 2 is a second key"),
    ];

    for (text, words) in cases {
        let error = SharedKey::parse(&text).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("0405"), "{error}");
    }
}

#[test]
fn a_list_of_viewers_has_a_name_for_each_key() {
    let text = format!(
        "# the ground floor\n{} hall, left\n\n{}\tlobby\n",
        public(1),
        public(2)
    );

    let wanted = vec![
        (public(1), "hall, left".to_owned()),
        (public(2), "lobby".to_owned()),
    ];

    assert_eq!(parse_names(&text), Ok(wanted));
    assert_eq!(parse_names("# nobody yet\n"), Ok(Vec::new()));
}

#[test]
fn a_bad_list_of_viewers_is_refused_with_its_line() {
    let (one, two) = (public(1), public(2));
    let cases = [
        (
            format!("{one} a\n{two} b\n{one} c\n"),
            KeyError::Duplicate { line: 3, first: 1 },
        ),
        (format!("{one}\n"), KeyError::Name { line: 1 }),
        (
            format!("{one} {}\n", "n".repeat(MAX_VIEWER_NAME + 1)),
            KeyError::Name { line: 1 },
        ),
        (format!("{one} a\u{1b}[2J\n"), KeyError::Name { line: 1 }),
        (
            format!("\n{DIGITS} a\n"),
            KeyError::Malformed {
                line: 2,
                wanted: KeyKind::Public,
            },
        ),
        (
            format!("fanlight-private:{DIGITS} a\n"),
            KeyError::Kind {
                line: 1,
                found: KeyKind::Private,
                wanted: KeyKind::Public,
            },
        ),
        (
            format!("fanlight-public:{} a\n", "0".repeat(64)),
            KeyError::Weak { line: 1 },
        ),
    ];

    for (text, error) in cases {
        assert_eq!(parse_names(&text), Err(error));
    }
}

#[test]
fn a_list_of_viewers_is_bounded() {
    let line = |i: usize| {
        let mut seed = [0; KEY_BYTES];
        seed[1..3].copy_from_slice(&(i as u16).to_be_bytes());
        format!("{} v{i}\n", PrivateKey::new(seed).public())
    };

    let mut text: String = (0..MAX_VIEWER_KEYS).map(line).collect();
    assert_eq!(
        parse_names(&text).map(|viewers| viewers.len()),
        Ok(MAX_VIEWER_KEYS)
    );

    text.push_str(&line(MAX_VIEWER_KEYS));
    assert_eq!(
        parse_names(&text),
        Err(KeyError::TooMany {
            line: MAX_VIEWER_KEYS + 1
        })
    );
}

/// The points of <https://cr.yp.to/ecdh.html>, and one with the bit that X25519 ignores.
#[test]
fn a_point_of_small_order_is_nobodys_key() {
    let mut one = [0; KEY_BYTES];
    one[0] = 1;
    let mut prime_minus_one = [0xff; KEY_BYTES];
    (prime_minus_one[0], prime_minus_one[31]) = (0xec, 0x7f);
    let eight = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];

    let mut high = [0; KEY_BYTES];
    high[31] = 0x80;
    for point in [[0; KEY_BYTES], one, prime_minus_one, eight, high] {
        assert_eq!(PublicKey::new(point), None);
    }

    assert_eq!(PublicKey::new(*public(1).bytes()), Some(public(1)));
}

#[test]
fn secrets_are_wiped_when_they_are_dropped() {
    // This is a property of their types: what breaks it does not compile.
    fn wiped(_: &impl zeroize::ZeroizeOnDrop) {}
    wiped(&SharedKey::new([1; KEY_BYTES]).0);
    wiped(&PrivateKey::new([1; KEY_BYTES]).0);
    wiped(&SharedKey::new([1; KEY_BYTES]).to_text());
    wiped(&parse(KeyKind::Feed, &format!("fanlight-feed:{DIGITS}")).unwrap());
}

#[test]
fn debug_shows_no_secret() {
    let bytes = std::array::from_fn(|i| i as u8);
    let shown = format!("{:?} {:?}", SharedKey::new(bytes), PrivateKey::new(bytes));
    assert!(
        shown.starts_with("SharedKey(hidden) PrivateKey(hidden, of fanlight-public:"),
        "{shown}"
    );
    assert!(!shown.contains("0405"), "{shown}");
}
