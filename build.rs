//! Compiles the public protos without protoc, and writes the descriptors for reflection.

use std::{env, fs, path::PathBuf};

const ROOT: &str = "proto";
const PUBLIC: [&str; 3] = [
    "tether/v1/integration_service.proto",
    "tether/v1/company_service.proto",
    "tether/v1/group_service.proto",
];
const INTERNAL: [&str; 1] = ["tether/internal/v1/page_token.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    // A macro embeds them, and it does not detect new folders.
    println!("cargo:rerun-if-changed=migrations");
    for folder in ["google", "tether/v1", "tether/internal"] {
        println!("cargo:rerun-if-changed={ROOT}/{folder}");
    }

    // The encoded form keeps what `FileDescriptorSet` would lose: comments for `grpcurl describe`, and the
    // field behaviours that tests read. It does not include internal protos.
    let mut public = protox::Compiler::new([ROOT])?;
    public
        .include_imports(true)
        .include_source_info(true)
        .open_files(PUBLIC)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), public.encode_file_descriptor_set())?;

    let mut config = prost_build::Config::new();
    // The codec finds a message's description by its name.
    config.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::grpc::texts::Texts")
        // Messages that may contain a secret print only their name: `src/proto.rs`.
        .skip_debug([
            ".tether.v1.BeginAuthorizationResponse",
            ".tether.v1.CompleteAuthorizationRequest",
            ".tether.v1.AuthorizeWithCredentialsRequest",
        ])
        .compile_fds_with_config(protox::compile(PUBLIC.iter().chain(&INTERNAL), [ROOT])?, config)?;
    Ok(())
}
