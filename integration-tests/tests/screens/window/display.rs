//! Displays without a screen: Xvfb with one monitor, Xorg with the dummy driver for several.

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

/// An X server of the test's own. Ends with its guard.
pub(crate) struct Display {
    name: String,
    server: Child,
    others: Vec<Child>,
    connection: RustConnection,
    _folder: Option<TempDir>,
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

    fn start(mut command: Command, folder: Option<TempDir>) -> Self {
        command.args(["-displayfd", "1", "-nolisten", "tcp"]);
        let mut server = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap())
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
            name,
            server,
            others: Vec::new(),
            connection,
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

    fn has_window_manager(&self) -> bool {
        let atom = self
            .connection
            .intern_atom(false, b"_NET_SUPPORTING_WM_CHECK")
            .unwrap()
            .reply()
            .unwrap()
            .atom;

        let property = self
            .connection
            .get_property(false, self.root(), atom, 0u32, 0, 1)
            .unwrap()
            .reply()
            .unwrap();

        property.value_len > 0
    }

    /// What DISPLAY has to be.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `program` on this display.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.name)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET");
        command
    }

    /// Presses a key, as xdotool names it. Without a window manager it goes to the window under the pointer, so the
    /// pointer is put to `x`, `y` first.
    pub(crate) fn press(&self, key: &str, (x, y): (u32, u32)) {
        if self.has_window_manager() {
            // It gives a new window the keyboard some time after it has mapped it.
            wait::until("the viewer's window has the keyboard", wait::SOON, || {
                self.viewer_has_focus().then_some(())
            });
        }

        run(self.command("xdotool").args([
            "mousemove",
            &x.to_string(),
            &y.to_string(),
            "key",
            key,
        ]));
    }

    fn viewer_has_focus(&self) -> bool {
        let focus = self
            .connection
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
        let screen = &self.connection.setup().roots[0];
        let size = self
            .connection
            .get_geometry(screen.root)
            .unwrap()
            .reply()
            .unwrap();

        let width = size.width;
        let height = size.height;
        let image = self
            .connection
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

    fn root(&self) -> u32 {
        self.connection.setup().roots[0].root
    }

    fn paint_desktop(&self) {
        let colour = ChangeWindowAttributesAux::new().background_pixel(DESKTOP);
        self.connection
            .change_window_attributes(self.root(), &colour)
            .unwrap();
        self.connection
            .clear_area(false, self.root(), 0, 0, 0, 0)
            .unwrap();
        self.connection.sync().unwrap();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain([&mut self.server]) {
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

fn run(command: &mut Command) {
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
