//! The generated messages and services of `proto/`, which has their documentation.

pub use google::r#type as google_type;
pub use tether::{internal, v1};

// The modules have the structure of the packages: generated code refers to other packages by `super`.
mod tether {
    /// The public API, `tether.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("tether.v1");
    }

    /// Messages that are sealed in tokens and never served, `tether.internal`.
    pub mod internal {
        /// Version 1.
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        pub mod v1 {
            tonic::include_proto!("tether.internal.v1");
        }
    }
}

mod google {
    /// Dates and times of day, `google.type`.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

/// The public API as an encoded `FileDescriptorSet`, with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptor");

/// The RPCs of the public API with a streaming response: `tether.v1.IntegrationService/WatchSync`.
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
    /// The form used in `ErrorInfo.reason`: the name of the value without the prefix of the enum.
    pub fn as_reason(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }
}

/// Keeps secrets out of debug output: messages that may have one print only their name.
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
