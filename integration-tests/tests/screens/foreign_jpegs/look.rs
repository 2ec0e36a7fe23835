//! What the surfaces show and say of one stream at one moment.

use fanlight_tests::TestEnv;
use fanlight_tests::browser::Page;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::viewer_process::{ViewerProcess, hash};
use fanlight_tests::wait::{SOON, until};
use serde::Deserialize;
use serde_json::Value;
use turbojpeg::PixelFormat;

use super::super::window::display::{Display, Screenshot};
use super::rows::{ACROSS, DOWN, Grid, Row, same};

/// What the page says of damaged pictures: browsers do not tell more.
const UNDECODABLE: &str = "cannot be decoded";

/// The grids of both panes' canvases.
const GRIDS: &str = "[...document.querySelectorAll('.pane canvas')].map((shown) => {
    const copy = Object.assign(document.createElement('canvas'), { width: 32, height: 24 });
    const context = copy.getContext('2d', { willReadFrequently: true });
    context.imageSmoothingQuality = 'high';
    context.drawImage(shown, 0, 0, 32, 24);
    return Array.from({ length: 12 }, (_, at) => {
        const { data } = context.getImageData(8 * (at % 4) + 2, 8 * Math.floor(at / 4) + 2, 4, 4);
        return [0, 1, 2].map((part) => data.filter((_, byte) => byte % 4 === part)
            .reduce((sum, value) => sum + value, 0) / 16);
    });
})";

/// What a surface shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// The picture of the row.
    Same,
    /// No picture.
    Nothing,
    /// Another picture than that of the row, or an old one.
    Other,
}

impl Shows {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Nothing => "nothing",
            Self::Other => "other",
        }
    }
}

/// What a surface shows, and what it says of that.
#[derive(Debug)]
pub(super) struct Surface {
    pub(super) shows: Shows,
    pub(super) says: String,
}

/// All of one input.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) input: &'static str,
    pub(super) source: String,
    pub(super) relay: String,
    pub(super) headless: Surface,
    pub(super) window: Surface,
    pub(super) page: Surface,
}

impl Seen {
    /// What is not true of `row`, or does not say why.
    pub(super) fn lies(&self, row: &Row) -> Vec<String> {
        let page_names = |says: &str| row.is_named_by(says) || says.contains(UNDECODABLE);
        let is_true = |surface: &Surface, is_named: bool| match surface.shows {
            Shows::Same => row.grid.is_some() && surface.says == "live",
            Shows::Nothing => row.grid.is_none() && surface.says != "live" && is_named,
            Shows::Other => false,
        };

        let told = |says: &str| match row.grid {
            Some(_) => says == "live",
            None => row.is_named_by(says),
        };

        [
            ("source", told(&self.source), &self.source),
            ("relay", told(&self.relay), &self.relay),
            (
                "viewer",
                is_true(&self.headless, row.is_named_by(&self.headless.says)),
                &self.headless.says,
            ),
            (
                "window",
                is_true(&self.window, row.is_named_by(&self.window.says)),
                &self.window.says,
            ),
            (
                "page",
                is_true(&self.page, page_names(&self.page.says)),
                &self.page.says,
            ),
        ]
        .into_iter()
        .filter(|(_, is_true, _)| !is_true)
        .map(|(surface, _, says)| format!("{surface} by {}: {says}; {self:?}", self.input))
        .collect()
    }
}

/// An input with its viewers.
pub(super) struct Entrance<'a> {
    env: &'a TestEnv,
    input: &'static str,
    /// Where its source publishes.
    endpoint: String,
    headless: ViewerProcess,
    window: Program,
    display: Display,
    _source: Option<Program>,
}

