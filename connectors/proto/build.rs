//! Compiles the connector contract without a protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/tether/connector");
    let files = protox::compile(["tether/connector/v1/connector.proto"], [root])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptor.bin"), prost::Message::encode_to_vec(&files))?;
    prost_build::Config::new()
        // The host finds a message's description by its name.
        .enable_type_names()
        // Payloads are slices of the buffer that crossed the boundary, never copies.
        .bytes([
            ".tether.connector.v1.Record.payload",
            ".tether.connector.v1.Checkpoint.state",
        ])
        // Errors stay small: they are carried by every result.
        .boxed(".tether.connector.v1.Error.api_usage")
        // Whatever may hold a secret has a Debug of its own, or none.
        .skip_debug([
            ".tether.connector.v1.OpenRequest",
            ".tether.connector.v1.Credentials",
            ".tether.connector.v1.BeginAuthorizationRequest",
            ".tether.connector.v1.BeginAuthorizationResponse",
            ".tether.connector.v1.ExchangeCodeRequest",
            ".tether.connector.v1.LogInRequest",
        ])
        .compile_fds(files)?;
    Ok(())
}
