//! Requests that are sent once: those that must not be repeated blindly, and those whose reply is read in parts.

use super::{Api, Refusal, Session};
use crate::http::{Body, Request, Response};
use crate::proto::Error;

impl<A: Api> Session<A> {
    /// Sends a request once and returns its successful reply. For a request that begins something in the CRM: after an error
    /// without a complete reply it is unknown whether it did.
    ///
    /// # Errors
    /// As [`Api::classify`] says; TRANSIENT without a complete reply.
    pub async fn once(&self, request: Request) -> Result<Response, Refusal> {
        self.attempt(request).await
    }

    /// Sends a request once and returns its successful reply when its headers have arrived.
    ///
    /// # Errors
    /// As [`Session::once`].
    pub async fn stream(&self, request: Request) -> Result<Body, Refusal> {
        let request = self.api.authorize(request, self.auth_kind, &self.token)?;
        let mut body = self.api.http().stream(&self.call, request).await?;
        if body.status.is_success() {
            return Ok(body);
        }
        let mut whole = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        let response = Response {
            status: body.status,
            headers: body.headers,
            body: whole.into(),
        };
        Err(A::classify(self, &response))
    }

    /// The error for the host after the last attempt.
    pub fn gave_up(&self, refusal: Refusal) -> Error {
        self.api.gave_up(refusal.error)
    }
}