impl<'a> Entrance<'a> {
    pub(super) fn open(env: &'a TestEnv, input: &'static str, display: Display) -> Self {
        let folder = env.path("pictures");
        let source = env.source(input).flags("--canary off --input").flags(input);
        let source = match input {
            "files" => source.flag("path", folder).flags("--rate 10"),
            _ => {
                let file = super::picture(env.directory());
                // It ends by itself when nobody reads, or the folder is gone.
                let command = format!("while cat {}; do sleep 0.1; done", file.display());
                source.flag("command", command)
            }
        };

        Self::watch(env, input, (env.ipc(input), Some(source.ready())), display)
    }

    /// A window and a viewer without one for the stream `input` of a source that publishes at an endpoint.
    pub(super) fn watch(
        env: &'a TestEnv,
        input: &'static str,
        (endpoint, source): (String, Option<Program>),
        display: Display,
    ) -> Self {
        let relay = env.relay_address(0);
        let window = env
            .program("viewer")
            .flag("relay", relay.to_string())
            .flag("stream", input)
            .flags("--fullscreen")
            .envs(display.variables());

        Self {
            env,
            input,
            _source: source,
            endpoint,
            headless: env.viewer(relay, input).start(),
            window: window.start(),
            display,
        }
    }

    fn look(&self, site: &Site, page: Surface, row: &Row) -> Seen {
        Seen {
            input: self.input,
            source: self.source_says(),
            relay: relay_says(site, self.input),
            headless: self.headless(site, row),
            window: self.window(row),
            page,
        }
    }

    /// What `status` says of the source, or of the first of its screens that is blind.
    fn source_says(&self) -> String {
        // A source that has just been started may not listen yet.
        let report: Value = until("an answer of status", SOON, || {
            let asked = self.env.program("source").flags("status --json");
            let (_, program) = asked.flag("at", &self.endpoint).run();
            let lines = program.log().matching(0, "");
            let out = lines.iter().filter(|line| line.from == "out");
            let out: String = out.map(|line| line.text.as_str()).collect();
            serde_json::from_str(&out).ok()
        });

        let stream = &report["streams"][0];
        if stream["state"] != "live" {
            return [&stream["state"], &stream["reason"]]
                .map(|word| word.as_str().unwrap_or_default())
                .join(": ");
        }

        let screens = report["screens"].as_array().unwrap();
        let blind = screens
            .iter()
            .find(|screen| screen["health"] == "blind" && screen["left_s"].is_null());
        blind
            .and_then(|screen| screen["reason"].as_str())
            .unwrap_or("live")
            .to_owned()
    }

    fn headless(&self, site: &Site, row: &Row) -> Surface {
        let says = last_link_state(self.headless.program());
        if says != "live" {
            return Surface {
                shows: Shows::Nothing,
                says,
            };
        }

        let jpeg = site.get(&format!("/snapshot/{}.jpg", self.input)).body;
        let is_shown = self
            .headless
            .shown()
            .last()
            .is_some_and(|shown| shown.hash == hash(&jpeg));
        let is_same = |grid: &Grid| {
            turbojpeg::decompress(&jpeg, PixelFormat::RGB).is_ok_and(|picture| {
                let at = |x: usize, y: usize| {
                    let start = y * picture.pitch + 3 * x;
                    [0, 1, 2].map(|part| f64::from(picture.pixels[start + part]))
                };
                same(&measure((picture.width, picture.height), at), grid)
            })
        };

        Surface {
            shows: match &row.grid {
                Some(grid) if is_shown && is_same(grid) => Shows::Same,
                _ => Shows::Other,
            },
            says,
        }
    }

    fn window(&self, row: &Row) -> Surface {
        let says = last_link_state(&self.window);
        let shot = self.display.screenshot();
        let dark = shot
            .points()
            .filter(|(.., colour)| is_dark(*colour))
            .count();
        let shows = match (&row.grid, row.size) {
            (Some(grid), Some(size)) if same(&fitted(&shot, size), grid) => Shows::Same,
            _ if dark * 10 > 8 * (shot.width * shot.height) as usize => Shows::Nothing,
            _ => Shows::Other,
        };

        Surface { shows, says }
    }
}

