//! Compiles the connector contract without a protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/tether/connector");
    let files = protox::compile(["tether/connector/v1/connector.proto"], [root])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptor.bin"), prost::Message::encode_to_vec(&files))?;
    prost_build::Config::new()
        // The host looks up a message's descriptor by its name.
        .enable_type_names()
        // Payloads are slices of the received buffer, not copies.
        .bytes([
            ".tether.connector.v1.Record.payload",
            ".tether.connector.v1.Checkpoint.state",
        ])
        // Errors stay small, because every result contains one.
        .boxed(".tether.connector.v1.Error.api_usage")
        // Messages that may contain a secret have their own Debug, or none.
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
