//! Makes Rust of the protobuf schema. `fanlight.binpb` is what `protoc` makes of it (`./dev schema`), so that no build needs a
//! compiler of schemas; a test holds it equal.

use prost::Message as _;
use prost_types::FileDescriptorSet;

const DESCRIPTORS: &str = "fanlight.binpb";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={DESCRIPTORS}");
    let descriptors = FileDescriptorSet::decode(std::fs::read(DESCRIPTORS)?.as_slice())?;
    // StreamKey holds a secret: it writes its own Debug, and its bytes are its own, to be wiped.
    let shared = [
        "Frame",
        "Join",
        "Challenge",
        "Accept",
        "Detections",
        "ViewerReport",
    ]
    .map(|message| format!(".fanlight.v1.{message}"));
    prost_build::Config::new()
        .bytes(shared)
        .skip_debug([".fanlight.v1.StreamKey"])
        .compile_fds(descriptors)?;

    Ok(())
}
