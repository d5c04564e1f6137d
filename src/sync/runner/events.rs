//! What the events of a stream mean for a run.

use super::super::verdict::{FEW_TRIES, Verdict, reason};
use super::state::{MOST_BYTES_PENDING, MOST_ROWS_PENDING, Run, Stop};
use super::storing::Storing;
use crate::connectors;
use crate::domain::ObjectState;
use crate::ingest;
use crate::store::{FieldRef, ObjectProgress, RecordBatch};
use tether_connector_proto::{self as proto, ErrorKind, FieldChangeKind};

impl Run<'_> {
    /// Receives a batch. Rows in memory are bounded: if they are too many with those of the commit in progress, its end is waited
    /// for.
    ///
    /// # Errors
    /// Rows violate the contract; or too much came without a checkpoint; or a read by ids gave records in part; or the commit in
    /// progress failed.
    pub(super) async fn receive(
        &mut self,
        source: &ingest::Source,
        batch: proto::RecordBatch,
        storing: &mut Storing,
    ) -> Result<(), Stop> {
        if self.is_troubled {
            // Two writes of one run never wait for each other.
            self.stored(storing).await?;
            self.answered().await?;
        }
        self.keep(ingest::batch(source, batch)?)?;
        let (rows, bytes) = storing.size();
        if self.is_too_much(rows, bytes) {
            self.stored(storing).await?;
        }
        match self.is_too_much(0, 0) {
            true => Err(Stop::NoCheckpoint),
            false => Ok(()),
        }
    }

    /// Keeps a batch for the next commit.
    fn keep(&mut self, batch: RecordBatch) -> Result<(), Stop> {
        if self.is_by_id && (batch.partial.is_some() || batch.complete_range.is_some()) {
            return Err(Stop::NotById);
        }
        self.reading(&batch.object, None);
        self.pending.rows += batch.rows.len();
        self.pending.bytes += batch.rows.iter().map(|row| row.payload.len()).sum::<usize>();
        self.pending.batches.push(batch);
        Ok(())
    }

    /// Whether what is pending is too much to keep with other rows.
    fn is_too_much(&self, rows: usize, bytes: usize) -> bool {
        self.pending.rows + rows > MOST_ROWS_PENDING || self.pending.bytes + bytes > MOST_BYTES_PENDING
    }

    /// An object is being read. What is read by id belongs to objects that were read to their end.
    pub(super) fn reading(&mut self, object: &str, expected: Option<i64>) {
        if !self.is_by_id {
            self.note(object, Some(ObjectState::Reading), expected, None);
        }
    }

    pub(super) fn note(
        &mut self,
        object: &str,
        state: Option<ObjectState>,
        expected: Option<i64>,
        error: Option<(String, String)>,
    ) {
        if let Some(one) = self.pending.objects.iter_mut().find(|one| one.object == object) {
            one.state = state.or(one.state);
            one.expected = expected.or(one.expected);
            one.error = error.or(one.error.take());
            return;
        }
        let position = self
            .order
            .iter()
            .position(|known| known == object)
            .unwrap_or(self.order.len()) as i64;
        self.pending.objects.push(ObjectProgress {
            object: object.to_owned(),
            position,
            state,
            expected,
            error,
            tries: None,
        });
    }

    /// Handles the status of an object. If reading stopped because of a temporary error, it is retried a few times
    /// from the last checkpoint: the run ends here, before the stream continues with the next object.
    pub(super) fn object_status(&mut self, status: proto::ObjectStatus) -> Result<(), Stop> {
        let Some(error) = status.error else {
            if status.complete && self.is_by_id {
                self.read_by_id.insert(status.object);
            } else if status.complete {
                self.note(
                    &status.object,
                    Some(ObjectState::Complete),
                    None,
                    Some(Default::default()),
                );
                self.complete(&status.object);
            }
            return Ok(());
        };
        tracing::warn!(sync = %self.sync.id, object = status.object, "cannot read {}: {}", status.object, error.message);
        let verdict = Verdict::of(error.kind());
        let tries = self.tries.get(&status.object).copied().unwrap_or_default() + 1;
        let again = match verdict {
            Verdict::Patience => true,
            // An error of the company object is an error of the whole sync.
            // Nor is there an object to begin again where records are read by id.
            _ if status.object == self.company_object || self.is_by_id && verdict.passes() => {
                return Err(Stop::Connector(connectors::Error::from_connector(
                    &self.connector,
                    error,
                )));
            }
            verdict => verdict.passes() && tries < FEW_TRIES,
        };
        if again {
            let (object, error) = (status.object, Box::new(error));
            return Err(Stop::Object { object, error });
        }
        let state = match error.kind() {
            ErrorKind::ObjectGone | ErrorKind::Forbidden => ObjectState::Skipped,
            _ => ObjectState::Failed,
        };
        let cause = (reason(error.kind()).to_owned(), error.message);
        self.note(&status.object, Some(state), None, Some(cause));
        Ok(())
    }

    pub(super) fn field_change(&mut self, change: proto::FieldChange) {
        let field = FieldRef {
            object: change.object.clone(),
            key: change.field.clone(),
        };
        match change.kind() {
            FieldChangeKind::Missing => {
                tracing::warn!(sync = %self.sync.id, "{}.{} is missing in the CRM", field.object, field.key);
                self.missing.insert(field.clone());
                self.pending.missing_fields.push(field);
            }
            FieldChangeKind::TypeChanged => {
                self.pending
                    .field_types
                    .push((field, ingest::field_type(change.r#type())));
            }
            FieldChangeKind::Unspecified => {}
        }
    }
}
