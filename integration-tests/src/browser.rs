//! A real browser: headless Chromium, driven by playwright-core through `browser/driver.mjs`.
//!
//! ```no_run
//! use fanlight_tests::browser::{Browser, Look};
//!
//! let Some(browser) = Browser::start(&[]) else { return };
//! let page = browser.open("http://127.0.0.1:8080/", &Look::default());
//! page.wait_live(4);
//! assert!(page.panes(5.0)[0].fps > 9.0);
//! page.assert_clean();
//! ```

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use fanlight_proto::frame_barcode::FrameBarcode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::npm;
use crate::wait::{SOON, pause, until};

/// Where Debian has it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Between two questions to a page: each costs the machine that is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Chromium ends while it starts now and then on a machine that is busy.
const START_ATTEMPTS: usize = 3;

/// A browser that runs. It ends with this value.
#[derive(Debug)]
pub struct Browser {
    driver: RefCell<Driver>,
    pages: Cell<u32>,
}

#[derive(Debug)]
struct Driver {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// What a page is looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Width and height of the window in pixels.
    pub size: (u32, u32),
    /// Whether the system asks for dark pages.
    pub dark: bool,
    /// Whether it is a phone: touched, not pointed at.
    pub phone: bool,
    /// Whether scripts may run.
    pub scripts: bool,
    /// A part of the page that does not come when it is asked for first: the end of its address.
    pub first_lost: Option<&'static str>,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            size: (1280, 720),
            dark: true,
            phone: false,
            scripts: true,
            first_lost: None,
        }
    }
}

/// A page that is open.
#[derive(Debug)]
pub struct Page<'a> {
    browser: &'a Browser,
    name: String,
}

/// What a page says of one of its panes, as `relay/http/src/page/report.js` documents it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "documented in report.js")]
pub struct Pane {
    pub stream: String,
    pub state: String,
    pub reason: String,
    pub visible: bool,
    pub wanted: Option<f64>,
    pub fps: f64,
    pub age_ms: Ages,
    pub picture_age_ms: Option<f64>,
    pub first_ms: Option<f64>,
    pub frames: u64,
    pub drawn: u64,
    pub broken: u64,
    pub skipped: u64,
    pub number: Option<u64>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub by: Option<String>,
}

/// Percentiles of an age in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct Ages {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
}

/// What a pane shows, and what the page said of the pane when it was looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The code painted into the picture; none when it cannot be read.
    pub code: Option<FrameBarcode>,
    /// The page's own words.
    pub pane: Pane,
}

#[derive(Deserialize)]
struct Strip {
    width: u32,
    height: u32,
    strip: u32,
    luma: Vec<u8>,
    figures: Pane,
}

/// A file that a page gave to be saved.
#[derive(Clone, Debug, Deserialize)]
pub struct Download {
    /// The name that the page proposes.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Browser {
    /// Starts one by way of `prefix`, a command that execs it, such as what enters a host of the laboratory. None, and a
    /// word about it, where there is none.
    ///
    /// # Panics
    /// When there is one and it does not start; when there is none and all tests must run.
    #[must_use]
    pub fn start(prefix: &[&str]) -> Option<Self> {
        let folder = match installed() {
            Ok(folder) => folder,
            Err(missing) => {
                crate::skip(&missing);
                return None;
            }
        };

        let started = (1..=START_ATTEMPTS).find_map(|attempt| {
            let mut driver = Driver::start(prefix, &folder);
            let version = driver.answer::<String>();
            let version = version.inspect_err(|error| {
                let ended = driver.process.try_wait();
                eprintln!("Chromium does not start ({attempt}): {error}; the driver: {ended:?}");
            });
            Some((driver, version.ok()?))
        });

        let (driver, version) = started.expect("Chromium starts");
        eprintln!("measured: with Chromium {version}");
        Some(Self {
            driver: RefCell::new(driver),
            pages: Cell::new(0),
        })
    }

    /// Opens `url` in a profile of its own.
    ///
    /// # Panics
    /// When it does not open.
    #[must_use]
    pub fn open(&self, url: &str, look: &Look) -> Page<'_> {
        let name = format!("page {}", self.pages.replace(self.pages.get() + 1));
        let context = json!({
            "viewport": { "width": look.size.0, "height": look.size.1 },
            "colorScheme": if look.dark { "dark" } else { "light" },
            "isMobile": look.phone,
            "hasTouch": look.phone,
            "javaScriptEnabled": look.scripts,
        });

        let page = Page {
            browser: self,
            name,
        };

        page.run::<Value>(
            "open",
            json!({ "url": url, "context": context, "firstLost": look.first_lost }),
        );
        page
    }
}