/// Looks at everything.
pub(super) fn all(
    entrances: &[Entrance<'_>],
    site: &Site,
    page: &Page<'_>,
    row: &Row,
) -> Vec<Seen> {
    let panes = page.panes(1.0);
    let grids: Vec<Grid> = page.evaluate(GRIDS);
    let pages = panes.iter().zip(&grids).map(|(pane, found)| {
        let live = pane.state == "live";
        let shows = match &row.grid {
            Some(grid) if live && same(grid, found) => Shows::Same,
            _ if !live => Shows::Nothing,
            _ => Shows::Other,
        };

        Surface {
            shows,
            says: if live {
                pane.state.clone()
            } else {
                format!("{}: {}", pane.state, pane.reason)
            },
        }
    });

    entrances
        .iter()
        .zip(pages)
        .map(|(entrance, page)| entrance.look(site, page, row))
        .collect()
}

/// What a viewer said last of its link, as its log has it.
fn last_link_state(viewer: &Program) -> String {
    let lines = viewer.log().matching(0, "link_state=");
    let text = lines.last().map_or("", |line| line.text.as_str());
    let (before, _) = text.split_once(" link_state=").unwrap_or_default();
    let (_, words) = before.split_once("receiver: ").unwrap_or_default();
    words.to_owned()
}

/// What the relay says of a stream: "live", or what is wrong with it or with its screens.
fn relay_says(site: &Site, stream: &str) -> String {
    #[derive(Deserialize)]
    struct Stream {
        name: String,
        state: String,
        reason: String,
    }

    let streams = site.get("/api/streams").json()["streams"].clone();
    let streams: Vec<Stream> = serde_json::from_value(streams).unwrap();
    let Some(found) = streams.iter().find(|found| found.name == stream) else {
        return "no such stream".to_owned();
    };

    if found.state != "live" {
        return format!("{}: {}", found.state, found.reason);
    }

    let viewers = site.get("/api/viewers").json()["viewers"].clone();
    let blind: Vec<&str> = viewers
        .as_array()
        .unwrap()
        .iter()
        .filter(|viewer| viewer["stream"] == stream)
        .filter_map(|viewer| viewer["not_shown"].as_str())
        .collect();

    blind.first().map_or("live", |reason| reason).to_owned()
}

/// The grid of the picture of `size` in a window that fills the screen.
fn fitted(shot: &Screenshot, size: (u32, u32)) -> Grid {
    let [width, height] = [shot.width, shot.height].map(f64::from);
    let [columns, rows] = [size.0, size.1].map(f64::from);
    let scale = (width / columns).min(height / rows);
    let fitted = [columns * scale, rows * scale].map(|side| side.round().max(1.0));
    let left = ((width - fitted[0]) / 2.0) as usize;
    let above = ((height - fitted[1]) / 2.0) as usize;

    measure((fitted[0] as usize, fitted[1] as usize), |x, y| {
        let [blue, green, red, _] = shot.at((left + x) as u32, (above + y) as u32).to_le_bytes();
        [red, green, blue].map(f64::from)
    })
}

/// The mean colours of the middles of the fields of a picture.
fn measure(size: (usize, usize), at: impl Fn(usize, usize) -> [f64; 3]) -> Grid {
    let part = |field: usize, fields: usize, length: usize| {
        let start = (4 * field + 1) * length / (4 * fields);
        let end = ((4 * field + 3) * length / (4 * fields)).max(start + 1);
        start..end
    };

    let mut grid = Grid::new();
    for field in 0..ACROSS * DOWN {
        let mut sum = [0.0; 3];
        let mut count = 0.0;
        for y in part(field / ACROSS, DOWN, size.1) {
            for x in part(field % ACROSS, ACROSS, size.0) {
                let colour = at(x, y);
                (0..3).for_each(|part| sum[part] += colour[part]);
                count += 1.0;
            }
        }

        grid.push(sum.map(|sum| sum / count));
    }

    grid
}

fn is_dark(colour: u32) -> bool {
    colour.to_le_bytes().into_iter().all(|part| part < 70)
}
