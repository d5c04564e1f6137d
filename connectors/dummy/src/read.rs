//! Streams of the dummy: object by object, company by company, with a checkpoint after a configured number of rows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{
    Connection, Covers, ErrorKind, FieldChange, FieldChangeKind, ObjectSelection, ObjectStatus, Progress,
    ReadRequest, RecordBatch,
};
use tether_connector_sdk::{CallContext, Error, ReadStream};

use crate::auth;
use crate::crm::Crm;
use crate::data::{Object, Rows, World};
use crate::fields::is_missing;
use crate::passes::{History, Pass, Passes};
use crate::script::{Action, Script, Settings};

/// The position of a stream.
#[derive(Clone, Serialize, Deserialize)]
struct Position {
    version: u32,
    /// Index in the selection.
    object: usize,
    /// Number of the pass over its records.
    pass: usize,
    /// The last company that was read.
    company: u64,
    /// Rows so far, for scripts.
    rows: u64,
    /// What this read and earlier ones have seen of the objects that they have read to their end.
    history: History,
}

impl Position {
    const VERSION: u32 = 2;

    /// Before the first row.
    fn start(history: History) -> Self {
        Self {
            version: Self::VERSION,
            object: 0,
            pass: 0,
            company: 0,
            rows: 0,
            history,
        }
    }

    /// The position of a checkpoint, if this version can go on from it.
    fn of(checkpoint: &[u8]) -> Option<Self> {
        let known: Option<Self> = serde_json::from_slice(checkpoint).ok();
        known.filter(|position| position.version == Self::VERSION)
    }
}

/// One stream.
struct Reader<'a> {
    crm: &'a Crm,
    settings: &'a Settings,
    call: &'a CallContext,
    script: Script,
    out: ReadStream,
    passes: Passes,
    /// There is a state of an earlier read.
    knows_some: bool,
    position: Position,
    token: String,
    connection: Connection,
}

pub(crate) async fn read(
    crm: &Crm,
    settings: &Settings,
    call: &CallContext,
    request: ReadRequest,
    out: ReadStream,
) -> Result<(), Error> {
    let passes = Passes::new(settings, &request);
    let before = Position::of(&request.state).map(|position| position.history);
    if before.is_none() && !request.state.is_empty() && settings.is_mutant("refuses-unknown-states") {
        return Err(Error::invalid_input("the state is not one of this connector"));
    }
    let knows_some = before.is_some();
    let start = Position::start(before.unwrap_or_default());
    let position = if request.checkpoint.is_empty() {
        start
    } else {
        let known = Position::of(&request.checkpoint);
        #[expect(clippy::panic, reason = "the mutant asks for it")]
        if known.is_none() && settings.is_mutant("panics-on-invalid-checkpoint") {
            panic!("not a checkpoint of this connector");
        }
        known.unwrap_or_else(|| {
            tracing::warn!("the checkpoint is not of this connector; the read starts from the beginning");
            start
        })
    };
    let script = Script::of(settings, "read")?;
    let connection = request.connection.unwrap_or_default();
    let mut position = position;
    if position.company > 0 && settings.is_mutant("skips-after-resume") {
        position.company += 1;
    }
    let mut reader = Reader {
        crm,
        settings,
        call,
        script,
        out,
        passes,
        knows_some,
        position,
        token: connection.credentials.clone().unwrap_or_default().access_token,
        connection: connection.clone(),
    };
    reader.script.run(call).await?;
    if settings.is_mutant("requests-without-pulls") {
        reader.hurry();
    }
    if let Err(error) = auth::check(settings, &connection) {
        reader.credentials(error).await?;
    }
    for place in reader.position.object..request.selection.len() {
        reader.position.object = place;
        reader.object(&request.selection[place]).await?;
        reader.position.pass = 0;
        reader.position.company = 0;
    }
    reader.out.api_usage(call.usage()).await
}

