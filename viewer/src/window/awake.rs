//! Keeps a display from going dark: an X server by its MIT-SCREEN-SAVER extension, a Wayland compositor by
//! idle-inhibit-unstable-v1 (decision 118). The window's thread owns it.
//!
//! `unsafe` code of this program: a compositor has to be told of the surface that winit made, and winit gives out its
//! address.

#![allow(unsafe_code)]

use std::rc::Rc;

use anyhow::Context as _;
use wayland_client::backend::{Backend, ObjectId};
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, delegate_noop};
use wayland_protocols::wp::idle_inhibit::zv1::client::zwp_idle_inhibit_manager_v1::ZwpIdleInhibitManagerV1;
use wayland_protocols::wp::idle_inhibit::zv1::client::zwp_idle_inhibitor_v1::ZwpIdleInhibitorV1;
use winit::event_loop::OwnedDisplayHandle;
use winit::raw_window_handle::{
    HasDisplayHandle, HasWindowHandle, RawDisplayHandle, RawWindowHandle, WaylandDisplayHandle,
    WaylandWindowHandle,
};
use winit::window::Window;

use super::x11::XServer;

/// The display server, which forgets the wish when the connection ends.
pub(super) struct Awake {
    server: Server,
    is_kept: bool,
}

enum Server {
    X11(Rc<XServer>),
    Wayland(Box<Inhibition>),
}

impl Awake {
    /// # Errors
    /// When the display server has no such extension.
    pub(super) fn new(
        display: OwnedDisplayHandle,
        window: Rc<Window>,
        x11: Option<Rc<XServer>>,
    ) -> anyhow::Result<Self> {
        let handles = (
            display.display_handle()?.as_raw(),
            window.window_handle()?.as_raw(),
        );
        let server = match handles {
            (RawDisplayHandle::Wayland(connection), RawWindowHandle::Wayland(surface)) => {
                let inhibition = Inhibition::new(display, window, connection, surface)?;
                Server::Wayland(Box::new(inhibition))
            }
            _ => {
                let server = x11.context("there is no second connection to the X server")?;
                server.check_screen_saver()?;
                Server::X11(server)
            }
        };
        Ok(Self {
            server,
            is_kept: false,
        })
    }

    /// Keeps the display awake from now on, or no longer.
    pub(super) fn keep(&mut self, wanted: bool) {
        if let Server::Wayland(inhibition) = &mut self.server {
            inhibition.read_events();
        }
        if wanted == self.is_kept {
            return;
        }

        self.is_kept = wanted;
        let done = match &mut self.server {
            Server::X11(server) => server.suspend_screen_saver(wanted),
            Server::Wayland(inhibition) => inhibition.set(wanted),
        };
        if let Err(error) = done {
            tracing::info!("the display may go dark: {error:#}");
        }
    }
}

/// The wish of one surface that its compositor not idle while the surface is seen.
struct Inhibition {
    inhibitor: Option<ZwpIdleInhibitorV1>,
    manager: ZwpIdleInhibitManagerV1,
    surface: WlSurface,
    queue: EventQueue<Ignored>,
    connection: Connection,
    /// What the above are of; they end after them.
    _window: Rc<Window>,
    _display: OwnedDisplayHandle,
}

impl Inhibition {
    fn new(
        display: OwnedDisplayHandle,
        window: Rc<Window>,
        connection: WaylandDisplayHandle,
        surface: WaylandWindowHandle,
    ) -> anyhow::Result<Self> {
        // SAFETY: it is the address of the wl_display of `display`, which is kept for as long.
        let backend = unsafe { Backend::from_foreign_display(connection.display.as_ptr().cast()) };
        let connection = Connection::from_backend(backend);
        let (globals, queue) = registry_queue_init::<Ignored>(&connection)?;
        let manager = globals
            .bind(&queue.handle(), 1..=1, ())
            .context("the compositor has no idle-inhibit-unstable-v1")?;

        let address = surface.surface.as_ptr().cast();
        // SAFETY: it is the address of the wl_surface of `window`, which is kept for as long.
        let id = unsafe { ObjectId::from_ptr(WlSurface::interface(), address) }?;
        Ok(Self {
            inhibitor: None,
            manager,
            surface: WlSurface::from_id(&connection, id)?,
            queue,
            connection,
            _window: window,
            _display: display,
        })
    }

    /// Else they pile up: those of globals that come and go.
    fn read_events(&mut self) {
        // The window's own connection tells of a broken one.
        let _ = self.queue.dispatch_pending(&mut Ignored);
    }

    fn set(&mut self, wanted: bool) -> anyhow::Result<()> {
        if let Some(inhibitor) = self.inhibitor.take() {
            inhibitor.destroy();
        }
        if wanted {
            let handle = self.queue.handle();
            self.inhibitor = Some(self.manager.create_inhibitor(&self.surface, &handle, ()));
        }
        Ok(self.connection.flush()?)
    }
}

/// Events that say nothing.
struct Ignored;

delegate_noop!(Ignored: ZwpIdleInhibitManagerV1);
delegate_noop!(Ignored: ZwpIdleInhibitorV1);

impl Dispatch<WlRegistry, GlobalListContents> for Ignored {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}
