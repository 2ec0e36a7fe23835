//! The parts of the page that need no browser, by node's own test runner.

use std::process::Command;

use fanlight_tests::{browser, skip};

#[test]
fn clock_rates_layout_addresses_and_wire_format_of_the_page_are_right() {
    let folder = match browser::installed() {
        Ok(folder) => folder,
        Err(missing) => return skip(&missing),
    };

    let output = Command::new("node")
        .args(["--test", "unit.test.mjs"])
        .current_dir(folder)
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("# pass "), "{said}");
}