impl Reader<'_> {
    async fn object(&mut self, selection: &ObjectSelection) -> Result<(), Error> {
        let key = &selection.object;
        let object = match self.visible(key)? {
            Ok(object) => object,
            Err(error) => return self.status(key, Some(error)).await,
        };
        let world = World::new(self.settings);
        let seen = self.position.history.0.get(key).copied();
        let skips = self.knows_some && self.settings.is_mutant("skips-unknown-objects");
        let seen = seen.or_else(|| skips.then(|| world.seen()));
        let passes = self.passes.of(selection, seen);
        for (number, pass) in passes.iter().enumerate().skip(self.position.pass) {
            self.position.pass = number;
            let fields = pass.fields(selection, self.settings);
            let mut rows = Rows::new(&world, self.settings, object, &fields);
            if self.passes.lists_all() && !matches!(pass, Pass::Full) {
                rows = rows.reporting_deletions();
            }
            if self.settings.is_mutant("missing-field-fails") && !rows.missing().is_empty() {
                return Err(Error::field_gone("a field does not exist").object(key.clone()));
            }
            self.announce(key, &rows).await?;
            if pass.is_listing() {
                let (object, expected) = (key.to_owned(), world.count(object));
                self.out.progress(Progress { object, expected }).await?;
            }
            if let Some(refusal) = self.pass(key, object, &world, pass, &mut rows).await? {
                return self.status(key, Some(refusal)).await;
            }
            self.position.company = 0;
        }
        self.status(key, None).await?;
        self.position.history.0.insert(key.clone(), world.seen());
        // The next object begins here: a checkpoint that says that this one was read comes after its status.
        self.position.object += 1;
        self.position.pass = 0;
        self.checkpoint().await
    }

    /// One pass over the records of an object; an error of this object alone is returned.
    async fn pass(
        &mut self,
        key: &str,
        object: Object,
        world: &World,
        pass: &Pass,
        rows: &mut Rows<'_>,
    ) -> Result<Option<Error>, Error> {
        let batch_rows = self.settings.number("batch", 50).max(1) as usize;
        let checkpoint_rows = self.settings.number("checkpoint_every", 100).max(1);
        let mut batch = Vec::new();
        let mut after = self.position.company;
        let mut unsaved = 0;
        let last = world.companies();
        for company in self.position.company + 1..=last {
            let before = batch.len();
            if pass.has(world, company) {
                rows.of_company(company, &mut batch);
            }
            let mut added = batch.split_off(before);
            added.retain(|record| pass.has_record(record, self.settings));
            added.iter_mut().for_each(|record| pass.keep(record));
            let count = added.len() as u64;
            batch.append(&mut added);
            unsaved += count;
            let due = unsaved >= checkpoint_rows || company == last;
            for row in self.position.rows + 1..=self.position.rows + count {
                self.act(row).await?;
            }
            self.position.rows += count;
            self.position.company = company;
            if batch.len() >= batch_rows || due {
                if let Err(error) = self.ask(key).await {
                    if error.is(ErrorKind::Forbidden) && !self.settings.is_mutant("forbidden-object-fails") {
                        return Ok(Some(error));
                    }
                    return Err(error);
                }
                let ranged = object == Object::Company || self.passes.lists_all();
                if company == last && object == Object::Company {
                    batch.extend(pass.absent(self.settings, world));
                }
                let batch = RecordBatch {
                    object: key.to_owned(),
                    records: std::mem::take(&mut batch),
                    covers: (ranged && pass.has_ranges(self.settings))
                        .then(|| self.range(object, after, company, last)),
                    partial: pass.partial(),
                    ..RecordBatch::default()
                };
                self.out.batch(batch).await?;
                after = company;
            }
            // The end of the object, or the next pass, has a checkpoint of its own.
            if due && company != last {
                unsaved = 0;
                self.checkpoint().await?;
            }
        }
        Ok(None)
    }

    /// The object with this key, or why it cannot be read.
    fn visible(&self, key: &str) -> Result<Result<Object, Error>, Error> {
        let found = Object::from_key(key).filter(|_| !is_missing(self.settings, key, None));
        let Some(object) = found else {
            return Ok(Err(
                Error::object_gone(format!("{key} is not visible")).object(key)
            ));
        };
        let script = Script::of(self.settings, &format!("object.{key}"))?;
        Ok(match script.at_once() {
            Some(Action::Fail(error)) => Err(Error::clone(error)),
            _ => Ok(object),
        })
    }

    /// The range of the records of companies behind `after`; the one with `last` has no end.
    fn range(&self, object: Object, after: u64, company: u64, last: u64) -> Covers {
        let end = company == last || self.settings.is_mutant("range-too-wide");
        Covers {
            after: object.through(after),
            through: if end {
                String::new()
            } else {
                object.through(company)
            },
        }
    }

    async fn status(&mut self, key: &str, error: Option<Error>) -> Result<(), Error> {
        let status = ObjectStatus {
            object: key.to_owned(),
            complete: error.is_none(),
            error,
        };
        self.out.object_status(status).await
    }

    async fn checkpoint(&mut self) -> Result<(), Error> {
        let mut state = serde_json::to_vec(&self.position).map_err(|error| Error::bug(error.to_string()))?;
        if self.settings.is_mutant("token-in-checkpoints") {
            state.extend_from_slice(self.token.as_bytes());
        }
        self.out.checkpoint(state).await.map(|_| ())
    }

    /// Requests the next rows from the CRM, with new credentials if the old ones have expired.
    async fn ask(&mut self, object: &str) -> Result<(), Error> {
        let mut renewed = false;
        loop {
            let base_url = &self.connection.base_url;
            match self
                .crm
                .ask(self.settings, self.call, base_url, &self.token, object)
                .await
            {
                Err(error) if error.is(ErrorKind::CredentialsExpired) && !renewed => {
                    renewed = true;
                    if self.settings.is_mutant("stream-refreshes-itself") {
                        let by = (self.crm, self.settings, self.call);
                        let new = auth::refresh(by.0, by.1, by.2, &self.connection, 0).await?;
                        self.token = new.credentials.unwrap_or_default().access_token;
                    } else {
                        self.credentials(error).await?;
                    }
                }
                other => return other,
            }
        }
    }

    /// The mutant that requests all rows, even if the host does not pull.
    fn hurry(&self) {
        let (crm, settings, token) = (self.crm.clone(), self.settings.clone(), self.token.clone());
        let base_url = self.connection.base_url.clone();
        tokio::spawn(async move {
            for _ in 0..400 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                // The mutant: the replies are ignored.
                drop(
                    crm.ask(&settings, &CallContext::default(), &base_url, &token, "Company")
                        .await,
                );
            }
        });
    }

    async fn announce(&mut self, key: &str, rows: &Rows<'_>) -> Result<(), Error> {
        for field in rows.missing() {
            let kind = FieldChangeKind::Missing.into();
            self.out
                .field_change(FieldChange {
                    object: key.to_owned(),
                    field: field.clone(),
                    kind,
                    r#type: 0,
                })
                .await?;
        }
        for (field, now) in rows.retyped() {
            let kind = FieldChangeKind::TypeChanged.into();
            let r#type = (*now).into();
            self.out
                .field_change(FieldChange {
                    object: key.to_owned(),
                    field: field.clone(),
                    kind,
                    r#type,
                })
                .await?;
        }
        Ok(())
    }

    /// Runs the script's actions for a row.
    async fn act(&mut self, row: u64) -> Result<(), Error> {
        let actions: Vec<Action> = self.script.at(row).cloned().collect();
        for action in actions {
            if matches!(action, Action::Credentials) {
                self.credentials(Error::credentials_expired("the access token has expired"))
                    .await?;
            } else {
                action.run(self.call).await?;
            }
        }
        Ok(())
    }

    /// Requests credentials until they are valid.
    async fn credentials(&mut self, mut why: Error) -> Result<(), Error> {
        loop {
            let (credentials, base_url) = self.out.credentials_needed(why).await?;
            if !base_url.is_empty() {
                self.connection.base_url = base_url;
            }
            match auth::check_credentials(self.settings, &credentials) {
                Ok(()) => {
                    self.token = credentials.access_token;
                    return Ok(());
                }
                Err(error) => why = error,
            }
        }
    }
}
