//! The objects that a connector offers, their fields and their numbers of records.

use std::future::Future;
use std::sync::Arc;

use prost::Message as _;

use super::Login;
use crate::proto::{Error, Field, Object, ObjectCount, ObjectFields, ObjectRole};
use crate::reading::Known;
use crate::session::Session;

/// One of the objects that a connector offers.
pub trait CrmObject: Sync + Sized + 'static {
    /// Its key, as the CRM names it.
    fn key(&self) -> &'static str;

    /// The label for users.
    fn label(&self) -> &'static str;

    /// Its role in tether.
    fn role(&self) -> ObjectRole;

    /// Whether its records are companies.
    fn is_company(&self) -> bool {
        self.role() == ObjectRole::Company
    }
}

/// An object about which nothing more has to be known than what [`CrmObject`] says.
#[derive(Debug)]
pub struct PlainObject {
    /// Its key, as the CRM names it.
    pub key: &'static str,
    /// The label for users.
    pub label: &'static str,
    /// Its role in tether.
    pub role: ObjectRole,
}

impl CrmObject for PlainObject {
    fn key(&self) -> &'static str {
        self.key
    }

    fn label(&self) -> &'static str {
        self.label
    }

    fn role(&self) -> ObjectRole {
        self.role
    }
}

/// Objects as Describe answers them.
#[must_use]
pub fn offered<O: CrmObject>(all: &[O]) -> Vec<Object> {
    let object = |object: &O| Object {
        key: object.key().to_owned(),
        label: object.label().to_owned(),
        role: object.role().into(),
    };
    all.iter().map(object).collect()
}

/// The object with this key.
///
/// # Errors
/// INVALID_INPUT if there is none.
pub fn named<'a, O: CrmObject>(all: &'a [O], key: &str) -> Result<&'a O, Error> {
    all.iter()
        .find(|object| object.key() == key)
        .ok_or_else(|| Error::invalid_input(format!("there is no object {key}")).object(key))
}

/// The objects with these keys, in the order of `all`; all if none is named. Unknown keys are left out, as the contract
/// requires.
pub fn chosen<'a, O: CrmObject>(all: &'a [O], keys: &[String]) -> Vec<&'a O> {
    all.iter()
        .filter(|object| keys.is_empty() || keys.iter().any(|one| one == object.key()))
        .collect()
}

/// The error for an object that the user cannot see.
pub fn hidden<O: CrmObject>(object: &O) -> Error {
    Error::object_gone(format!("the logged-in user cannot see {}", object.label())).object(object.key())
}

/// The CRM's description of an object's fields.
pub trait Fields: Send + Sync + 'static {
    /// The fields that users may select, in a constant order.
    fn listed(&self) -> Vec<Field>;

    /// A field that was selected.
    fn known(&self, key: &str) -> Known<'_>;
}

/// All fields of an object.
impl Fields for Vec<Field> {
    fn listed(&self) -> Vec<Field> {
        self.clone()
    }

    fn known(&self, key: &str) -> Known<'_> {
        let found = self.iter().find(|field| field.key == key);
        found.map_or(Known::Gone, Known::Field)
    }
}

/// A number of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number, without deleted records.
    pub number: u64,
    /// Whether it is exact.
    pub exact: bool,
}

/// A CRM that describes and counts its objects one by one.
pub trait Objects: Login {
    /// One of its objects.
    type Object: CrmObject;
    /// How it describes an object's fields.
    type Fields: Fields;

    /// All objects, in the order of Describe and of reads.
    fn objects() -> &'static [Self::Object];

    /// The fields of an object that the user can see; None if the user cannot see the object.
    fn fields(
        session: &Session<Self>,
        object: &'static Self::Object,
    ) -> impl Future<Output = Result<Option<Self::Fields>, Error>> + Send;

    /// The number of an object's records; None if the user cannot see the object.
    fn count(
        session: &Session<Self>,
        object: &'static Self::Object,
    ) -> impl Future<Output = Result<Option<Count>, Error>> + Send;
}

/// Asks for the fields of an object, and remembers them; see [`Session::remembered`].
///
/// # Errors
/// Those of [`Objects::fields`], with the object.
pub async fn describe<C: Objects>(
    session: &Session<C>,
    object: &'static C::Object,
) -> Result<Option<Arc<C::Fields>>, Error> {
    let asked = session.asked();
    let fields = C::fields(session, object).await;
    let Some(fields) = fields.map_err(|error| error.object(object.key()))? else {
        return Ok(None);
    };
    let bytes = fields.listed().iter().map(Field::encoded_len).sum();
    let fields = Arc::new(fields);
    session.remember(object.key(), asked, bytes, &fields);
    Ok(Some(fields))
}

/// The fields of the objects with these keys; of all objects if none is named. Always asks the CRM.
///
/// # Errors
/// Those of [`Objects::fields`].
pub async fn list_fields<C: Objects>(
    session: &Session<C>,
    keys: &[String],
) -> Result<Vec<ObjectFields>, Error> {
    session.forget();
    let objects = chosen(C::objects(), keys);
    let mut described = Vec::with_capacity(objects.len());
    for object in &objects {
        described.push(describe(session, object));
    }
    let described = futures_util::future::try_join_all(described).await?;
    let fields = objects
        .iter()
        .zip(described)
        .map(|(object, fields)| ObjectFields {
            object: object.key().to_owned(),
            label: object.label().to_owned(),
            visible: fields.is_some(),
            fields: fields.map(|fields| fields.listed()).unwrap_or_default(),
        });
    Ok(fields.collect())
}

/// The numbers of records of the objects with these keys, of all objects if none is named; without objects that the user
/// cannot see. One after the other: CRMs limit searches per second.
///
/// # Errors
/// Those of [`Objects::count`].
pub async fn count_records<C: Objects>(
    session: &Session<C>,
    keys: &[String],
) -> Result<Vec<ObjectCount>, Error> {
    let mut counts = Vec::new();
    for object in chosen(C::objects(), keys) {
        let count = C::count(session, object).await;
        if let Some(Count { number, exact }) = count.map_err(|error| error.object(object.key()))? {
            counts.push(ObjectCount {
                object: object.key().to_owned(),
                count: number,
                exact,
            });
        }
    }
    Ok(counts)
}
