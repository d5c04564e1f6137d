//! The messages of `tether.connector.v1` between the host and a connector. They are documented in
//! `proto/tether/connector/v1/connector.proto`.

mod error;
pub mod escapes;

#[allow(missing_docs, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tether.connector.v1.rs"));
}

pub use generated::*;

/// The contract as an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Messages that may contain a secret print only their name, so that secrets do not appear in debug output.
macro_rules! opaque_debug {
    ($($message:ident),+ $(,)?) => {$(
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )+};
}

opaque_debug!(
    OpenRequest,
    Credentials,
    BeginAuthorizationRequest,
    BeginAuthorizationResponse,
    ExchangeCodeRequest,
    LogInRequest,
);
