//! Whether a connector can be called.

/// The status of a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It can be called.
    Ready,
    /// It failed unexpectedly; the next call reopens it.
    Restarting {
        /// Failures in a row.
        failures: u32,
        /// The reason of the last failure.
        reason: String,
    },
    /// It fails repeatedly and is retried once a minute.
    Quarantined {
        /// Failures in a row.
        failures: u32,
        /// The reason of the last failure.
        reason: String,
    },
    /// It could not be loaded.
    Failed {
        /// The reason.
        reason: String,
    },
}
