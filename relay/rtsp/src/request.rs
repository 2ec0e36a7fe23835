//! Requests of RTSP 1.0 (RFC 2326) as text, and the parts of them that the server uses. No socket and no clock.

/// Largest head of a request, and largest body, in bytes.
pub(crate) const MAX_BYTES: usize = 8 << 10;

/// Header fields of a request.
const MAX_FIELDS: usize = 64;

/// Whether `data` begins with a whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// So many bytes of interleaved RTCP, or of a response: nothing that is answered.
    Skip(usize),
    /// A request of so many bytes.
    Request(Request, usize),
    /// It is no RTSP.
    Garbage,
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) uri: String,
    fields: Vec<(String, String)>,
}

impl Request {
    /// The field `name`, if it is there.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let field = self
            .fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// The path of the URI without its first slash, query and the name of the track.
    pub(crate) fn stream(&self) -> &str {
        let behind = self.uri.split_once("://").map_or("", |(_, behind)| behind);
        let path = behind.split_once('/').map_or("", |(_, path)| path);
        let path = path.split(['?', '#']).next().unwrap_or("");
        let path = path.trim_end_matches('/');
        path.strip_suffix("/track0")
            .unwrap_or(path)
            .trim_end_matches('/')
    }
}

/// Looks at what a client sent.
pub(crate) fn parse(data: &[u8]) -> Parsed {
    match *data {
        [] => return Parsed::Incomplete,
        // Clients may send empty lines between messages.
        [b'\r' | b'\n', ..] => return Parsed::Skip(1),
        [b'$', ..] => return interleaved(data),
        _ => {}
    }

    let Some(head_length) = head_length(data) else {
        return if data.len() < MAX_BYTES && data.is_ascii() {
            Parsed::Incomplete
        } else {
            Parsed::Garbage
        };
    };

    let Some(request) = std::str::from_utf8(&data[..head_length])
        .ok()
        .and_then(parse_head)
    else {
        return Parsed::Garbage;
    };
    let body = request.field("Content-Length").map_or(Ok(0), str::parse);
    let length = match body {
        Ok(body @ 0..=MAX_BYTES) => head_length + body,
        _ => return Parsed::Garbage,
    };

    if data.len() < length {
        Parsed::Incomplete
    } else if request.method.starts_with("RTSP/") {
        Parsed::Skip(length)
    } else {
        Parsed::Request(request, length)
    }
}

/// `$`, a channel, a length and so many bytes (RFC 2326, 10.12).
fn interleaved(data: &[u8]) -> Parsed {
    let [_, _, high, low, rest @ ..] = data else {
        return Parsed::Incomplete;
    };
    match usize::from(u16::from_be_bytes([*high, *low])) {
        MAX_BYTES.. => Parsed::Garbage,
        length if rest.len() < length => Parsed::Incomplete,
        length => Parsed::Skip(4 + length),
    }
}

fn head_length(data: &[u8]) -> Option<usize> {
    let data = &data[..data.len().min(MAX_BYTES)];
    let end = |mark: &[u8]| {
        let found = data.windows(mark.len()).position(|window| window == mark);
        found.map(|place| place + mark.len())
    };
    end(b"\r\n\r\n").or_else(|| end(b"\n\n"))
}

fn parse_head(head: &str) -> Option<Request> {
    let mut lines = head.lines();
    let mut words = lines.next()?.splitn(3, ' ');
    let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
    let is_response = method.starts_with("RTSP/");
    if !is_response && !version.starts_with("RTSP/1.") {
        return None;
    }

    let mut fields = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        fields.push((name.trim().to_owned(), value.trim().to_owned()));
        if fields.len() > MAX_FIELDS {
            return None;
        }
    }
    Some(Request {
        method: method.to_owned(),
        uri: uri.to_owned(),
        fields,
    })
}

/// How a client wants its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// In the connection, on these channels: RTP and RTCP. None: it leaves the choice to us.
    Interleaved(Option<(u8, u8)>),
    /// By UDP to these ports: RTP and RTCP.
    Udp(u16, u16),
    /// By UDP to a group, which is ours to choose.
    Multicast,
}

/// Which ways there are beside the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ways {
    pub(crate) udp: bool,
    pub(crate) multicast: bool,
}

