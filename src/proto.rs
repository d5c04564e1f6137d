//! The messages and services of `proto/`. The manual is there.

pub use google::r#type as google_type;
pub use tether::{internal, v1};

// Laid out as the packages are: the generated code refers from one to another by `super`.
mod tether {
    /// The public API, `tether.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("tether.v1");
    }

    /// What is sealed in tokens and never served, `tether.internal`.
    pub mod internal {
        /// Version 1.
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        pub mod v1 {
            tonic::include_proto!("tether.internal.v1");
        }
    }
}

mod google {
    /// Days and times of day, `google.type`.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

/// The public API as an encoded `FileDescriptorSet`, comments included.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptor");

/// The rpcs of the public API that answer with a stream: `tether.v1.IntegrationService/WatchSync`.
#[must_use]
pub fn server_streams() -> std::collections::HashSet<String> {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut streams = std::collections::HashSet::new();
    for file in &set.file {
        for service in &file.service {
            let methods = service.method.iter().filter(|method| method.server_streaming());
            streams.extend(
                methods.map(|method| format!("{}.{}/{}", file.package(), service.name(), method.name())),
            );
        }
    }
    streams
}

impl v1::ErrorReason {
    /// As it stands in `ErrorInfo.reason`: the value's name without the enum's prefix.
    pub fn as_reason(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }
}

/// Secrets never reach a debug print: messages that may hold one print as their name alone.
macro_rules! opaque_debug {
    ($($message:ident),+ $(,)?) => {$(
        impl std::fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )+};
}

opaque_debug!(
    BeginAuthorizationResponse,
    CompleteAuthorizationRequest,
    AuthorizeWithCredentialsRequest
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let request = v1::AuthorizeWithCredentialsRequest {
            parameters: [("client_secret".into(), "hunter2".into())].into(),
            ..Default::default()
        };
        assert_eq!(format!("{request:?}"), "AuthorizeWithCredentialsRequest { .. }");
    }

    #[test]
    fn reasons_are_without_the_prefix_of_the_enum() {
        assert_eq!(
            v1::ErrorReason::AccountLimitReached.as_reason(),
            "ACCOUNT_LIMIT_REACHED"
        );
    }

    #[test]
    fn descriptors_hold_the_public_api_and_nothing_internal() {
        let set: prost_types::FileDescriptorSet =
            prost::Message::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut services: Vec<&str> = set
            .file
            .iter()
            .flat_map(|file| &file.service)
            .map(|s| s.name())
            .collect();
        services.sort_unstable();
        assert_eq!(services, ["CompanyService", "GroupService", "IntegrationService"]);
        assert!(
            set.file
                .iter()
                .all(|file| !file.package().starts_with("tether.internal"))
        );
    }
}
