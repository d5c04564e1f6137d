//! The fields of an integration, as the CRM describes them now.

use super::state::{Run, Stop};
use crate::credentials;
use crate::definition;
use crate::domain::{CallKind, CredentialId};
use crate::store;
use std::time::Duration;
use tether_connector_proto::ListFieldsRequest;

/// Maximum time for listing the fields at the end of a sync.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

impl Run<'_> {
    /// Stores how the CRM describes the fields now: labels may change without any change of a record. A sync does not
    /// fail because of it, nor because it has no calls left for it; the next one tries again.
    pub(super) async fn renew_definitions(
        &mut self,
        fields: &[store::Field],
        credential_id: CredentialId,
    ) -> Result<(), Stop> {
        let purpose = credentials::Purpose {
            credential_id,
            integration_id: self.sync.integration_id,
            budget: self.budget,
            kind: CallKind::Sync,
        };
        let listed = self
            .context
            .credentials
            .call(purpose, &self.connector, |connector, connection| async move {
                let request = ListFieldsRequest {
                    connection: Some(connection),
                    objects: Vec::new(),
                };
                connector
                    .list_fields(request, credentials::deadline(LIST_TIMEOUT))
                    .await
            })
            .await;
        let answer = match listed {
            Ok(answer) => answer,
            Err(credentials::Error::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(sync = %self.sync.id, "cannot list the fields of {}: {error}", self.connector);
                return Ok(());
            }
        };
        let usage = answer.api_usage.unwrap_or_default();
        self.pending.usage.0 += usage.bytes as i64;
        self.pending.usage.1 += usage.calls as i64;
        // Counted already, with the call.
        self.uncounted -= usage.calls as i64;
        let renewed = definition::renewed(fields, &answer.objects);
        Ok(self
            .context
            .store
            .field_renew(self.sync.integration_id, renewed)
            .await?)
    }
}
