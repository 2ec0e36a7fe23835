//! Multicast groups: IPv4 addresses that a stream's media can be sent to.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::message::Group;

impl From<SocketAddrV4> for Group {
    fn from(group: SocketAddrV4) -> Self {
        Self {
            address: group.ip().to_bits(),
            port: group.port().into(),
        }
    }
}

impl Group {
    /// The group, if it is one that media may go to; see [`is_usable`].
    #[must_use]
    pub fn checked(&self) -> Option<SocketAddrV4> {
        let port = u16::try_from(self.port).ok()?;
        Some(SocketAddrV4::new(Ipv4Addr::from_bits(self.address), port)).filter(is_usable)
    }
}

/// Whether media may go to a group: not to 224.0.0.0/24, which is for protocols of the network itself and reaches every
/// host of it (RFC 5771 section 4).
#[must_use]
pub fn is_usable(group: &SocketAddrV4) -> bool {
    let reserved = group.ip().octets()[..3] == [224, 0, 0];
    group.ip().is_multicast() && !reserved && group.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_multicast_address_that_is_free_for_use_is_a_group() {
        for good in ["239.255.0.1:5005", "224.0.1.0:1", "239.255.255.255:65535"] {
            let group: SocketAddrV4 = good.parse().unwrap();
            assert_eq!(Group::from(group).checked(), Some(group));
        }

        for bad in [
            "224.0.0.251:5353",
            "10.0.0.1:5005",
            "239.0.0.1:0",
            "255.255.255.255:9",
            "0.0.0.0:0",
        ] {
            assert_eq!(
                Group::from(bad.parse::<SocketAddrV4>().unwrap()).checked(),
                None,
                "{bad}"
            );
        }

        assert_eq!(
            Group {
                address: 0xefff_0001,
                port: 65536 + 5
            }
            .checked(),
            None
        );
    }
}
