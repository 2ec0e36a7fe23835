//! The window's place on a monitor, its full-screen mode and its pixel buffer.

use std::num::NonZeroU32;
use std::rc::Rc;

use softbuffer::{Context, Surface};
use winit::dpi::{PhysicalPosition, PhysicalSize};
use winit::event_loop::{ActiveEventLoop, OwnedDisplayHandle};
use winit::monitor::MonitorHandle;
use winit::platform::wayland::WindowAttributesExtWayland;
use winit::platform::x11::{ActiveEventLoopExtX11, WindowAttributesExtX11};
use winit::window::{Fullscreen, Window};

use super::monitor::{self, Monitor};
use super::{Options, WindowError, WindowPlace};
use crate::canvas::Canvas;

/// What desktops file the window under: WM_CLASS on X11, the application id on Wayland.
const APPLICATION: &str = "fanlight-viewer";

/// The window's size outside full screen, unless the monitor is smaller.
const WINDOWED: PhysicalSize<u32> = PhysicalSize::new(1280, 720);

/// Where a window lies on the desktop, in pixels.
#[derive(Clone, Copy)]
struct Geometry {
    position: PhysicalPosition<i32>,
    size: PhysicalSize<u32>,
}

pub(super) struct Screen {
    window: Rc<Window>,
    surface: Surface<OwnedDisplayHandle, Rc<Window>>,
    /// The monitor asked for; None leaves it to the desktop.
    monitor: Option<MonitorHandle>,
    /// Where the window lies when it is not in full screen.
    windowed: Geometry,
    full_screen: bool,
    /// On X11 the window places itself: without a window manager nobody else does, and with one it does no harm.
    places_itself: bool,
}

impl Screen {
    pub(super) fn open(
        event_loop: &ActiveEventLoop,
        options: &Options,
    ) -> Result<Self, WindowError> {
        let present: Vec<MonitorHandle> = event_loop.available_monitors().collect();
        let wanted = match &options.monitor {
            Some(wanted) => {
                let described: Vec<Monitor> = present.iter().map(describe).collect();
                Some(present[monitor::choose(wanted, &described)?].clone())
            }
            None => None,
        };

        let places_itself = event_loop.is_x11();
        let default = event_loop
            .primary_monitor()
            .or_else(|| present.first().cloned());
        let windowed = windowed(wanted.as_ref().or(default.as_ref()), options.place);
        // Without a given monitor, X11 has no current monitor to take before the window exists.
        let monitor = wanted.or(if places_itself { default } else { None });

        let geometry = match &monitor {
            Some(monitor) if options.full_screen => whole(monitor),
            _ => windowed,
        };

        let mut attributes = Window::default_attributes()
            .with_title(&options.title)
            .with_inner_size(geometry.size);
        attributes = if places_itself {
            WindowAttributesExtX11::with_name(attributes, APPLICATION, APPLICATION)
                .with_position(geometry.position)
        } else {
            // A compositor for kiosks leaves decorations to the window, also over a whole screen.
            WindowAttributesExtWayland::with_name(attributes, APPLICATION, "")
                .with_decorations(!options.full_screen)
        };

        if options.full_screen {
            attributes = attributes.with_fullscreen(Some(Fullscreen::Borderless(monitor.clone())));
        }

        let window = Rc::new(event_loop.create_window(attributes)?);
        let context = Context::new(event_loop.owned_display_handle())?;
        let surface = Surface::new(&context, Rc::clone(&window))?;
        Ok(Self {
            window,
            surface,
            monitor,
            windowed,
            full_screen: options.full_screen,
            places_itself,
        })
    }

    pub(super) fn is_full_screen(&self) -> bool {
        self.full_screen
    }

    /// Goes to full screen, or back to where the window was.
    pub(super) fn toggle_full_screen(&mut self) {
        self.full_screen = !self.full_screen;
        if !self.places_itself {
            self.window.set_decorations(!self.full_screen);
        }
        if self.full_screen {
            self.enter_full_screen();
        } else {
            self.window.set_fullscreen(None);
            self.place(self.windowed);
        }
    }

