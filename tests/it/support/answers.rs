//! What a call must answer.

use std::future::Future;
use std::time::{Duration, Instant};

use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Whatever takes longer is stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer that must be there.
pub(crate) async fn ok<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> T {
    match call.await {
        Ok(answer) => answer.into_inner(),
        Err(status) => panic!("refused: {status:?} {:?}", status.get_details_error_info()),
    }
}

/// A refused call.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: ErrorDetails,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info.map(|info| info.reason.clone()).unwrap_or_default();
        if let Some(info) = info {
            assert_eq!(info.domain, "tether");
        }
        Self {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            details,
        }
    }
}

/// A refusal that must be there.
pub(crate) async fn refused<T: std::fmt::Debug>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Refused {
    match call.await {
        Ok(answer) => panic!("it should have been refused: {answer:?}"),
        Err(status) => status.into(),
    }
}

/// Asks again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let end = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
