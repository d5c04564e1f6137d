//! SOQL: text → [`ast`] → [`plan`] (names resolved for one user) → rows ([`eval`]) → JSON ([`render`]).

pub(crate) mod aggregate;
pub(crate) mod ast;
pub(crate) mod eval;
pub(crate) mod filter;
mod lexer;
mod literal;
pub(crate) mod parser;
pub(crate) mod plan;
pub(crate) mod render;

use crate::org::{Org, User};

/// An org as one of its users sees it.
#[derive(Clone, Copy)]
pub(crate) struct Viewer<'a> {
    pub(crate) org: &'a Org,
    pub(crate) user: &'a User,
}

impl<'a> Viewer<'a> {
    pub(crate) fn object(&self, name: &str) -> Option<(usize, &'a crate::schema::Object)> {
        self.org
            .schema
            .find(name)
            .filter(|(_, o)| !self.user.hidden.object(o))
    }

    pub(crate) fn field(&self, table: usize, name: &str) -> Option<&'a crate::schema::Field> {
        let object = &self.org.schema.objects[table];
        object.field(name).filter(|f| !self.user.hidden.field(object, f))
    }

    pub(crate) fn fields(&self, table: usize) -> impl Iterator<Item = &'a crate::schema::Field> {
        let object = &self.org.schema.objects[table];
        let hidden = &self.user.hidden;
        object.fields.iter().filter(move |f| !hidden.field(object, f))
    }
}
