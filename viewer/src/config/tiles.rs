//! What the settings say of several streams on one screen. The main thread asks at the start.

use std::time::Duration;

use anyhow::ensure;

use super::{Config, Extra};
use crate::overlay::Panel;
use crate::window::{Grid, MAX_TILES};

/// Shortest time that streams are shown before the next ones.
const MIN_CYCLE: Duration = Duration::from_secs(1);

/// Whether streams, grid and cycle go together.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    let streams = config.stream.len();
    ensure!(
        config.grid.is_none() || streams > 0,
        "`grid` needs to be told what to show: name its streams in `stream`"
    );
    ensure!(
        config.grid != Some(Grid::Auto) || streams <= MAX_TILES,
        "`grid` is auto and `stream` names {streams}; a window has at most {MAX_TILES} tiles"
    );

    let tiles = tiles(config);
    match config.cycle {
        None => ensure!(
            streams <= tiles,
            "`stream` names {streams}, and there is room for {tiles}: set `grid` or `cycle`"
        ),
        Some(cycle) => ensure!(
            *cycle >= MIN_CYCLE && (streams == 0 || streams > tiles),
            "`cycle` is {cycle} for {streams} streams in {tiles} tiles; it must be at least 1s, and there must be more \
             streams than tiles"
        ),
    }
    Ok(())
}

/// Columns and rows of the window.
pub(crate) fn grid(config: &Config) -> (usize, usize) {
    let streams = config.stream.len();
    config.grid.map_or((1, 1), |grid| grid.shape(streams))
}

/// Streams that are shown at once, and at least one.
pub(crate) fn tiles(config: &Config) -> usize {
    let (columns, rows) = grid(config);
    (columns * rows).min(config.stream.len()).max(1)
}

/// What is drawn over pictures at first.
pub(crate) fn panels(config: &Config) -> Vec<Panel> {
    let mut panels = config.overlay.clone();
    crate::overlay::caption_several(&mut panels, tiles(config));
    panels
}

/// Whether what is asked for of one stream is not asked for of several.
///
/// # Errors
/// In a sentence that names the flags.
pub fn check_tiles(config: &Config, extra: &Extra) -> anyhow::Result<()> {
    ensure!(
        tiles(config) <= room(config, extra)?,
        "--headless, --output, --report, --snapshot, --trace, --record and --track are for one stream: start a viewer \
         for each, without --grid"
    );
    Ok(())
}

/// Tiles that this viewer can have.
pub(crate) fn room(config: &Config, extra: &Extra) -> anyhow::Result<usize> {
    let is_of_one = is_of_one(extra)? || super::trackers(config).is_some();
    Ok(if is_of_one { 1 } else { MAX_TILES })
}

/// Whether flags ask for what there is of one stream only.
fn is_of_one(extra: &Extra) -> anyhow::Result<bool> {
    Ok(extra.headless
        || extra.output.is_some()
        || extra.report.is_some()
        || extra.snapshot.is_some()
        || extra.trace.is_some()
        || extra.record.plan()?.is_some())
}

#[cfg(test)]
mod tests {
    use fanlight_proto::message::StreamName;

    use super::*;

    fn streams(names: &str) -> Vec<StreamName> {
        names
            .split_whitespace()
            .map(|name| name.parse().unwrap())
            .collect()
    }

    #[test]
    fn a_grid_has_a_tile_for_each_stream_and_cycles_through_more() {
        let shown = |names: &str, wanted: &str, cycle: Option<u64>| {
            let config = Config {
                stream: streams(names),
                grid: Some(wanted.parse().unwrap()),
                cycle: cycle.map(|seconds| Duration::from_secs(seconds).into()),
                ..Config::default()
            };
            check(&config).unwrap();
            (tiles(&config), grid(&config))
        };
        assert_eq!(shown("a b c", "auto", None), (3, (2, 2)));
        assert_eq!(shown("a b c", "3x2", None), (3, (3, 2)));
        assert_eq!(shown("a b c", "2x1", Some(10)), (2, (2, 1)));
        assert_eq!(tiles(&Config::default()), 1);
    }

    #[test]
    fn what_is_for_one_stream_is_refused_for_several() {
        let config = Config {
            stream: streams("a b"),
            grid: Some(Grid::Auto),
            ..Config::default()
        };
        assert!(check_tiles(&config, &Extra::default()).is_ok());
        let extra = Extra {
            headless: true,
            ..Extra::default()
        };
        assert!(check_tiles(&config, &extra).is_err());
        assert!(check_tiles(&Config::default(), &extra).is_ok());
    }

    #[test]
    fn streams_that_have_no_room_and_cycles_without_a_turn_are_refused_by_name() {
        let refused = |names: &str, grid, cycle: Option<u64>, key: &str| {
            let config = Config {
                stream: streams(names),
                grid,
                cycle: cycle.map(|ms| Duration::from_millis(ms).into()),
                ..Config::default()
            };
            let error = check(&config).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        };
        refused("", Some(Grid::Auto), None, "grid");
        refused(
            &["x"; MAX_TILES + 1].join(" "),
            Some(Grid::Auto),
            None,
            "grid",
        );
        refused("a b", None, None, "cycle");
        refused("a b", Some(Grid::Auto), Some(9000), "cycle");
        refused("", None, Some(9), "cycle");
    }
}
