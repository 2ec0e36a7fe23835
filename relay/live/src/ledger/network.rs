//! By what clients are told apart where each may have only so much.

use std::net::{IpAddr, Ipv6Addr};

/// The network that an address is counted as: the owner of one IPv6 address has 2^64 of them.
#[must_use]
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address => address,
    }
}