impl Driver {
    fn start(prefix: &[&str], folder: &Path) -> Self {
        let words = [prefix, &["node"]].concat();
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .arg(folder.join("driver.mjs"))
            .arg(CHROMIUM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node was there a moment ago");

        let stdout = process.stdout.take().expect("it is piped");
        Self {
            stdin: process.stdin.take(),
            stdout: BufReader::new(stdout),
            process,
        }
    }

    fn ask<T: DeserializeOwned>(&mut self, command: &Value) -> Result<T, String> {
        let stdin = self
            .stdin
            .as_mut()
            .expect("it is open until the browser ends");

        writeln!(stdin, "{command}")
            .and_then(|()| stdin.flush())
            .map_err(|error| error.to_string())?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Answer {
            Ok(Value),
            Error(String),
        }

        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let answer = serde_json::from_str(&line)
            .map_err(|error| format!("the driver said {line:?}: {error}"))?;
        match answer {
            Answer::Ok(value) => serde_json::from_value(value).map_err(|error| error.to_string()),
            Answer::Error(error) => Err(error),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The driver closes the browser when it hears no more.
        drop(self.stdin.take());
        let gone = (0..SOON.as_millis() / LOOK_INTERVAL.as_millis()).any(|_| {
            let ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            if !ended {
                pause(LOOK_INTERVAL);
            }

            ended
        });

        if !gone {
            // Nobody can be told that this did not work.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

impl Page<'_> {
    /// Waits until the page has `count` panes and all are live.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_live(&self, count: usize) {
        self.wait_panes(&format!("{count} panes are live"), |panes| {
            panes.len() == count && panes.iter().all(|pane| pane.state == "live")
        });
    }

    /// Waits until the panes are as `good` says.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_panes(&self, what: &str, good: impl Fn(&[Pane]) -> bool) {
        let last = RefCell::new(Vec::new());
        let show = || {
            let last = last.borrow();
            last.iter()
                .map(|pane: &Pane| format!("{} {} {}", pane.stream, pane.state, pane.reason))
                .collect::<Vec<_>>()
        };

        let deadline = crate::wait::Deadline::after(2 * SOON);
        loop {
            last.replace(self.panes(2.0));
            if good(&last.borrow()) {
                return;
            }

            assert!(
                !deadline.is_over(),
                "not in time: {what}; last {:?}; errors {:?}",
                show(),
                self.errors()
            );

            pause(LOOK_INTERVAL);
        }
    }

    /// What the page measured in its panes over the last `seconds`.
    #[must_use]
    #[track_caller]
    pub fn panes(&self, seconds: f64) -> Vec<Pane> {
        self.evaluate(&format!(
            "window.fanlight ? window.fanlight.figures({seconds}).panes : []"
        ))
    }

    /// What all panes show, read from their pixels.
    #[must_use]
    #[track_caller]
    pub fn seen(&self) -> Vec<Seen> {
        let strips: Vec<Strip> = self.run("codes", json!({}));
        strips
            .into_iter()
            .map(|strip| Seen {
                code: strip.code(),
                pane: strip.figures,
            })
            .collect()
    }

    /// What an expression in JavaScript comes to on the page.
    #[must_use]
    #[track_caller]
    pub fn evaluate<T: DeserializeOwned>(&self, script: &str) -> T {
        self.run("evaluate", json!({ "script": script }))
    }

    /// Waits until an expression in JavaScript is true on the page.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait(&self, script: &str) {
        until(script, SOON, || {
            self.evaluate::<bool>(&format!("!!({script})"))
                .then_some(())
        });
    }

    /// Opens another address in it.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.run::<Value>("go", json!({ "url": url }));
    }

    /// Presses a key, in playwright's words.
    #[track_caller]
    pub fn press(&self, key: &str) {
        self.run::<Value>("press", json!({ "key": key }));
    }

    /// Clicks what a selector finds.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.run::<Value>("click", json!({ "selector": selector }));
    }

    /// Drags what a selector finds to what another one finds.
    #[track_caller]
    pub fn drag(&self, selector: &str, target: &str) {
        self.run::<Value>("drag", json!({ "selector": selector, "target": target }));
    }

    /// Chooses `value` from a list.
    #[track_caller]
    pub fn choose(&self, selector: &str, value: &str) {
        self.run::<Value>("choose", json!({ "selector": selector, "value": value }));
    }

    /// Writes into a field.
    #[track_caller]
    pub fn fill(&self, selector: &str, value: &str) {
        self.run::<Value>("fill", json!({ "selector": selector, "value": value }));
    }

    /// Lets the page count as covered, or as looked at again.
    #[track_caller]
    pub fn hide(&self, hidden: bool) {
        self.run::<Value>("hide", json!({ "hidden": hidden }));
    }

    /// Gives its window another size.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        self.run::<Value>("resize", json!({ "width": width, "height": height }));
    }

    /// What the page gives to be saved when a key is pressed.
    #[must_use]
    #[track_caller]
    pub fn download(&self, key: &str) -> Download {
        self.run("download", json!({ "key": key }))
    }

    /// Writes what it looks like to a PNG file.
    #[track_caller]
    pub fn screenshot(&self, path: &Path) {
        self.run::<Value>("screenshot", json!({ "path": path }));
    }

    /// Errors on the page's console since it was asked last.
    #[must_use]
    #[track_caller]
    pub fn errors(&self) -> Vec<String> {
        self.run("errors", json!({}))
    }

    /// Asserts that the page's console has no errors.
    ///
    /// # Panics
    /// When it has.
    #[track_caller]
    pub fn assert_clean(&self) {
        let errors = self.errors();
        assert!(errors.is_empty(), "errors on the console: {errors:#?}");
    }

    #[track_caller]
    fn run<T: DeserializeOwned>(&self, act: &str, mut command: Value) -> T {
        command["do"] = act.into();
        command["page"] = self.name.as_str().into();
        let answer = self.browser.driver.borrow_mut().ask(&command);
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let command = json!({ "do": "close", "page": self.name });
        // A browser that is gone has closed its pages.
        let _ = self.browser.driver.borrow_mut().ask::<Value>(&command);
    }
}

impl Strip {
    fn code(&self) -> Option<FrameBarcode> {
        let above = self.height - self.strip;
        FrameBarcode::read_with(self.width, self.height, |x, y| match y.checked_sub(above) {
            Some(row) => self.luma[(row * self.width + x) as usize],
            None => 0,
        })
    }
}

/// The folder below target/ with the driver and what it needs, made when it is not there; else what is missing here.
///
/// # Errors
/// What keeps a browser from being driven here.
pub fn installed() -> Result<PathBuf, String> {
    npm::runs(CHROMIUM, &["--version"])?;
    let folder = npm::folder("browser")?;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/http/src/page");
    npm::copy(&page, &folder.join("page"));
    Ok(folder)
}
