//! What a viewer shows to relays over UDP. Read by the main thread when the program starts, and by socket threads when the key
//! file has changed.

use anyhow::Context as _;
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::keys::KeyPath;
use fanlight_proto::handshake::{PublicKey, ViewerAccess};

use crate::tcp;

/// The viewer's key, and those of relays.
#[derive(Clone, Debug, Default)]
pub struct RelayKeys {
    /// The file of the shared key or, with `relays`, of the viewer's own; none: no relay asks for one.
    pub file: Option<KeyPath>,
    /// The relays' public keys: one for all, or one for each that is asked by UDP.
    pub relays: Vec<PublicKey>,
}

impl RelayKeys {
    /// What to show to each of `relays`, in their order. A connection shows a token instead.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn read(&self, relays: &[String]) -> anyhow::Result<Vec<ViewerAccess>> {
        let Some(file) = &self.file else {
            return Ok(vec![ViewerAccess::Open; relays.len()]);
        };

        if self.relays.is_empty() {
            return Ok(vec![ViewerAccess::Psk(file.shared()?); relays.len()]);
        }

        let own = file.private()?;
        let mut keys = self.relays.iter().cycle();
        let mut access = |relay: &String| {
            if tcp::is_web_address(relay) {
                return Ok(ViewerAccess::Open);
            }

            let relay: &PublicKey = keys.next().context("`relay_key` has no key")?;
            Ok(ViewerAccess::Keys {
                own: own.clone(),
                relay: *relay,
            })
        };
        relays.iter().map(&mut access).collect()
    }

    /// Looks for changes of the file.
    #[must_use]
    pub fn watch(&self) -> FileWatch {
        FileWatch::new("key_file", self.file.clone())
    }
}
