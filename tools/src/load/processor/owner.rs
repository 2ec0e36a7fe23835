//! Finds the process that has a UDP socket: /proc/net has its inode, /proc/PID/fd who holds it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Why it is not known which process a relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::load) enum Unknown {
    #[error("it is not on this host")]
    Elsewhere,
    #[error("no socket of this host is bound there: name its process with --relay-pid")]
    NoSocket,
    #[error(
        "its process cannot be seen by this user: run as its user or as root, or name it with --relay-pid"
    )]
    NotVisible,
}

/// The process that serves UDP at `address`.
///
/// # Errors
/// See [`Unknown`].
pub(in crate::load) fn owner(address: SocketAddr) -> Result<u32, Unknown> {
    // An address that a socket can have is this host's.
    if UdpSocket::bind((address.ip(), 0)).is_err() {
        return Err(Unknown::Elsewhere);
    }

    let tables = ["/proc/net/udp", "/proc/net/udp6"]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables
        .iter()
        .find_map(|table| inode(table, address))
        .ok_or(Unknown::NoSocket)?;

    holder(inode).ok_or(Unknown::NotVisible)
}

/// The inode of the socket in `table` that takes what comes to `address` from anybody: not one that is connected.
fn inode(table: &str, address: SocketAddr) -> Option<u64> {
    let serves = |at: SocketAddr| {
        let ip = at.ip().to_canonical();
        at.port() == address.port() && (ip.is_unspecified() || ip == address.ip().to_canonical())
    };

    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let local = socket_address(words.get(1)?)?;
        let remote = socket_address(words.get(2)?)?;
        (serves(local) && remote.port() == 0).then(|| words.get(9)?.parse().ok())?
    })
}

/// `0100007F:138C`, as proc(5) writes an address: each word of four bytes as this machine's number.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = ip
        .as_bytes()
        .chunks(8)
        .map(|word| {
            Some(
                u32::from_str_radix(std::str::from_utf8(word).ok()?, 16)
                    .ok()?
                    .to_ne_bytes(),
            )
        })
        .collect();

    let bytes = words?.concat();
    let ip: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).into(),
    };

    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// A process that has the socket open.
fn holder(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let has = |process: &u32| {
        // Those of other users cannot be looked into.
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"))
            .into_iter()
            .flatten()
            .flatten();

        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| link.as_os_str() == &wanted[..])
    };

    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_bound_socket_is_found_and_connected_ones_are_untracked() {
        for host in ["127.9.8.7", "0.0.0.0", "::1", "::"] {
            let socket = UdpSocket::bind((host.parse::<IpAddr>().unwrap(), 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            let asked = match host {
                "0.0.0.0" | "::" => SocketAddr::new(Ipv4Addr::new(127, 9, 8, 7).into(), port),
                host => SocketAddr::new(host.parse().unwrap(), port),
            };

            assert_eq!(owner(asked), Ok(std::process::id()), "{host}");
            if socket.local_addr().unwrap().is_ipv4() {
                socket.connect(("127.9.8.7", 9)).unwrap();
                assert_eq!(owner(asked), Err(Unknown::NoSocket));
            }
        }
    }

    #[test]
    fn what_is_not_on_this_host_is_said_not_to_be() {
        // TEST-NET-1 of RFC 5737 is nobody's.
        assert_eq!(
            owner("192.0.2.1:5004".parse().unwrap()),
            Err(Unknown::Elsewhere)
        );

        let free = UdpSocket::bind("127.9.8.7:0")
            .unwrap()
            .local_addr()
            .unwrap();

        assert_eq!(owner(free), Err(Unknown::NoSocket));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_read_as_the_kernel_writes_them() {
        let read = |text| socket_address(text).map(|address| address.to_string());
        assert_eq!(read("0100007F:138C").as_deref(), Some("127.0.0.1:5004"));
        assert_eq!(
            read("00000000000000000000000001000000:138C").as_deref(),
            Some("[::1]:5004")
        );

        for bad in [
            "",
            "0100007F",
            "0100007F:x",
            "zz00007F:138C",
            "0100007F01:138C",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
