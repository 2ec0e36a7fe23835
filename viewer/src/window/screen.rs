//! The window's place on a monitor, its full-screen mode and its pixel buffer.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use fanlight_proto::clock::Time;
use softbuffer::{Context, Rect, Surface};
use winit::dpi::{PhysicalPosition, PhysicalSize};
use winit::event_loop::{ActiveEventLoop, OwnedDisplayHandle};
use winit::monitor::MonitorHandle;
use winit::platform::wayland::WindowAttributesExtWayland;
use winit::platform::x11::{ActiveEventLoopExtX11, WindowAttributesExtX11};
use winit::window::{Fullscreen, Window, WindowAttributes};

use super::awake::Awake;
use super::monitor::{self, Monitor};
use super::x11::XServer;
use super::{Options, WindowError, WindowPlace};
use crate::canvas::{Area, Canvas};

/// What desktops file the window under: WM_CLASS on X11, the application id on Wayland.
const APPLICATION: &str = "fanlight-viewer";

/// The window's size outside full screen, unless the monitor is smaller.
const WINDOWED: PhysicalSize<u32> = PhysicalSize::new(1280, 720);

/// How often a window is sent to the monitor that it shall fill, before another change of monitors: a window manager may have
/// its reasons.
const MAX_SENDINGS: u32 = 5;

/// As often the whole window is handed over, though only parts of it have changed: on X11 what lay under another window comes back
/// no other way.
const WHOLE_INTERVAL: Duration = Duration::from_secs(1);

/// Where a window lies on the desktop, in pixels.
#[derive(Clone, Copy, PartialEq)]
struct Geometry {
    position: PhysicalPosition<i32>,
    size: PhysicalSize<u32>,
}

pub(super) struct Screen {
    awake: Option<Awake>,
    window: Rc<Window>,
    surface: Surface<OwnedDisplayHandle, Rc<Window>>,
    /// When all of it was last handed over.
    whole_at: Time,
    /// None on Wayland.
    x11: Option<Rc<XServer>>,
    /// The name of the monitor asked for; none leaves it to the desktop.
    monitor: Option<String>,
    /// The monitors at the last look, and how often the window may still be sent to its own.
    monitors: Vec<Monitor>,
    sendings: u32,
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
        let places_itself = event_loop.is_x11();
        let present: Vec<MonitorHandle> = event_loop.available_monitors().collect();
        let wanted = choose(&present, options)?;
        let default = event_loop
            .primary_monitor()
            .or_else(|| present.first().cloned());
        let windowed = windowed(wanted.as_ref().or(default.as_ref()), options.place);
        let name = wanted.as_ref().and_then(MonitorHandle::name);
        // Without a given monitor, X11 has no current monitor to take before the window exists.
        let monitor = wanted.or(if places_itself { default } else { None });

        let attributes = attributes(options, monitor, windowed, places_itself);
        let window = Rc::new(event_loop.create_window(attributes)?);
        let display = event_loop.owned_display_handle();
        let context = Context::new(display.clone())?;
        let surface = Surface::new(&context, Rc::clone(&window))?;