    fn enter_full_screen(&mut self) {
        if let Ok(position) = self.window.outer_position() {
            self.windowed = Geometry {
                position,
                size: self.window.inner_size(),
            };
        }

        // Outside full screen a person may have moved the window to another monitor than it was opened on.
        let monitor = self
            .window
            .current_monitor()
            .or_else(|| self.monitor.clone());

        if let Some(monitor) = &monitor {
            self.place(whole(monitor));
        }

        self.window
            .set_fullscreen(Some(Fullscreen::Borderless(monitor)));
    }

    fn place(&self, geometry: Geometry) {
        if self.places_itself {
            self.window.set_outer_position(geometry.position);
            // The new size comes as an event, if at all.
            let _ = self.window.request_inner_size(geometry.size);
        }
    }

    /// Asks once more for a window that never came to the screen: a window manager that is just starting may swallow
    /// the first request. Returns false once the window was there, or where that cannot be known.
    pub(super) fn insist(&self) -> bool {
        let missing = self.places_itself && self.window.is_visible() == Some(false);
        if missing {
            self.window.set_visible(false);
            self.window.set_visible(true);
        }
        missing
    }

    pub(super) fn set_title(&self, title: &str) {
        self.window.set_title(title);
    }

    pub(super) fn set_cursor_visible(&self, visible: bool) {
        self.window.set_cursor_visible(visible);
    }

    pub(super) fn request_redraw(&self) {
        self.window.request_redraw();
    }

    /// Pixels (width, height) of the window's inside; zero while it is minimised.
    pub(super) fn size(&self) -> (u32, u32) {
        self.window.inner_size().into()
    }

    /// Lets `paint` draw and hands the pixels to the display server. `paint` is told of how many drawings ago the pixels
    /// are that it finds; 0 when it finds none that were shown. Returns false if the window has no pixels.
    pub(super) fn draw(
        &mut self,
        paint: impl FnOnce(&mut Canvas<'_>, u8),
    ) -> Result<bool, WindowError> {
        let (width, height) = self.size();
        let (Some(columns), Some(rows)) = (NonZeroU32::new(width), NonZeroU32::new(height)) else {
            return Ok(false);
        };

        self.surface.resize(columns, rows)?;
        let mut buffer = self.surface.buffer_mut()?;
        let age = buffer.age();
        let mut canvas = Canvas::new(&mut buffer, width as usize, height as usize);
        paint(&mut canvas, age);

        self.window.pre_present_notify();
        buffer.present()?;
        Ok(true)
    }
}

fn describe(monitor: &MonitorHandle) -> Monitor {
    let Geometry { position, size } = whole(monitor);
    let name = monitor.name().unwrap_or_else(|| "unnamed".into());
    Monitor {
        name,
        x: position.x,
        y: position.y,
        width: size.width,
        height: size.height,
    }
}

fn whole(monitor: &MonitorHandle) -> Geometry {
    Geometry {
        position: monitor.position(),
        size: monitor.size(),
    }
}

/// The place that an option names or, in the middle of the monitor, [`WINDOWED`] or less where the monitor is smaller.
fn windowed(monitor: Option<&MonitorHandle>, place: Option<WindowPlace>) -> Geometry {
    let named = place.map(|place| PhysicalSize::from(place.size));
    let at = place.and_then(|place| place.position);
    let Some(monitor) = monitor.map(whole) else {
        return Geometry {
            position: at.unwrap_or_default().into(),
            size: named.unwrap_or(WINDOWED),
        };
    };

    let size = named.unwrap_or_else(|| {
        let width = WINDOWED.width.min(monitor.size.width * 4 / 5).max(1);
        let height = WINDOWED.height.min(monitor.size.height * 4 / 5).max(1);
        PhysicalSize::new(width, height)
    });

    let indent = |outer: u32, inner: u32| (outer.saturating_sub(inner) / 2).cast_signed();
    let middle = (
        monitor.position.x + indent(monitor.size.width, size.width),
        monitor.position.y + indent(monitor.size.height, size.height),
    );

    Geometry {
        position: at.unwrap_or(middle).into(),
        size,
    }
}
