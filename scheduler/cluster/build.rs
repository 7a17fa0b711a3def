//! Code for the stream from the nodes' agents, from its description; no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let described = protox::compile(["telemetry.proto"], ["../api/proto"])?;
    tonic_prost_build::configure().build_client(false).compile_fds(described)?;
    println!("cargo::rerun-if-changed=../api/proto");
    Ok(())
}