        let x11 = places_itself
            .then(XServer::connect)
            .and_then(Result::ok)
            .map(Rc::new);
        let awake = Awake::new(display, Rc::clone(&window), x11.clone());
        Ok(Self {
            awake: awake
                .inspect_err(|error| tracing::info!("the display may go dark: {error:#}"))
                .ok(),
            window,
            surface,
            whole_at: Time::default(),
            x11,
            monitor: name,
            monitors: Vec::new(),
            sendings: 0,
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
        if let Some(geometry) = self.geometry() {
            self.windowed = geometry;
        }

        // Outside full screen a person may have moved the window to another monitor than it was opened on.
        let monitor = self.window.current_monitor();
        if let Some(monitor) = &monitor {
            self.place(whole(monitor));
        }

        self.window
            .set_fullscreen(Some(Fullscreen::Borderless(monitor)));
    }

    /// In full screen has the window fill its monitor again, after monitors have come, gone or changed.
    pub(super) fn follow_monitors(&mut self, event_loop: &ActiveEventLoop) {
        if !self.full_screen {
            return;
        }

        let present = match &self.x11 {
            Some(server) => server.monitors().unwrap_or_default(),
            // The window's own list keeps monitors that have gone (winit 0.30).
            None => event_loop
                .available_monitors()
                .map(|monitor| describe(&monitor))
                .collect(),
        };
        if present != self.monitors {
            self.monitors = present;
            self.sendings = MAX_SENDINGS;
        }

        let Some(target) = self.target() else { return };
        // At first a compositor may say that it is on an output which only lay there for a moment.
        let has_asked = self.sendings < MAX_SENDINGS;
        if has_asked && self.fills(target) {
            self.sendings = 0;
        } else if self.sendings > 0 {
            self.send_to(&target.clone(), event_loop);
            self.sendings -= 1;
        }
    }

    /// The monitor asked for or, on X11, else the one that the window begins on. A compositor sees to that by itself.
    fn target(&self) -> Option<&Monitor> {
        let corner = self.x11.as_ref().and_then(|_| self.geometry());
        let mut present = self.monitors.iter();
        present.find(|monitor| match (&self.monitor, corner) {
            (Some(name), _) => monitor.name == *name,
            (None, Some(at)) => monitor.contains(at.position.into()),
            (None, None) => false,
        })
    }

    fn fills(&self, monitor: &Monitor) -> bool {
        match self.x11 {
            Some(_) => self.geometry() == Some(monitor.into()),
            // What a window in full screen covers of its output is the compositor's affair.
            None => {
                let current = self.window.current_monitor();
                current.and_then(|current| current.name()).as_ref() == Some(&monitor.name)
            }
        }
    }

    fn send_to(&self, monitor: &Monitor, event_loop: &ActiveEventLoop) {
        if self.x11.is_some() {
            // It is in full screen already, and winit would put it where that monitor was at the start.
            return self.place(monitor.into());
        }

        let mut present = event_loop.available_monitors();
        let output = present.find(|output| output.name().as_ref() == Some(&monitor.name));
        self.window
            .set_fullscreen(Some(Fullscreen::Borderless(output)));
    }

    fn geometry(&self) -> Option<Geometry> {
        let position = self.window.outer_position().ok()?;
        let size = self.window.inner_size();
        Some(Geometry { position, size })
    }

    /// Keeps the display from going dark in full screen and while the window shows pictures.
    pub(super) fn keep_awake(&mut self, has_pictures: bool) {
        let wanted = self.full_screen || has_pictures;
        if let Some(awake) = &mut self.awake {
            awake.keep(wanted);
        }
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
    /// are that it finds, 0 when it finds none that were shown, and returns where they differ from the last drawing, none when
    /// anywhere. Returns false if the window has no pixels.
    pub(super) fn draw(
        &mut self,
        now: Time,
        paint: impl FnOnce(&mut Canvas<'_>, u8) -> Option<Vec<Area>>,
    ) -> Result<bool, WindowError> {
        let (width, height) = self.size();
        let (Some(columns), Some(rows)) = (NonZeroU32::new(width), NonZeroU32::new(height)) else {
            return Ok(false);
        };

        self.surface.resize(columns, rows)?;
        let mut buffer = self.surface.buffer_mut()?;
        let age = buffer.age();
        let mut canvas = Canvas::new(&mut buffer, width as usize, height as usize);
        let changed = paint(&mut canvas, age);

        self.window.pre_present_notify();
        let is_due = now >= self.whole_at + WHOLE_INTERVAL;
        // Who asks for a drawing and finds nothing new may be the display server.
        match changed.filter(|areas| !areas.is_empty() && !is_due) {
            Some(areas) => {
                let rects: Vec<Rect> = areas.iter().filter_map(rect).collect();
                buffer.present_with_damage(&rects)?;
            }
            None => {
                self.whole_at = now;
                buffer.present()?;
            }
        }
        Ok(true)
    }
}

impl From<&Monitor> for Geometry {
    fn from(monitor: &Monitor) -> Self {
        Self {
            position: PhysicalPosition::new(monitor.x, monitor.y),
            size: PhysicalSize::new(monitor.width, monitor.height),
        }
    }
}

/// None of an area without pixels.
fn rect(area: &Area) -> Option<Rect> {
    let length = |pixels: usize| u32::try_from(pixels).ok();
    Some(Rect {
        x: length(area.x)?,
        y: length(area.y)?,
        width: NonZeroU32::new(length(area.width)?)?,
        height: NonZeroU32::new(length(area.height)?)?,
    })
}

/// The monitor that is asked for, if one is.
fn choose(
    present: &[MonitorHandle],
    options: &Options,
) -> Result<Option<MonitorHandle>, WindowError> {
    let Some(wanted) = &options.monitor else {
        return Ok(None);
    };

    let described: Vec<Monitor> = present.iter().map(describe).collect();
    Ok(Some(present[monitor::choose(wanted, &described)?].clone()))
}

/// Those of the window when it opens on `monitor`, full or as `windowed` says.
fn attributes(
    options: &Options,
    monitor: Option<MonitorHandle>,
    windowed: Geometry,
    places_itself: bool,
) -> WindowAttributes {
    let geometry = match &monitor {
        Some(monitor) if options.full_screen => whole(monitor),
        _ => windowed,
    };
    let attributes = Window::default_attributes()
        .with_title(&options.title)
        .with_inner_size(geometry.size);
    let attributes = if places_itself {
        WindowAttributesExtX11::with_name(attributes, APPLICATION, APPLICATION)
            .with_position(geometry.position)
    } else {
        // A compositor for kiosks leaves decorations to the window, also over a whole screen.
        WindowAttributesExtWayland::with_name(attributes, APPLICATION, "")
            .with_decorations(!options.full_screen)
    };

    if options.full_screen {
        attributes.with_fullscreen(Some(Fullscreen::Borderless(monitor)))
    } else {
        attributes
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
