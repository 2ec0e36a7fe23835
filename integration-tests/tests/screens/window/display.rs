//! Displays without a screen: Xvfb with one monitor, Xorg with the dummy driver for several, sway for Wayland.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fanlight_proto::frame_barcode::FrameBarcode;
use fanlight_tests::{skip, wait};
use tempfile::TempDir;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ChangeWindowAttributesAux, ConnectionExt, ImageFormat};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use super::sway::{Sway, grim};

/// What the desktop shows where no window is: a colour that no test picture has.
pub(crate) const DESKTOP: u32 = 0x2f_6f_4f;

/// A monitor as a test wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monitor {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A display server of the test's own. Ends with its guard.
pub(crate) struct Display {
    server: Server,
    child: Child,
    others: Vec<Child>,
    _folder: Option<TempDir>,
}

enum Server {
    X11 {
        name: String,
        connection: Box<RustConnection>,
    },
    Sway(Sway),
}

impl Display {
    /// One monitor of that size; None, and said so, where Xvfb is not installed.
    pub(crate) fn single(width: u32, height: u32) -> Option<Self> {
        installed("Xvfb")?;
        let mut command = Command::new("Xvfb");
        command.args(["-screen", "0", &format!("{width}x{height}x24")]);
        Some(Self::start(command, None))
    }

    /// Monitors DUMMY0, DUMMY1 and so on; None, and said so, where Xorg or its dummy driver is not installed.
    pub(crate) fn several(monitors: &[Monitor]) -> Option<Self> {
        installed("Xorg")?;
        installed("xrandr")?;
        let driver = "/usr/lib/xorg/modules/drivers/dummy_drv.so";

        if !Path::new(driver).is_file() {
            skip("the dummy driver of Xorg (xserver-xorg-video-dummy) is not installed");
            return None;
        }

        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("xorg.conf");
        std::fs::write(&config, XORG_CONFIG).unwrap();
        let mut command = Command::new("Xorg");
        command
            .arg("-config")
            .arg(&config)
            .arg("-logfile")
            .arg(folder.path().join("log"));

        command.args(["-novtswitch", "-sharevts", "-noreset"]);
        let display = Self::start(command, Some(folder));
        let mut layout = display.command("xrandr");

        for (
            index,
            Monitor {
                x,
                y,
                width,
                height,
            },
        ) in monitors.iter().enumerate()
        {
            let output = format!("DUMMY{index}");
            let mode = format!("{width}x{height}");

            if index > 0 {
                run(display
                    .command("xrandr")
                    .args(["--addmode", &output, &mode]));
            }

            layout.args([
                "--output",
                &output,
                "--mode",
                &mode,
                "--pos",
                &format!("{x}x{y}"),
            ]);
        }

        run(&mut layout);
        display.paint_desktop();
        Some(display)
    }

    /// One monitor of that size, of each kind of display server that is installed.
    pub(crate) fn each(width: u32, height: u32) -> impl Iterator<Item = Self> {
        let monitor = Monitor {
            x: 0,
            y: 0,
            width,
            height,
        };
        let wayland = || Self::wayland(&[monitor]);
        Self::single(width, height).into_iter().chain(wayland())
    }

    /// Wayland outputs HEADLESS-1, HEADLESS-2 and so on; None, and said so, where something for it is not installed.
    pub(crate) fn wayland(monitors: &[Monitor]) -> Option<Self> {
        let (sway, child, folder) = Sway::start(monitors)?;
        Some(Self {
            server: Server::Sway(sway),
            child,
            others: Vec::new(),
            _folder: Some(folder),
        })
    }

