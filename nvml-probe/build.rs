//! Code for the kubelet's interfaces and for the stream to the scheduler, from their descriptions; no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let of_the_kubelet = protox::compile(["dra.proto", "pluginregistration.proto"], ["proto"])?;
    tonic_prost_build::configure().build_client(false).compile_fds(of_the_kubelet)?;
    let of_the_scheduler = protox::compile(["telemetry.proto"], ["../scheduler/api/proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(of_the_scheduler)?;
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../scheduler/api/proto");
    Ok(())
}
