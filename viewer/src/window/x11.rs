//! What winit does not ask an X server: to stay awake, and which monitors there are by now. The window's thread calls it.

use anyhow::Context as _;
use x11rb::connection::Connection;
use x11rb::errors::ReplyError;
use x11rb::protocol::randr::ConnectionExt as _;
use x11rb::protocol::screensaver::ConnectionExt as _;
use x11rb::protocol::xproto::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use super::monitor::Monitor;

/// A connection of its own to the X server that `DISPLAY` names, as winit's does.
pub(super) struct XServer {
    connection: RustConnection,
    screen: usize,
}

impl XServer {
    /// # Errors
    /// When it cannot be reached.
    pub(super) fn connect() -> anyhow::Result<Self> {
        let (connection, screen) = RustConnection::connect(None)
            .context("cannot connect to the X server a second time")?;
        Ok(Self { connection, screen })
    }

    /// The monitors as they are now. winit goes on naming those of the start: Xlib, through which it asks for events, drops
    /// those of RandR.
    pub(super) fn monitors(&self) -> Result<Vec<Monitor>, ReplyError> {
        let root = self.connection.setup().roots[self.screen].root;
        let reply = self.connection.randr_get_monitors(root, true)?.reply()?;
        reply
            .monitors
            .into_iter()
            .map(|it| {
                let name = self.connection.get_atom_name(it.name)?.reply()?.name;
                Ok(Monitor {
                    name: String::from_utf8_lossy(&name).into_owned(),
                    x: it.x.into(),
                    y: it.y.into(),
                    width: it.width.into(),
                    height: it.height.into(),
                })
            })
            .collect()
    }

    /// # Errors
    /// When it has no MIT-SCREEN-SAVER.
    pub(super) fn check_screen_saver(&self) -> anyhow::Result<()> {
        let version = self.connection.screensaver_query_version(1, 1);
        version
            .context("the X server has no MIT-SCREEN-SAVER")?
            .reply()?;
        Ok(())
    }

    /// Keeps it from going dark, or no longer.
    pub(super) fn suspend_screen_saver(&self, wanted: bool) -> anyhow::Result<()> {
        self.connection.screensaver_suspend(wanted.into())?;
        Ok(self.connection.flush()?)
    }
}