    fn start(mut command: Command, folder: Option<TempDir>) -> Self {
        command.args(["-displayfd", "1", "-nolisten", "tcp"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        let mut number = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut number)
            .unwrap();
        assert!(
            !number.trim().is_empty(),
            "the display server did not start: {command:?}"
        );

        let name = format!(":{}", number.trim());
        let connection = wait::until("a connection to the display", wait::SOON, || {
            RustConnection::connect(Some(&name))
                .ok()
                .map(|(connection, _)| connection)
        });

        let display = Self {
            server: Server::X11 {
                name,
                connection: Box::new(connection),
            },
            child,
            others: Vec::new(),
            _folder: folder,
        };

        display.paint_desktop();
        display
    }

    /// A window manager, so that full screen is the desktop's doing; None, and said so, where openbox is missing.
    pub(crate) fn with_window_manager(mut self) -> Option<Self> {
        installed("openbox")?;
        let manager = self
            .command("openbox")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        self.others.push(manager);
        wait::until("a window manager", wait::SOON, || {
            self.has_window_manager().then_some(())
        });

        Some(self)
    }

    /// With a keyboard, for [`Self::press`]; None, and said so, where what types is missing.
    pub(crate) fn with_keyboard(mut self) -> Option<Self> {
        if matches!(self.server, Server::X11 { .. }) {
            installed("xdotool")?;
            return Some(self);
        }

        installed("wtype")?;
        // It has a keyboard of its own for as long as it runs. With the first the window is told that there is one, which may
        // be after the key.
        let keyboard = self.command("wtype").args(["-s", "3600000"]).spawn();
        self.others.push(keyboard.unwrap());
        wait::until("a keyboard", wait::SOON, || {
            self.sway().has_keyboard().then_some(())
        });
        Some(self)
    }

    fn has_window_manager(&self) -> bool {
        let connection = self.x11();
        let atom = connection
            .intern_atom(false, b"_NET_SUPPORTING_WM_CHECK")
            .unwrap()
            .reply()
            .unwrap()
            .atom;

        let property = connection
            .get_property(false, self.root(), atom, 0u32, 0, 1)
            .unwrap()
            .reply()
            .unwrap();

        property.value_len > 0
    }

    /// # Panics
    /// On Wayland.
    pub(crate) fn x11(&self) -> &RustConnection {
        match &self.server {
            Server::X11 { connection, .. } => connection,
            Server::Sway(_) => panic!("only with an X server"),
        }
    }

    /// # Panics
    /// On X11.
    pub(crate) fn sway(&self) -> &Sway {
        match &self.server {
            Server::X11 { .. } => panic!("only with sway"),
            Server::Sway(sway) => sway,
        }
    }

    /// X11 or Wayland, for names of files.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.server {
            Server::X11 { .. } => "x11",
            Server::Sway(_) => "wayland",
        }
    }

    /// What a program needs to find it.
    pub(crate) fn variables(&self) -> [(&'static str, &str); 2] {
        let (x11, wayland) = match &self.server {
            Server::X11 { name, .. } => (name.as_str(), ""),
            Server::Sway(sway) => ("", sway.socket()),
        };
        [("DISPLAY", x11), ("WAYLAND_DISPLAY", wayland)]
    }

    /// `program` on this display.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.variables()).env_remove("WAYLAND_SOCKET");
        command
    }

    /// Presses a key, as xdotool names it. Without a window manager it goes to the window under the pointer, so the
    /// pointer is put to `x`, `y` first.
    pub(crate) fn press(&self, key: &str, (x, y): (u32, u32)) {
        if let Server::Sway(sway) = &self.server {
            wait::until("the viewer's window has the keyboard", wait::SOON, || {
                (sway.window()?["focused"] == true).then_some(())
            });
            return run(self.command("wtype").args(["-k", key]));
        }

        if self.has_window_manager() {
            // It gives a new window the keyboard some time after it has mapped it.
            wait::until("the viewer's window has the keyboard", wait::SOON, || {
                self.viewer_has_focus().then_some(())
            });
        }

        self.xdotool(&format!("mousemove {x} {y} key {key}"));
    }

    /// Has keys and mouse of an X server do what these words of xdotool(1) say.
    pub(crate) fn xdotool(&self, words: &str) {
        run(self.command("xdotool").args(words.split(' ')));
    }

    fn viewer_has_focus(&self) -> bool {
        let focus = self
            .x11()
            .get_input_focus()
            .unwrap()
            .reply()
            .unwrap()
            .focus
            .to_string();

        let windows = self
            .command("xdotool")
            .args(["search", "--class", "fanlight-viewer"])
            .output()
            .unwrap();

        String::from_utf8_lossy(&windows.stdout)
            .lines()
            .any(|window| window == focus)
    }

    /// All that the screen shows.
    pub(crate) fn screenshot(&self) -> Screenshot {
        let connection = match &self.server {
            Server::X11 { connection, .. } => connection,
            Server::Sway(sway) => return grim(sway.socket(), &[]),
        };
        let screen = &connection.setup().roots[0];
        let size = connection
            .get_geometry(screen.root)
            .unwrap()
            .reply()
            .unwrap();

        let width = size.width;
        let height = size.height;
        let image = connection
            .get_image(
                ImageFormat::Z_PIXMAP,
                screen.root,
                0,
                0,
                width,
                height,
                u32::MAX,
            )
            .unwrap()
            .reply()
            .unwrap();

        let pixels = image
            .data
            .chunks_exact(4)
            .map(|p| u32::from_le_bytes([p[0], p[1], p[2], 0]))
            .collect();

        Screenshot {
            width: u32::from(width),
            height: u32::from(height),
            pixels,
        }
    }

    /// The titles of the windows on the desktop's list (with a window manager).
    pub(crate) fn title_of(&self, window_class: &str) -> String {
        let out = self
            .command("xdotool")
            .args(["search", "--class", window_class, "getwindowname"])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// The window of an X server that covers everything.
    pub(crate) fn root(&self) -> u32 {
        self.x11().setup().roots[0].root
    }

    fn paint_desktop(&self) {
        let colour = ChangeWindowAttributesAux::new().background_pixel(DESKTOP);
        let connection = self.x11();
        connection
            .change_window_attributes(self.root(), &colour)
            .unwrap();
        connection
            .clear_area(false, self.root(), 0, 0, 0, 0)
            .unwrap();
        connection.sync().unwrap();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain([&mut self.child]) {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The pixels of a whole desktop, `0x00RRGGBB`.
#[derive(PartialEq, Eq)]
pub(crate) struct Screenshot {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pixels: Vec<u32>,
}

impl Screenshot {
    /// Of the bytes of a PPM file; none when they are not one.
    pub(super) fn of_ppm(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
        parts.next().filter(|magic| magic == b"P6")?;
        let size = str::from_utf8(parts.next()?).ok()?;
        let (width, height) = size.split_once(' ')?;
        parts.next().filter(|largest| largest == b"255")?;
        let rgb = parts.next()?.chunks_exact(3);
        Some(Self {
            width: width.parse().ok()?,
            height: height.parse().ok()?,
            pixels: rgb
                .map(|rgb| u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]))
                .collect(),
        })
    }

    pub(crate) fn at(&self, x: u32, y: u32) -> u32 {
        self.pixels[(y * self.width + x) as usize]
    }

    /// All points with their colours.
    pub(crate) fn points(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        (0..)
            .zip(&self.pixels)
            .map(|(i, &colour)| (i % self.width, i / self.width, colour))
    }

    /// The code that a source painted into the picture that fills `monitor`.
    pub(crate) fn code(&self, monitor: Monitor) -> Option<FrameBarcode> {
        FrameBarcode::read_with(monitor.width, monitor.height, |x, y| {
            let pixel = self.at(monitor.x + x, monitor.y + y);
            let [blue, green, red, _] = pixel.to_le_bytes().map(u32::from);
            ((red + 2 * green + blue) / 4) as u8
        })
    }

    /// Saves it as a JPEG for people to look at: `target/tmp/screenshots/NAME.jpg`.
    pub(crate) fn keep(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let width = self.width as usize;
        let height = self.height as usize;
        let pixels: Vec<u8> = self.pixels.iter().flat_map(|p| p.to_le_bytes()).collect();
        let format = turbojpeg::PixelFormat::BGRX;
        let image = turbojpeg::Image {
            pixels: &pixels[..],
            width,
            pitch: 4 * width,
            height,
            format,
        };

        let path = folder.join(format!("{name}.jpg"));
        let jpeg = turbojpeg::compress(image, 95, turbojpeg::Subsamp::None).unwrap();
        std::fs::File::create(&path)
            .unwrap()
            .write_all(&jpeg)
            .unwrap();

        path
    }
}

/// Some if `program` is on the PATH; else says that the test is skipped.
pub(crate) fn installed(program: &str) -> Option<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        skip(&format!("{program} is not installed"));
    }

    found.then_some(())
}

pub(crate) fn run(command: &mut Command) {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Takes no keyboard, mouse or console of the machine: it may have a person before it.
const XORG_CONFIG: &str = r#"
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoEnableDevices" "false"
  Option "DontVTSwitch" "true"
EndSection
Section "Device"
  Identifier "device"
  Driver "dummy"
  VideoRam 256000
EndSection
Section "Monitor"
  Identifier "monitor"
  HorizSync 5-1000
  VertRefresh 5-200
  Modeline "1920x1080" 148.50 1920 2448 2492 2640 1080 1084 1089 1125 +Hsync +Vsync
EndSection
Section "Screen"
  Identifier "screen"
  Device "device"
  Monitor "monitor"
  DefaultDepth 24
  SubSection "Display"
    Depth 24
    Modes "1920x1080"
    Virtual 5760 2160
  EndSubSection
EndSection
"#;
