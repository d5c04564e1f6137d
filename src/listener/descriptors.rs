//! The file descriptors of the process, and how many connections they allow.

/// The limit on file descriptors of the process, and its division between connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Maximum number of descriptors of the process.
    pub limit: usize,
    /// Maximum number of connections of the gRPC listener.
    pub grpc: usize,
    /// Maximum number of connections of the callback listener.
    pub callback: usize,
    /// Maximum number of connections of the admin listener.
    pub admin: usize,
}

impl Descriptors {
    /// More than any server needs. With a limit of a billion, programs that iterate over all descriptors become slow.
    const ENOUGH: u64 = 65_536;

    /// Raises the soft limit of the process to the hard limit, and divides it.
    #[must_use]
    pub fn raise() -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let now = getrlimit(Resource::Nofile);
        let soft = now.current.unwrap_or(Self::ENOUGH);
        let wanted = now.maximum.unwrap_or(Self::ENOUGH).min(Self::ENOUGH).max(soft);
        let raised = Rlimit {
            current: Some(wanted),
            maximum: now.maximum,
        };
        let limit = match wanted > soft && setrlimit(Resource::Nofile, raised).is_ok() {
            true => wanted,
            false => soft,
        };
        Self::divide(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// At least half of the descriptors are left for the database, the index and the connectors.
    fn divide(limit: usize) -> Self {
        Self {
            limit,
            grpc: (limit / 8 * 3).clamp(8, 10_000),
            callback: (limit / 16).clamp(4, 512),
            admin: 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_is_left_to_the_rest() {
        for limit in [64, 256, 1_024, 4_096, 65_536, 1_000_000] {
            let of = Descriptors::divide(limit);
            assert!(of.grpc + of.callback + of.admin <= limit / 2 + 16, "{of:?}");
        }
    }
}
