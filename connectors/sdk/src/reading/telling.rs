//! What a read tells the host besides records.

use std::collections::HashSet;

use super::Change;
use super::state::State;
use crate::proto::{Error, FieldChange, FieldChangeKind, FieldType, ObjectStatus, Progress};
use crate::{CallContext, ReadStream};

/// The events of the stream other than records.
pub(super) struct Telling {
    pub(super) call: CallContext,
    pub(super) out: ReadStream,
}

impl Telling {
    pub(super) async fn expected(&mut self, object: &str, expected: u64) -> Result<(), Error> {
        let object = object.to_owned();
        self.out.progress(Progress { object, expected }).await
    }

    pub(super) async fn changes(
        &mut self,
        object: &str,
        changes: Vec<Change>,
        told: &mut HashSet<String>,
    ) -> Result<(), Error> {
        for change in changes {
            let (field, kind, field_type) = match change {
                Change::Missing(field) => (field, FieldChangeKind::Missing, FieldType::Unspecified),
                Change::Type(field, field_type) => (field, FieldChangeKind::TypeChanged, field_type),
            };
            if told.insert(field.clone()) {
                self.out
                    .field_change(FieldChange {
                        object: object.to_owned(),
                        field,
                        kind: kind.into(),
                        r#type: field_type.into(),
                    })
                    .await?;
            }
        }
        Ok(())
    }

    pub(super) async fn status(&mut self, object: &str, error: Option<Error>) -> Result<(), Error> {
        self.out
            .object_status(ObjectStatus {
                object: object.to_owned(),
                complete: error.is_none(),
                error,
            })
            .await
    }

    /// Sends a checkpoint; returns its number.
    pub(super) async fn checkpoint<P: serde::Serialize>(&mut self, state: &State<P>) -> Result<u64, Error> {
        self.usage().await?;
        self.out.checkpoint(state.bytes()?).await
    }

    pub(super) async fn usage(&mut self) -> Result<(), Error> {
        self.out.api_usage(self.call.usage()).await
    }
}
