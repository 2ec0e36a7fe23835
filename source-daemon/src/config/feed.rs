//! Where a source publishes, and by which keys it knows its relays.

use anyhow::{Context as _, bail, ensure};
use fanlight_daemon::keys::KeyPath;
use fanlight_daemon::paths;
use fanlight_proto::keys::{FeedKey, PrivateKey};
use fanlight_proto::zmtp::{AcceptedSecurity, PublisherKeys, Security};

use super::Config;
use fanlight_daemon::endpoint::Endpoint;

impl Config {
    /// Where to publish.
    ///
    /// # Errors
    /// When no endpoint is configured and there is no runtime directory.
    pub fn endpoints(&self) -> anyhow::Result<Vec<Endpoint>> {
        if self.publish.is_empty() {
            let dir = paths::runtime_dir()
                .context("publish is not set, and there is no runtime directory")?;
            let socket = format!("{}.ipc", self.stream);
            return Ok(vec![Endpoint::Ipc(
                dir.join(paths::STREAMS_DIR).join(socket),
            )]);
        }
        Ok(self.publish.clone())
    }

    /// How relays secure their connections, with the keys read from their files.
    ///
    /// # Errors
    /// When a key file cannot be used.
    pub fn accepted_security(&self) -> anyhow::Result<AcceptedSecurity> {
        let shared_key = self.shared_key()?;
        let keys = match (self.own_key()?, &self.relay_keys) {
            (Some(own), Some(list)) => Some(PublisherKeys {
                own,
                relays: list.names().context("relay_keys")?,
            }),
            _ => None,
        };

        Ok(AcceptedSecurity {
            null: shared_key.is_none() && keys.is_none(),
            shared_key,
            keys,
        })
    }

    /// The files of [`Config::accepted_security`].
    pub(crate) fn feed_key_files(&self) -> Vec<KeyPath> {
        let files = [&self.feed_key, &self.feed_identity, &self.relay_keys];
        files.into_iter().flatten().cloned().collect()
    }

    /// How the source of this config is asked on its own host.
    ///
    /// # Errors
    /// When a key file cannot be used.
    pub fn asking_security(&self) -> anyhow::Result<Security> {
        if let Some(own) = self.own_key()? {
            let source = own.public();
            return Ok(Security::Keys { own, source });
        }
        Ok(self
            .shared_key()?
            .map_or(Security::Null, Security::SharedKey))
    }

    fn shared_key(&self) -> anyhow::Result<Option<FeedKey>> {
        let key = self.feed_key.as_ref().map(|path| path.feed());
        Ok(key.transpose().context("feed_key")?.map(FeedKey::new))
    }

    fn own_key(&self) -> anyhow::Result<Option<PrivateKey>> {
        let key = self.feed_identity.as_ref().map(|path| path.private());
        key.transpose().context("feed_identity")
    }

    pub(super) fn check_publish(&self) -> anyhow::Result<()> {
        let half = match (&self.feed_identity, &self.relay_keys) {
            (Some(_), None) => Some("feed_identity needs relay_keys"),
            (None, Some(_)) => Some("relay_keys needs feed_identity"),
            _ => None,
        };

        if let Some(half) = half {
            bail!(
                "{half}: relays with keys of their own take this source's key (feed_identity, which \
                 `fanlight-source keygen pair FILE` makes) and a list of theirs (relay_keys)"
            );
        }

        let sealed = self.feed_key.is_some() || self.relay_keys.is_some();
        for (index, endpoint) in self.publish.iter().enumerate() {
            ensure!(
                sealed || self.allow_remote || endpoint.is_local(),
                "publish: other hosts can reach {endpoint}, and the pictures would cross the network unencrypted; \
                 set feed_key to a file that `fanlight-source keygen feed FILE` makes, or give each side a key of its \
                 own (feed_identity, relay_keys), or set allow_remote = true (--allow-remote) if that is meant, or publish at ipc:// or tcp://127.0.0.1"
            );

            ensure!(
                !self.publish[..index].contains(endpoint),
                "publish: {endpoint} is given twice; leave one out"
            );
        }

        Ok(())
    }
}
