//! A CRM in memory: companies 8 to 12 with their people, two records per page.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::*;
use crate::http::{HttpClient, ReadSet};
use crate::proto::{
    Credentials, ErrorKind, Field, FieldType, HttpPolicy, ObjectRole, ObjectSelection, Parent, SelectedField,
};
use crate::session::Api;

const OBJECTS: [PlainObject; 3] = [
    PlainObject {
        key: "people",
        label: "People",
        role: ObjectRole::Contact,
    },
    PlainObject {
        key: "companies",
        label: "Companies",
        role: ObjectRole::Company,
    },
    PlainObject {
        key: "deals",
        label: "Deals",
        role: ObjectRole::Deal,
    },
];

pub(super) struct Toy {
    pub(super) host: Host,
    pub(super) http: HttpClient,
    pub(super) data: Mutex<Data>,
}

pub(super) struct Data {
    pub(super) fields: Vec<&'static str>,
    /// Objects whose fields, or whose lists, were asked for; in order.
    pub(super) asked: Vec<String>,
    pub(super) deleted: Vec<u32>,
    /// Cursors that the CRM has forgotten.
    pub(super) lost: Vec<&'static str>,
    /// What changed since any time.
    pub(super) changed: Vec<u32>,
    /// Fields that the CRM does not know are refused.
    pub(super) refuses: bool,
}

impl Toy {
    pub(super) fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap()
    }

    pub(super) fn ids(&self, object: &PlainObject) -> Vec<u32> {
        match object.key {
            "companies" => (8..=12).collect(),
            // The people of a company have its number in front.
            _ => (8..=12)
                .flat_map(|company| (1..=3).map(move |n| company * 10 + n))
                .collect(),
        }
    }

    pub(super) fn record(&self, rows: &mut Rows<PlainObject>, id: u32) -> Record {
        let company = rows.object.is_company();
        let parents = match company {
            true => Vec::new(),
            false => vec![Parent {
                object: "companies".to_owned(),
                external_id: (id / 10).to_string(),
            }],
        };
        Record {
            external_id: id.to_string(),
            payload: rows.payload_with(|payload, place, field| payload.text(place, &field.key)),
            deleted: self.data().deleted.contains(&id),
            parents,
            ..Record::default()
        }
    }

    /// An error if a field is refused, or a cursor forgotten.
    pub(super) fn check(&self, rows: &Rows<PlainObject>, cursor: &str) -> Result<(), Error> {
        let mut data = self.data();
        if let Some(lost) = data.lost.iter().position(|lost| *lost == cursor) {
            data.lost.remove(lost);
            return Err(Error::cursor_gone("the cursor is not known"));
        }
        let mut keys = rows.fields().iter().map(|field| field.key.as_str());
        match data.refuses && keys.any(|key| !data.fields.contains(&key)) {
            true => Err(Error::new(ErrorKind::FieldGone, "a field is not known")),
            false => Ok(()),
        }
    }

    pub(super) fn listed(&self, rows: &mut Rows<PlainObject>, ids: &[u32], cursor: &str) -> Listed {
        let start = cursor.strip_prefix("at-").map_or(0, |at| at.parse().unwrap());
        let page = ids.iter().skip(start).take(2);
        Listed {
            records: page.map(|id| self.record(rows, *id)).collect(),
            next: (start + 2 < ids.len()).then(|| format!("at-{}", start + 2)),
            ..Listed::default()
        }
    }
}

impl Api for Toy {
    const CRM: &'static str = "Toy";

    fn host(&self) -> &Host {
        &self.host
    }

    fn http(&self) -> &HttpClient {
        &self.http
    }
}

impl Login for Toy {
    async fn log_in(self: &Arc<Self>, _: &CallContext, _: &LogInRequest) -> Result<LoggedIn, Error> {
        Ok(LoggedIn {
            identity: connection("t").identity,
            ..LoggedIn::default()
        })
    }
}

impl Objects for Toy {
    type Object = PlainObject;
    type Fields = Vec<Field>;

    fn objects() -> &'static [PlainObject] {
        &OBJECTS
    }

    async fn fields(
        session: &Session<Self>,
        object: &'static PlainObject,
    ) -> Result<Option<Vec<Field>>, Error> {
        let mut data = session.api().data();
        data.asked.push(object.key.to_owned());
        let field = |key: &&str| Field {
            key: (*key).to_owned(),
            r#type: FieldType::Text.into(),
            ..Field::default()
        };
        Ok((object.key != "deals").then(|| data.fields.iter().map(field).collect()))
    }

    async fn count(session: &Session<Self>, object: &'static PlainObject) -> Result<Option<Count>, Error> {
        let number = session.api().ids(object).len() as u64;
        Ok((object.key != "deals").then_some(Count { number, exact: true }))
    }
}

