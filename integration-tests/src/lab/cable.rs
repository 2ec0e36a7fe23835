//! Two hosts and a cable between them, without a switch and with everything that the kernel does for speed: for benches.

use std::net::Ipv4Addr;

use super::{Namespace, missing, namespace};

/// Two network namespaces, each of whose only device `eth0` is one end of a veth pair.
#[derive(Debug)]
pub struct Cable {
    near: End,
    far: End,
}

/// A host at one end of a [`Cable`].
#[derive(Debug)]
pub struct End {
    namespace: Namespace,
    address: Ipv4Addr,
}

impl Cable {
    /// None, and a word about it, where there can be no namespaces.
    ///
    /// # Panics
    /// When it should be possible and fails; when it is not possible and all tests must run.
    #[must_use]
    pub fn open() -> Option<Self> {
        if let Some(missing) = missing() {
            crate::skip(&missing);
            return None;
        }

        namespace::sweep();
        let prefix = namespace::unique();
        let end = |name, number| End {
            namespace: Namespace::new(format!("{prefix}-{name}")),
            address: Ipv4Addr::new(10, 79, 0, number),
        };

        let near = end("near", 1);
        let far = end("far", 2);
        near.namespace.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {}",
            far.namespace.name()
        ));

        for end in [&near, &far] {
            end.namespace
                .ip(&format!("addr add {}/24 dev eth0", end.address));
            end.namespace.ip("link set eth0 up");
        }

        Some(Self { near, far })
    }

    /// One end.
    #[must_use]
    pub const fn near(&self) -> &End {
        &self.near
    }

    /// The other.
    #[must_use]
    pub const fn far(&self) -> &End {
        &self.far
    }
}

impl End {
    /// Its address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The words in front of a command line that is to run here.
    #[must_use]
    pub fn enter(&self) -> [&str; 4] {
        self.namespace.enter()
    }

    /// Calls `act` on a thread that is here. Sockets made by it stay here, whoever uses them.
    ///
    /// # Panics
    /// When `act` does.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.namespace.within(act)
    }

    /// Runs a command here, its words split at spaces.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(&self, words: &str) -> String {
        self.namespace.run(words)
    }
}
