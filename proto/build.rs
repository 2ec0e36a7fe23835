//! Compiles the protobuf schema with `protox`, so that no system `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "fanlight/v1/frame.proto",
        "fanlight/v1/feed.proto",
        "fanlight/v1/control.proto",
    ];

    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    // StreamKey holds a secret: it writes its own Debug, and its bytes are its own, to be wiped.
    let shared =
        ["Frame", "Join", "Challenge", "Accept"].map(|message| format!(".fanlight.v1.{message}"));
    prost_build::Config::new()
        .bytes(shared)
        .skip_debug([".fanlight.v1.StreamKey"])
        .compile_fds(descriptors)?;

    Ok(())
}
