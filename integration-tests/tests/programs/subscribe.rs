//! Programs of others that read frames from a source, as docs/subscribe.md has them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fanlight_tests::document::{Document, put_programs, shell};
use fanlight_tests::lab::installed;
use fanlight_tests::python::python;
use fanlight_tests::{TestEnv, skip};

/// What `protoc` makes of the schema.
const DESCRIPTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/fanlight.binpb");

#[test]
fn subscribe() {
    if !installed("gst-launch-1.0") {
        return skip("not installed: gst-launch-1.0");
    }

    let env = TestEnv::new();
    let Some(python) = python() else { return };
    let programs = put_programs(&env);
    let built = env.program("source").binary().parent().unwrap().to_owned();
    // Not links: the interpreter finds its packages by where it is, and the example is built already.
    let interpreter = format!("exec {} \"$@\"", python.display());
    put_script(&programs.join("python3"), &interpreter);
    let example = built.join("examples/subscribe").display().to_string();
    let cargo = format!("while [ \"$1\" != -- ]; do shift; done; shift; exec {example} \"$@\"");
    put_script(&programs.join("cargo"), &cargo);
    fs::copy(DESCRIPTORS, env.path("fanlight.binpb")).unwrap();

    let socket = env.path("ball.ipc").display().to_string();
    Document::read("subscribe.md").run(|_, commands| {
        let commands = commands.replace("/tmp/ball.ipc", &socket);
        shell(&env, &["env"], &programs, &commands)
    });
}

fn put_script(file: &Path, command: &str) {
    fs::write(file, format!("#!/bin/sh\n{command}\n")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}
