//! How the page looks: on a desktop and on a phone, light and dark. Its pictures are left below target/ to be looked at.

use std::path::PathBuf;

use fanlight_tests::browser::{Browser, Look, Page};
use fanlight_tests::wait::{SOON, until};
use serde::Deserialize;

use super::fixture::Fixture;

/// Least contrast of text that is not large (WCAG 2.2, 1.4.3).
const CONTRAST: f64 = 4.5;

const DESKTOP: (u32, u32) = (1280, 720);
const PHONE: (u32, u32) = (390, 844);

/// Text and what it stands on, of each part of the page that has text of its own.
const TEXTS: &str = "[...document.querySelectorAll('body *')].filter((part) => part.checkVisibility({ opacityProperty: true, \
    visibilityProperty: true }) && !part.closest('.pane') && [...part.childNodes].some((node) => node.nodeType === 3 && \
    node.data.trim() !== '')).map((part) => { let ground = part; while (ground && getComputedStyle(ground).backgroundColor \
    === 'rgba(0, 0, 0, 0)') ground = ground.parentElement; return { text: part.textContent.trim().slice(0, 40), colour: \
    getComputedStyle(part).color, ground: getComputedStyle(ground ?? document.body).backgroundColor }; })";

/// Parts of panes that are wider than the window or lie over each other.
const MISPLACED: &str = "(() => { const boxes = [...document.querySelectorAll('.pane:not([hidden])')].map((pane) => \
    pane.getBoundingClientRect()); return boxes.filter((a, i) => a.left < 0 || a.right > innerWidth || boxes.some((b, j) => \
    j > i && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length; })()";

#[derive(Debug, Deserialize)]
struct Text {
    text: String,
    colour: String,
    ground: String,
}

#[test]
fn the_page_fits_and_can_be_read_on_desktop_and_phone_light_and_dark() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(5, 8);
    for (size, phone, name) in [(DESKTOP, false, "desktop"), (PHONE, true, "phone")] {
        for dark in [true, false] {
            let page = browser.open(
                &fixture.url("#cam1,cam2,cam3,cam4,cam5,nosuch"),
                &Look {
                    size,
                    phone,
                    dark,
                    ..Look::default()
                },
            );

            page.wait_panes("those in view are live", |panes| {
                panes.len() == 6
                    && panes.iter().all(|pane| {
                        pane.state == "live" || !pane.visible || pane.stream == "nosuch"
                    })
                    && panes.iter().any(|pane| pane.state == "live")
            });

            let name = format!("{name}-{}", if dark { "dark" } else { "light" });
            check(&page, &name);
            page.press("v");
            page.wait("document.querySelectorAll('[data-part=streams] th').length === 5");
            check(&page, &format!("{name}-status"));
            page.press("v");
            page.press("?");
            check(&page, &format!("{name}-help"));
            page.assert_clean();
        }
    }
}

#[test]
fn every_grid_puts_its_panes_side_by_side_within_the_window() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(1, 5);
    let page = browser.open(
        &fixture.url(&format!("#{}", ["cam1"; 26].join(","))),
        &Look::default(),
    );

    page.wait_panes("all panes are there", |panes| panes.len() == 26);
    for (grid, in_view) in [
        ("1", 1),
        ("4", 4),
        ("9", 9),
        ("12", 12),
        ("16", 16),
        ("24", 24),
        ("auto", 26),
    ] {
        page.choose("#size", grid);
        for (width, height) in [DESKTOP, PHONE, (1920, 600)] {
            page.resize(width, height);
            until("the panes are in their places", SOON, || {
                let shown: usize =
                    page.evaluate("document.querySelectorAll('.pane:not([hidden])').length");
                (shown == in_view && page.evaluate::<usize>(MISPLACED) == 0).then_some(())
            });
        }
    }

    page.assert_clean();
}

/// Takes a picture of the page, and holds what it shows against what anybody can read.
#[track_caller]
fn check(page: &Page<'_>, name: &str) {
    page.screenshot(&folder().join(format!("{name}.png")));
    assert_eq!(
        page.evaluate::<usize>(MISPLACED),
        0,
        "{name}: panes lie over each other or leave the window"
    );

    let wide: u32 = page.evaluate("document.documentElement.scrollWidth - innerWidth");
    assert_eq!(wide, 0, "{name}: the page is wider than the window");

    for Text {
        text,
        colour,
        ground,
    } in page.evaluate::<Vec<Text>>(TEXTS)
    {
        let contrast = contrast(&colour, &ground);
        assert!(
            contrast >= CONTRAST,
            "{name}: {text:?} has a contrast of {contrast:.1}: {colour} on {ground}"
        );
    }
}

/// The contrast of two colours as CSS says them, by WCAG 2.2.
fn contrast(one: &str, other: &str) -> f64 {
    let [a, b] = [luminance(one), luminance(other)];
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance(colour: &str) -> f64 {
    let parts = colour
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .filter_map(|part| part.parse::<f64>().ok());
    let linear = |part: f64| {
        let part = part / 255.0;
        if part <= 0.040_45 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    };

    parts
        .take(3)
        .map(linear)
        .zip([0.2126, 0.7152, 0.0722])
        .map(|(part, weight)| part * weight)
        .sum()
}

pub(super) fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
