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

/// An org with the visibility of one of its users.
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

    /// Whether a row is shared with the user.
    pub(crate) fn sees(&self, table: usize, row: u32) -> bool {
        !self.user.unshared.contains(&crate::org::Row { table, row })
    }

    pub(crate) fn fields(&self, table: usize) -> impl Iterator<Item = &'a crate::schema::Field> {
        let object = &self.org.schema.objects[table];
        let hidden = &self.user.hidden;
        object.fields.iter().filter(move |f| !hidden.field(object, f))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::plan::Plan;
    use super::render::{Keep, Renderer};
    use super::{Viewer, eval, parser, plan};
    use crate::app::{App, Options, related};

    struct Nowhere;

    impl Keep for Nowhere {
        fn keep(&self, _: &Arc<Plan>, _: Arc<Vec<u32>>, _: usize) -> String {
            String::new()
        }
    }

    /// Runs a query; returns the number of its records, or None for an error.
    fn run(app: &App, soql: &str) -> Option<usize> {
        let org = app.orgs[0].read();
        let viewer = Viewer {
            org: &org,
            user: &org.users[1],
        };
        let plan = plan::plan(viewer, soql, &parser::parse(soql).ok()?).ok()?;
        let rows = Arc::new(eval::rows(&org, &plan, true));
        let renderer = Renderer {
            org: &org,
            version: "62.0",
            batch: 5,
            all: true,
            keep: &Nowhere,
        };
        let page = match &plan.aggregates {
            Some(aggregates) => {
                serde_json::json!({ "records": aggregates.run(&org, &plan, true) }).to_string()
            }
            None => renderer.page(&Arc::new(plan), &rows, 0),
        };
        serde_json::from_str::<serde_json::Value>(&page).unwrap()["records"]
            .as_array()
            .map(Vec::len)
    }

    fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
        proptest::sample::select(words)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// Any combination of names, operators and literals results in a page of JSON or an error.
        #[test]
        fn any_query_is_answered_or_refused(
            what in one_of(&["Id", "Name, Owner.Name", "FIELDS(STANDARD)", "COUNT()", "COUNT(Id), MAX(Name)",
                "Id, (SELECT Id FROM Contacts)", "BillingAddress, HQ__c", "toLabel(Products_Used__c)", "Parent.Parent.Name",
                "Industry, SUM(AnnualRevenue)", "Account.Name", "Owner.Type, AccountId"]),
            from in one_of(&["Account", "Contact", "Case", "User", "Contract", "Organization"]),
            field in one_of(&["Id", "Name", "AccountId", "CreatedDate", "Renewal_Date__c", "AnnualRevenue", "IsDeleted",
                "Owner.Type", "Products_Used__c", "Parent.Name", "BillingAddress", "Opens_At__c", "NumberOfEmployees"]),
            op in one_of(&["=", "!=", "<", ">=", "LIKE", "IN", "NOT IN", "INCLUDES", "EXCLUDES"]),
            value in one_of(&["null", "'x'", "'é%_'", "('a','b')", "(null)", "1e308", "-5", "true", "2024-01-01",
                "0001-01-01T00:00:00Z", "TODAY", "LAST_N_DAYS:99999", "'001Hs00002pxKlsIAE'", "'001Hs00002pxKls'",
                "('001zzzzzzzzzzzz')", "''", "(SELECT AccountId FROM Contact)"]),
            tail in one_of(&["", "ORDER BY Id DESC", "ORDER BY Owner.Name NULLS LAST", "GROUP BY Industry", "LIMIT 0",
                "LIMIT 3 OFFSET 2000", "ORDER BY BillingCity, Id LIMIT 99999999999"]),
        ) {
            static APP: std::sync::LazyLock<Arc<App>> =
                std::sync::LazyLock::new(|| App::new(&Options { counts: related(40), ..Options::default() }));
            let _ = run(&APP, &format!("SELECT {what} FROM {from} WHERE {field} {op} {value} {tail}"));
        }
    }
}
