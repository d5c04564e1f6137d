//! Reads of changes by a host that stores their states, and the changes between them.

use std::collections::BTreeMap;

use tether_connector_host::proto::{Connection, ObjectSelection, ReadMode, ReadRequest, RecordIds};
use time::Duration;
use time::format_description::well_known::Rfc3339;

use crate::connector::Connector;
use crate::finding::{Context as _, Halt, fails};
use crate::mirror::Mirror;
use crate::quirks::Kind;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

/// Most ids of one read by ids.
const MOST_IDS: usize = 1_000;

/// An instance, with a login and a selection of every field.
pub(crate) struct Reader {
    pub(crate) connector: Connector,
    pub(crate) connection: Connection,
    pub(crate) selection: Vec<ObjectSelection>,
}

impl Reader {
    /// A new instance.
    pub(crate) async fn open(world: &World) -> Result<Self, Halt> {
        let connector = world.open().await?;
        let connection = world.log_in(&connector).await?;
        let selection = world.selection(&connector).await?;
        Ok(Self {
            connector,
            connection,
            selection,
        })
    }

    /// A read of everything that is selected.
    pub(crate) fn request(&self, mode: ReadMode) -> ReadRequest {
        ReadRequest {
            connection: Some(self.connection.clone()),
            selection: self.selection.clone(),
            mode: mode.into(),
            ..ReadRequest::default()
        }
    }

    /// Reads what changed since a state.
    pub(crate) fn changes_since(&self, state: &[u8]) -> ReadRequest {
        ReadRequest {
            state: state.to_vec(),
            ..self.request(ReadMode::Changes)
        }
    }

    /// Reads to the end.
    pub(crate) async fn read(&self, request: ReadRequest, what: &str) -> Result<Rows, Halt> {
        let mut rows = Rows::default();
        let read = async {
            let stream = Stream::read(&self.connector, request).await?;
            stream.take(&mut rows, |_| false).await
        };
        read.await.context(what)?;
        Ok(rows)
    }

    /// Reads everything.
    pub(crate) async fn full(&self) -> Result<Rows, Halt> {
        let rows = self
            .read(self.request(ReadMode::Full), "a read of everything")
            .await?;
        if rows.records.is_empty() {
            return Err(fails("a full read returns no rows: the fixture needs records"));
        }
        Ok(rows)
    }

    /// Reads the changes since a state.
    pub(crate) async fn changes(&self, state: &[u8]) -> Result<Rows, Halt> {
        self.read(self.changes_since(state), "a read of changes").await
    }

    /// Reads records by their ids.
    pub(crate) async fn records(&self, records: &BTreeMap<String, Vec<String>>) -> Result<Rows, Halt> {
        let ids = records.iter().map(|(object, ids)| RecordIds {
            object: object.clone(),
            external_ids: ids.clone(),
        });
        let request = ReadRequest {
            records: ids.collect(),
            ..self.request(ReadMode::Records)
        };
        self.read(request, "a read of records by their ids").await
    }

    /// Reads in full what a host has in part only.
    pub(crate) async fn settle(&self, stored: &mut Mirror) -> Result<(), Halt> {
        let wanted: Vec<_> = std::mem::take(&mut stored.wanted).into_iter().collect();
        for some in wanted.chunks(MOST_IDS) {
            let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (object, id) in some {
                ids.entry(object.clone()).or_default().push(id.clone());
            }
            stored.take(&self.records(&ids).await?.batches);
        }
        Ok(())
    }

    /// Applies a read to stored records, as a host does.
    pub(crate) async fn store(&self, stored: &mut Mirror, rows: &Rows) -> Result<(), Halt> {
        stored.sync(rows);
        self.settle(stored).await
    }
}

impl World {
    /// Whether `[changes]` says how to make a change of this kind.
    pub(crate) fn can(&self, kind: Kind) -> bool {
        self.quirks.changes.contains_key(&kind)
    }

    /// Makes a change, for the time `round`. `ids` are those of the records before the first change.
    pub(crate) async fn change(
        &self,
        kind: Kind,
        ids: &BTreeMap<String, Vec<String>>,
        round: usize,
    ) -> Result<(), Halt> {
        let wrong = |what: String| fails(format!("[changes.{}]: {what}", kind.name()));
        let Some(step) = self.quirks.changes.get(&kind) else {
            return Err(wrong(
                "conformance.toml does not say how to make this change".to_owned(),
            ));
        };
        let filled = |text: &str| {
            let text = self
                .with_placeholders(text)
                .replace("{round}", &round.to_string());
            fill(&text, |name, argument| self.placeholder(ids, name, argument)).map_err(wrong)
        };
        for request in &step.requests {
            let Some(proxy) = &self.proxy else {
                return Err(wrong("there is no fixture for its requests".to_owned()));
            };
            let (url, body) = (filled(&request.url)?, filled(&request.body)?);
            proxy.post(&url, body).await.map_err(wrong)?;
        }
        for (key, value) in &step.settings {
            self.set(key, filled(value)?);
        }
        Ok(())
    }

    /// The value of a placeholder of a change; None if there is none.
    fn placeholder(
        &self,
        ids: &BTreeMap<String, Vec<String>>,
        name: &str,
        argument: &str,
    ) -> Option<Result<String, String>> {
        match name {
            "id" => {
                let found = argument.rsplit_once(':').and_then(|(object, number)| {
                    let number: usize = number.parse().ok()?;
                    ids.get(object)?.get(number).cloned()
                });
                Some(found.ok_or_else(|| format!("the fixture has no record for {{id:{argument}}}")))
            }
            "time" => {
                let ago = argument.parse().map(Duration::seconds);
                let at = ago.map(|ago| self.begun.replace_nanosecond(0).unwrap_or(self.begun) - ago);
                let text = at.ok().and_then(|at| at.format(&Rfc3339).ok());
                Some(text.ok_or_else(|| format!("{{time:{argument}}} is no number of seconds")))
            }
            _ => None,
        }
    }
}

/// Replaces `{name:argument}` in a text.
fn fill(text: &str, value: impl Fn(&str, &str) -> Option<Result<String, String>>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        filled.push_str(before);
        let placeholder = after[1..].find(['{', '}']).map(|end| &after[1..=end]);
        let found = placeholder
            .and_then(|inside| inside.split_once(':'))
            .and_then(|(name, argument)| value(name, argument));
        match (found, placeholder) {
            (Some(text), Some(inside)) => {
                filled.push_str(&text?);
                rest = &after[inside.len() + 2..];
            }
            _ => {
                filled.push('{');
                rest = &after[1..];
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn placeholders_are_filled_and_json_stays() {
        let value = |name: &str, argument: &str| match (name, argument) {
            ("id", "Account:3") => Some(Ok("001".to_owned())),
            ("id", _) => Some(Err("no record".to_owned())),
            _ => None,
        };
        assert_eq!(
            fill(r#"{"id": "{id:Account:3}", "fields": {"a": {"b":1}}}"#, value).unwrap(),
            r#"{"id": "001", "fields": {"a": {"b":1}}}"#
        );
        assert_eq!(fill("{id:Account:4}", value).unwrap_err(), "no record");
        assert_eq!(fill("{", value).unwrap(), "{");
    }
}
