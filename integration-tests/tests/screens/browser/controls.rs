//! The page's panel of a camera's controls. What the relay does with them: `programs`, `http::controls`.

use fanlight_proto::message::{Control, ControlChoice};
use fanlight_tests::TestEnv;
use fanlight_tests::browser::{Browser, Look};
use fanlight_tests::fake_source::FakeSource;
use fanlight_tests::jpeg;
use fanlight_tests::wait::{SOON, until};

use super::fixture::Fixture;

fn control(name: &str, maximum: i64, choices: &[&str]) -> Control {
    let choices = choices.iter().zip(0..);
    Control {
        name: name.into(),
        value: Some(0),
        maximum,
        step: 1,
        choices: choices
            .map(|(name, value)| ControlChoice {
                value,
                name: (*name).into(),
            })
            .collect(),
        ..Control::default()
    }
}

#[test]
fn an_admin_sets_the_controls_of_a_camera_beside_its_picture() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let source = FakeSource::with_picture("cam", None, jpeg::numbered(1, 640, 360));
    source.have_controls(vec![
        control("brightness", 255, &[]),
        control("backlight_compensation", 1, &[]),
        control("auto_exposure", 2, &["Auto", "Manual", "Shutter"]),
    ]);
    let endpoints = [source.endpoint()];
    let fixture = Fixture::serve_from(TestEnv::new(), Vec::new(), &endpoints, |relay| relay);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_live(1);
    page.press("o");
    page.wait("document.querySelectorAll('#controls .rows label').length === 3");
    page.fill("#controls [data-control=brightness] input", "77");
    page.click("#controls [data-control=backlight_compensation] input");
    page.click("#controls [data-part=keep]");
    page.choose("#controls [data-control=auto_exposure] select", "2");

    // What was set before is kept too.
    let newest = |name: &str| {
        let asked = source.asked();
        let kept = asked.into_iter().filter(|request| request.save);
        let mut values = kept.flat_map(|request| request.set);
        let last = values.rfind(|set| set.name == name);
        last.map(|set| set.value)
    };
    for (name, value) in [
        ("brightness", 77),
        ("backlight_compensation", 1),
        ("auto_exposure", 2),
    ] {
        until(name, SOON, || (newest(name) == Some(value)).then_some(()));
    }
    page.wait(
        "document.querySelector('#controls [data-control=brightness] output').textContent === '77'",
    );

    page.assert_clean();
    source.have_controls(vec![control("brightness", 5, &[])]);
    page.choose("#controls [data-control=auto_exposure] select", "1");
    page.wait("document.querySelector('#controls [data-part=word]').textContent === 'no control \"auto_exposure\"'");
    page.click("#controls header button");
    page.wait("!document.getElementById('controls').open");
}
