//! `./dev compare`: TCP or UDP, as a table, as lines of JSON and as two plots.

mod plot;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fanlight_tests::compare::{
    Buffer, Figures, LINKS, Link, LinkKind, Method, Pictures, RATE, measure, plain,
};
use serde::Serialize;

/// What is said of wrong words.
const USAGE: &str = "compare: [--quick] [--seconds N] [--links NAME,…] [--svg FOLDER]";

struct Options {
    length: Duration,
    links: Vec<LinkKind>,
    buffers: Vec<Buffer>,
    svg: Option<PathBuf>,
}

/// What came of one cell of the table.
#[derive(Serialize)]
struct Measured {
    bench: &'static str,
    link: &'static str,
    buffer: Option<usize>,
    method: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "sender") {
        return match plain::send(&words[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("compare: {error}");
                ExitCode::FAILURE
            }
        };
    }

    let Some(options) = options(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };

    let measured = compare(&options);
    for measured in &measured {
        println!(
            "{}",
            serde_json::to_string(measured).expect("figures are JSON")
        );
    }

    if let Some(folder) = &options.svg {
        for (name, svg) in plot::draw(&measured) {
            if let Err(error) = std::fs::write(folder.join(name), svg) {
                eprintln!("compare: {}: {error}", folder.join(name).display());
                return ExitCode::FAILURE;
            }
        }
    }

    ExitCode::SUCCESS
}

fn options(words: &[String]) -> Option<Options> {
    let mut options = Options {
        length: Duration::from_secs(5),
        links: LINKS.to_vec(),
        buffers: Buffer::ALL.to_vec(),
        svg: None,
    };

    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => {
                options.length = Duration::from_secs(1);
                options.links = vec![LINKS[0], LINKS[2]];
                options.buffers = vec![Buffer::Default];
            }

            "--seconds" => options.length = Duration::from_secs(words.next()?.parse().ok()?),
            "--links" => options.links = named(words.next()?)?,
            "--svg" => options.svg = Some(words.next()?.into()),
            _ => return None,
        }
    }

    Some(options)
}

/// Links whose names begin with one of these.
fn named(list: &str) -> Option<Vec<LinkKind>> {
    let chosen: Vec<LinkKind> = LINKS
        .into_iter()
        .filter(|link| list.split(',').any(|name| link.name.starts_with(name)))
        .collect();

    (!chosen.is_empty()).then_some(chosen)
}

fn compare(options: &Options) -> Vec<Measured> {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let pictures = Pictures::write(&folder.path().join("pictures"));
    println!(
        "{RATE} pictures a second, {:.1} Mbit/s, {} s for each row\n",
        pictures.megabits(),
        options.length.as_secs()
    );

    println!("| link | buffer | way | {} |", Figures::HEAD);
    println!("|{}", "---|".repeat(3 + Figures::COLUMNS));
    let cells = options.links.len() * options.buffers.len() * Method::ALL.len();
    let mut all = Vec::new();
    let mut begun = 0;
    for kind in &options.links {
        let Some(link) = Link::open(kind) else {
            println!(
                "| {} | left out: it takes root and network namespaces |",
                kind.name
            );
            begun += options.buffers.len() * Method::ALL.len();
            continue;
        };

        for &buffer in &options.buffers {
            for method in Method::ALL {
                begun += 1;
                eprint!(
                    "\r{begun} of {cells}: {}, {buffer}, {}\x1b[K",
                    kind.name,
                    method.name()
                );
                let figures = measure(&link, method, buffer, &pictures, options.length);
                eprint!("\r\x1b[K");
                println!(
                    "| {} | {buffer} | {} | {} |",
                    kind.name,
                    method.name(),
                    figures.row()
                );
                all.push(Measured {
                    bench: "compare",
                    link: kind.name,
                    buffer: buffer.bytes(),
                    method: method.name(),
                    figures,
                });
            }
        }
    }

    println!();
    all
}