/// The first way in a `Transport` field (RFC 2326, 12.39) that is one of ours.
pub(crate) fn transport(field: &str, ways: Ways) -> Option<Wish> {
    field.split(',').find_map(|way| wish(way, ways))
}

fn wish(way: &str, ways: Ways) -> Option<Wish> {
    let mut parts = way.split(';').map(str::trim);
    let profile = parts.next()?.to_ascii_uppercase();
    let (mut ports, mut by_group) = (None, false);

    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.to_ascii_lowercase().as_str() {
            "multicast" => by_group = true,
            "mode" if !value.trim_matches('"').eq_ignore_ascii_case("play") => return None,
            "interleaved" | "client_port" => {
                let (first, second) = value.split_once('-').unwrap_or((value, ""));
                let first: u16 = first.parse().ok()?;
                let second = if second.is_empty() {
                    first.checked_add(1)?
                } else {
                    second.parse().ok()?
                };
                ports = Some((first, second));
            }
            _ => {}
        }
    }

    match (profile.as_str(), ports) {
        ("RTP/AVP" | "RTP/AVP/UDP", _) if by_group => ways.multicast.then_some(Wish::Multicast),
        _ if by_group => None,
        ("RTP/AVP/TCP", None) => Some(Wish::Interleaved(None)),
        ("RTP/AVP/TCP", Some((first, second))) if first != second => {
            let channels = (first.try_into().ok()?, second.try_into().ok()?);
            Some(Wish::Interleaved(Some(channels)))
        }
        ("RTP/AVP" | "RTP/AVP/UDP", Some((first @ 1.., second @ 1..))) if ways.udp => {
            Some(Wish::Udp(first, second))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_pieces_is_taken_when_it_is_whole() {
        let text =
            b"SETUP rtsp://h:1/cam/track0?x RTSP/1.0\r\nCSeq: 3\r\nContent-Length: 2\r\n\r\nab";
        for length in 0..text.len() {
            assert_eq!(parse(&text[..length]), Parsed::Incomplete, "{length}");
        }

        let Parsed::Request(request, length) = parse(text) else {
            panic!("no request");
        };
        assert_eq!(
            (request.method.as_str(), request.stream()),
            ("SETUP", "cam")
        );
        assert_eq!((request.field("cseq"), length), (Some("3"), text.len()));
    }

    #[test]
    fn what_is_no_rtsp_is_garbage_at_once_or_when_it_is_too_long() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Parsed::Garbage);
        assert_eq!(parse(&[0xff; 16]), Parsed::Garbage);
        assert_eq!(parse(&[b'A'; MAX_BYTES]), Parsed::Garbage);
        assert_eq!(parse(b"$\0\xff\xff"), Parsed::Garbage);
        let long_body = b"PLAY rtsp://h/a RTSP/1.0\r\nContent-Length: 99999\r\n\r\n";
        assert_eq!(parse(long_body), Parsed::Garbage);
    }

    #[test]
    fn rtcp_in_the_connection_and_responses_are_stepped_over() {
        assert_eq!(parse(b"$\x01\0\x02abX"), Parsed::Skip(6));
        assert_eq!(
            parse(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
            Parsed::Skip(28)
        );
    }

    #[test]
    fn the_first_transport_that_we_have_is_chosen() {
        let field =
            "RTP/AVP;multicast,RTP/SAVP;client_port=2-3,RTP/AVP;unicast;client_port=5000-5001";
        let ways = |udp, multicast| Ways { udp, multicast };
        assert_eq!(
            transport(field, ways(true, false)),
            Some(Wish::Udp(5000, 5001))
        );
        assert_eq!(transport(field, ways(true, true)), Some(Wish::Multicast));
        assert_eq!(transport(field, ways(false, false)), None);
        let field = "RTP/AVP/TCP;unicast;interleaved=2-3;mode=\"PLAY\"";
        assert_eq!(
            transport(field, ways(false, false)),
            Some(Wish::Interleaved(Some((2, 3))))
        );
        for wrong in [
            "",
            "RTP/AVP",
            "RTP/AVP;client_port=0-1",
            "RTP/AVP/TCP;interleaved=300-301",
            "RTP/AVP/TCP;multicast",
        ] {
            assert_eq!(transport(wrong, ways(true, true)), None, "{wrong}");
        }
    }
}