impl Crm for Toy {
    const ORDER: Order = Order::Numbers;
    const CHANGES: bool = true;

    fn in_full(object: &'static PlainObject) -> bool {
        object.key == "people"
    }

    fn open(host: Host, _: OpenRequest) -> Result<Self, Error> {
        let http = host.http(ReadSet::new())?;
        let data = Mutex::new(Data {
            fields: vec!["name"],
            asked: Vec::new(),
            deleted: Vec::new(),
            lost: Vec::new(),
            changed: Vec::new(),
            refuses: false,
        });
        Ok(Self { host, http, data })
    }

    fn describe() -> DescribeResponse {
        DescribeResponse::default()
    }

    async fn page(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        cursor: &str,
    ) -> Result<Listed, Error> {
        session.api().check(rows, cursor)?;
        let ids = session.api().ids(rows.object);
        Ok(session.api().listed(rows, &ids, cursor))
    }

    async fn changed(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        since_us: i64,
        cursor: &str,
    ) -> Result<Listed, Error> {
        let mut data = session.api().data();
        data.asked.push(format!("since {since_us}{cursor}"));
        let ids = data.changed.clone();
        drop(data);
        session.api().check(rows, &format!("since {cursor}"))?;
        Ok(session.api().listed(rows, &ids, cursor))
    }

    async fn named(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        ids: &[String],
    ) -> Result<Listed, Error> {
        session.api().data().asked.push(format!("{} ids", ids.len()));
        let all = session.api().ids(rows.object);
        let there = all.into_iter().filter(|id| ids.contains(&id.to_string()));
        let records = there.map(|id| session.api().record(rows, id)).collect();
        Ok(Listed {
            records,
            next: Some("ignored".to_owned()),
            ..Listed::default()
        })
    }

    async fn one(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        id: &str,
    ) -> Result<(Option<Record>, i64), Error> {
        session.api().check(rows, "one")?;
        let id: u32 = id.parse().unwrap();
        let there = session.api().ids(rows.object).contains(&id);
        let record = there.then(|| session.api().record(rows, id));
        Ok((record, i64::from(id)))
    }

    async fn related(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        company: &str,
        cursor: &str,
    ) -> Result<Listed, Error> {
        session
            .api()
            .data()
            .asked
            .push(format!("{} of {company}", rows.object.key));
        let of = |id: &u32| (id / 10).to_string() == company;
        let ids: Vec<u32> = session.api().ids(rows.object).into_iter().filter(of).collect();
        Ok(session.api().listed(rows, &ids, cursor))
    }
}

pub(super) fn connection(token: &str) -> Connection {
    Connection {
        identity: Some(Identity {
            organization_id: "org".to_owned(),
            user_id: "ann".to_owned(),
            ..Identity::default()
        }),
        credentials: Some(Credentials {
            access_token: token.to_owned(),
            ..Credentials::default()
        }),
        ..Connection::default()
    }
}

pub(super) fn selection(object: &str, fields: &[&str]) -> ObjectSelection {
    let mut text = SelectedField::default();
    text.set_type(FieldType::Text);
    let field = |key: &&str| SelectedField {
        key: (*key).to_owned(),
        ..text.clone()
    };
    ObjectSelection {
        object: object.to_owned(),
        fields: fields.iter().map(field).collect(),
        ..ObjectSelection::default()
    }
}

/// A connector, and its clock.
pub(super) fn toy() -> (CrmConnector<Toy>, Arc<AtomicI64>) {
    let clock = Arc::new(AtomicI64::new(1_000_000_000));
    let host = {
        let clock = Arc::clone(&clock);
        Host::new(move || clock.load(Relaxed), HttpPolicy::default())
    };
    (Connector::open(host, OpenRequest::default()).unwrap(), clock)
}

impl CrmConnector<Toy> {
    pub(super) async fn fetch(
        &self,
        token: &str,
        ids: &[&str],
        selection: Vec<ObjectSelection>,
        related_limit: u32,
    ) -> FetchCompanyResponse {
        let request = FetchCompanyRequest {
            connection: Some(connection(token)),
            external_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            selection,
            related_limit,
        };
        self.fetch_company(CallContext::default(), request).await.unwrap()
    }

    /// What was asked for since the last time.
    pub(super) fn asked(&self) -> String {
        std::mem::take(&mut self.crm.data().asked).join(", ")
    }
}

pub(super) fn ids(records: &[Record]) -> String {
    let id = |record: &Record| match record.deleted {
        true => format!("-{}", record.external_id),
        false => record.external_id.clone(),
    };
    records.iter().map(id).collect::<Vec<_>>().join(" ")
}
