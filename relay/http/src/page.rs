//! The page: its files, which are part of the program, and what it has for those without scripts.

use fanlight_proto::message::StreamName;

/// Where the streams stand in the page, for browsers that run no scripts.
const STREAMS: &str = "<!--streams-->";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const INDEX: &str = include_str!("page/index.html");

/// The path below `/`, media type and bytes of each file.
macro_rules! files {
    ($($name:literal: $kind:expr,)*) => {
        const FILES: &[(&str, &str, &[u8])] = &[$(($name, $kind, include_bytes!(concat!("page/", $name)))),*];
    };
}

files! {
    "index.html": HTML,
    "style.css": CSS,
    "panes.css": CSS,
    "screens.css": CSS,
    "controls.css": CSS,
    "status.css": CSS,
    "icon.svg": SVG,
    "actions.js": SCRIPT,
    "address.js": SCRIPT,
    "api.js": SCRIPT,
    "boot.js": SCRIPT,
    "canvas.js": SCRIPT,
    "clock.js": SCRIPT,
    "controls.js": SCRIPT,
    "element.js": SCRIPT,
    "figures.js": SCRIPT,
    "grid.js": SCRIPT,
    "keys.js": SCRIPT,
    "layout.js": SCRIPT,
    "link.js": SCRIPT,
    "main.js": SCRIPT,
    "notices.js": SCRIPT,
    "paint-worker.js": SCRIPT,
    "painter.js": SCRIPT,
    "pane.js": SCRIPT,
    "plot.js": SCRIPT,
    "rates.js": SCRIPT,
    "report.js": SCRIPT,
    "screens.js": SCRIPT,
    "session.js": SCRIPT,
    "settings.js": SCRIPT,
    "status.js": SCRIPT,
    "thumbnails.js": SCRIPT,
    "video.js": SCRIPT,
    "wire.js": SCRIPT,
    "words.js": SCRIPT,
}

/// The file that is served at `path` (which begins with a slash), with its media type.
pub(super) fn file(path: &str) -> Option<(&'static str, &'static [u8])> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };

    FILES
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|&(_, kind, bytes)| (kind, bytes))
}

/// The page itself with its media type; `streams` are listed for browsers that run no scripts.
pub(super) fn index<'a>(streams: impl Iterator<Item = &'a StreamName>) -> (&'static str, String) {
    // What a name may hold needs no escaping.
    let entry = |name: &StreamName| {
        let name = name.as_str();
        format!(
            "<li><a href=\"stream/{name}.mjpeg\">{name}</a> (<a href=\"snapshot/{name}.jpg\">one picture</a>)</li>"
        )
    };

    let list: String = streams.map(entry).collect();
    (HTML, INDEX.replacen(STREAMS, &list, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        std::str::from_utf8(file(path).unwrap().1).unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/page")).unwrap();
        let names: Vec<String> = folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for name in &names {
            assert!(
                file(&format!("/{name}")).is_some(),
                "{name} is not in the list of page.rs"
            );
        }

        assert_eq!(names.len(), FILES.len());
        assert_eq!(file("/"), file("/index.html"));
        for path in ["", "/page/main.js", "/../page.rs", "/nothing", "main.js"] {
            assert_eq!(file(path), None, "{path}");
        }
    }

    #[test]
    fn the_page_asks_nobody_else_for_anything_and_has_nothing_inline() {
        for &(name, kind, bytes) in FILES {
            let text = std::str::from_utf8(bytes)
                .unwrap()
                .replace("http://www.w3.org/", "");
            assert!(
                !text.contains("http://") && !text.contains("https://"),
                "{name} names another host"
            );

            assert!(
                !text.contains("eval(") && !text.contains("innerHTML"),
                "{name}"
            );

            if kind == HTML {
                assert!(
                    !text.contains(" style=")
                        && !text.contains("<style")
                        && !text.contains(" onclick="),
                    "{name}"
                );

                assert_eq!(
                    text.matches("<script").count(),
                    text.matches("src=\"main.js\"").count()
                        + text.matches("src=\"boot.js\"").count(),
                    "{name}"
                );

                assert!(
                    !text.contains("=\"/"),
                    "{name} has an address that a proxy's path would break"
                );
            }
        }
    }

    #[test]
    fn what_a_script_imports_is_there() {
        for &(name, _, bytes) in FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT) {
            let text = std::str::from_utf8(bytes).unwrap();
            let imports = text.lines().filter(|line| line.starts_with("import "));
            for path in imports.filter_map(|line| line.split_once("from \"./")?.1.split('"').next())
            {
                assert!(file(&format!("/{path}")).is_some(), "{name} imports {path}");
            }
        }
    }

    #[test]
    fn without_scripts_there_is_a_link_for_each_stream() {
        assert!(text("/").contains(STREAMS));
        let names: Vec<StreamName> = ["cam1", "Hof_2.a-b"]
            .map(|name| name.parse().unwrap())
            .into();
        let (_, page) = index(names.iter());
        assert!(
            page.contains("href=\"stream/cam1.mjpeg\"")
                && page.contains("href=\"snapshot/Hof_2.a-b.jpg\"")
        );

        assert!(!page.contains(STREAMS));
    }
}
