//! What the bench of the fan-out found, as it is printed and drawn.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One method for one number of viewers on one rig.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Always `fanout`.
    pub(crate) bench: String,
    /// The rig.
    pub(crate) rig: String,
    /// Bytes of the frame's JPEG.
    pub(crate) frame_bytes: usize,
    /// How many viewers.
    pub(crate) viewers: usize,
    /// The method.
    pub(crate) method: String,
    /// CPU time per datagram against the bare loop that sends as many of the same size.
    pub(crate) ratio_to_raw: f64,
    /// CPU time per viewer against that with ten viewers, when these were measured.
    pub(crate) per_viewer_to_10: Option<f64>,
    /// As information: it is of this machine.
    pub(crate) ns_per_datagram: f64,
    /// CPU time for one frame and one viewer, as information.
    pub(crate) us_per_viewer: f64,
    /// Cells that do not count because something was lost in them.
    pub(crate) void: usize,
}

/// A table for each rig and size of frames: methods down, viewers across.
pub(crate) fn print_tables(figures: &[Figure]) {
    let table = |figure: &Figure| format!("{}, {} bytes", figure.rig, figure.frame_bytes);
    for name in distinct(figures, table) {
        let of_rig: Vec<&Figure> = figures.iter().filter(|own| table(own) == name).collect();
        println!(
            "\n{name}: CPU time per datagram as a ratio to raw (ns) and, per viewer, to that with 10 viewers"
        );
        let viewers: BTreeSet<usize> = of_rig.iter().map(|figure| figure.viewers).collect();
        let heads: String = viewers
            .iter()
            .map(|viewers| format!(" {viewers:>21}"))
            .collect();

        println!("{:<14}{heads}", "viewers");
        for method in distinct(figures, |figure| figure.method.clone()) {
            let cells = viewers.iter().map(|viewers| {
                let found = of_rig
                    .iter()
                    .find(|figure| figure.method == method && figure.viewers == *viewers);
                found.map_or_else(|| format!(" {:>21}", "void"), |figure| in_table(figure))
            });

            println!("{method:<14}{}", cells.collect::<String>());
        }
    }

    println!();
}

fn in_table(figure: &Figure) -> String {
    let flat = figure
        .per_viewer_to_10
        .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!(
        " {:>6.2} {:>9} {:>4}",
        figure.ratio_to_raw,
        format!("({:.0})", figure.ns_per_datagram),
        flat
    )
}

/// One line of JSON for each.
pub(crate) fn print_lines(figures: &[Figure]) {
    for figure in figures {
        println!(
            "{}",
            serde_json::to_string(figure).expect("a figure is plain data")
        );
    }
}

/// What `of` gives, once each, in the order in which it comes.
pub(crate) fn distinct(figures: &[Figure], of: impl Fn(&Figure) -> String) -> Vec<String> {
    let mut found = Vec::new();
    for figure in figures {
        let value = of(figure);
        if !found.contains(&value) {
            found.push(value);
        }
    }

    found
}
