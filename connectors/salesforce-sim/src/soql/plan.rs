//! A query with its names resolved for one user.

use std::collections::HashSet;
use std::sync::Arc;

use super::Viewer;
use super::ast::{Path, Query, Select, Shown, Which};
use super::filter::{Test, compile};
use crate::errors::Error;
use crate::org::Row;
use crate::schema::Field;

/// The columns to read of each row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) items: Vec<(String, Item)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Cell(Field),
    Label(Field),
    Parent {
        reference: Field,
        polymorphic: bool,
        node: Node,
    },
    Children(Box<Children>),
}

#[derive(Clone, Debug)]
pub(crate) struct Children {
    /// The field of the child that names the parent.
    pub(crate) reference: Field,
    pub(crate) plan: Plan,
}

/// A cell, possibly of a parent's parent.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) hops: Vec<Field>,
    pub(crate) field: Field,
    pub(crate) polymorphic: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Sort {
    pub(crate) by: Access,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// A query ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) table: usize,
    pub(crate) node: Node,
    pub(crate) test: Option<Test>,
    pub(crate) order: Vec<Sort>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
    /// Rows that the user does not see.
    pub(crate) unshared: Arc<HashSet<Row>>,
    /// `SELECT COUNT()`.
    pub(crate) count_only: bool,
    pub(crate) aggregates: Option<super::aggregate::Aggregates>,
}

/// A query being planned.
pub(crate) struct Scope<'a> {
    pub(crate) viewer: Viewer<'a>,
    pub(crate) soql: &'a str,
    pub(crate) table: usize,
    alias: Option<&'a str>,
}

/// Plans a query over an object.
pub(crate) fn plan(viewer: Viewer<'_>, soql: &str, query: &Query) -> Result<Plan, Error> {
    let name = query.from.parts.join(".");
    let Some((table, _)) = viewer.object(&name) else {
        let message = format!(
            "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to \
             append the '__c' after the entity name. Please reference your WSDL or the describe call for the \
             appropriate names."
        );
        return Err(Error::at("INVALID_TYPE", soql, query.from.at, &message));
    };
    plan_table(viewer, soql, query, table)
}

fn plan_table(viewer: Viewer<'_>, soql: &str, query: &Query, table: usize) -> Result<Plan, Error> {
    let scope = Scope {
        viewer,
        soql,
        table,
        alias: query.alias.as_deref(),
    };
    if query.offset.is_some_and(|n| n > 2000) {
        return Err(Error::new(
            400,
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Maximum SOQL offset allowed is 2000",
        ));
    }
    let count_only = query.select == [Select::Count];
    let aggregates = super::aggregate::plan(&scope, query)?;
    let mut node = Node::default();
    if !count_only && aggregates.is_none() {
        for select in &query.select {
            scope.select(&mut node, select, query)?;
        }
    }
    let test = query.filter.as_ref().map(|f| compile(&scope, f)).transpose()?;
    let mut order = Vec::new();
    for by in query.order.iter().filter(|_| aggregates.is_none()) {
        let access = scope.access(&by.path)?;
        if !access.field.sortable {
            let message = format!("field '{}' can not be sorted in a query call", access.field.name);
            return Err(Error::at("INVALID_FIELD", soql, by.path.at, &message));
        }
        // By default, nulls are the smallest.
        let nulls_first = by.nulls_first.unwrap_or(!by.descending);
        order.push(Sort {
            by: access,
            descending: by.descending,
            nulls_first,
        });
    }
    let offset = query.offset.unwrap_or(0);
    Ok(Plan {
        table,
        node,
        test,
        order,
        limit: query.limit,
        offset,
        unshared: viewer.user.unshared.clone(),
        count_only,
        aggregates,
    })
}

impl<'a> Scope<'a> {
    pub(crate) fn error(&self, code: &'static str, at: usize, message: &str) -> Error {
        Error::at(code, self.soql, at, message)
    }

    fn no_column(&self, at: usize, field: &str, entity: &str) -> Error {
        let message = format!(
            "No such column '{field}' on entity '{entity}'. If you are attempting to use a custom field, be sure \
             to append the '__c' after the custom field name. Please reference your WSDL or the describe call \
             for the appropriate names."
        );
        self.error("INVALID_FIELD", at, &message)
    }

    /// The steps of a path, without the object's own name or alias before it.
    fn parts<'p>(&self, path: &'p Path) -> &'p [String] {
        let own = self.viewer.org.schema.objects[self.table].name;
        match path.parts.split_first() {
            Some((first, rest))
                if !rest.is_empty()
                    && (self.alias.is_some_and(|a| first.eq_ignore_ascii_case(a))
                        || first.eq_ignore_ascii_case(own) && self.relation(self.table, first).is_none()) =>
            {
                rest
            }
            _ => &path.parts,
        }
    }

    /// The reference field of a relationship name.
    fn relation(&self, table: usize, name: &str) -> Option<&'a Field> {
        self.viewer
            .fields(table)
            .find(|f| f.reference() && f.relationship.is_some_and(|r| r.eq_ignore_ascii_case(name)))
    }

    /// Resolves a dotted name.
    pub(crate) fn access(&self, path: &Path) -> Result<Access, Error> {
        let (hops, polymorphic, table, last) = self.walk(path)?;
        let field = self.leaf(path, table, polymorphic, last)?;
        Ok(Access {
            hops: hops.into_iter().cloned().collect(),
            field: field.clone(),
            polymorphic,
        })
    }

    /// The references on the path, whether the last is polymorphic, the final table, and the last name.
    fn walk<'p>(&self, path: &'p Path) -> Result<(Vec<&'a Field>, bool, usize, &'p str), Error> {
        let parts = self.parts(path);
        let (last, hops) = parts
            .split_last()
            .ok_or_else(|| self.error("MALFORMED_QUERY", path.at, ""))?;
        if hops.len() > 5 {
            let message = "SOQL query exceeded the maximum number of child-to-parent relationship levels: 5";
            return Err(Error::malformed(message));
        }
        let mut table = self.table;
        let mut fields = Vec::new();
        let mut polymorphic = false;
        for hop in hops {
            let reference = self.relation(table, hop).filter(|_| !polymorphic);
            let target = reference.and_then(|f| {
                f.refers_to
                    .last()
                    .and_then(|name| self.viewer.object(name))
                    .map(|(table, _)| table)
            });
            let (Some(reference), Some(target)) = (reference, target) else {
                let message = format!(
                    "Didn't understand relationship '{hop}' in field path. If you are attempting to use a custom \
                     relationship, be sure to append the '__r' after the custom relationship name. Please \
                     reference your WSDL or the describe call for the appropriate names."
                );
                return Err(self.error("INVALID_FIELD", path.at, &message));
            };
            fields.push(reference);
            polymorphic = reference.refers_to.len() > 1;
            table = target;
        }
        Ok((fields, polymorphic, table, last))
    }

    /// The field at the end of a path. After a polymorphic reference only the columns of the pseudo-object `Name` are
    /// available.
    fn leaf(&self, path: &Path, table: usize, polymorphic: bool, name: &str) -> Result<&'a Field, Error> {
        const NAME_COLUMNS: [&str; 9] = [
            "id",
            "name",
            "type",
            "firstname",
            "lastname",
            "email",
            "username",
            "alias",
            "title",
        ];
        if polymorphic && !NAME_COLUMNS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(self.no_column(path.at, name, "Name"));
        }
        let found = self.viewer.field(table, name).or_else(|| {
            let group = self.viewer.org.schema.find("Group")?.0;
            self.viewer.field(group, name).filter(|_| polymorphic)
        });
        let entity = self.viewer.org.schema.objects[table].name;
        found.ok_or_else(|| self.no_column(path.at, name, if polymorphic { "Name" } else { entity }))
    }

    fn select(&self, node: &mut Node, select: &Select, query: &Query) -> Result<(), Error> {
        match select {
            Select::Field(path) => self.put(node, path, Shown::Plain, None),
            Select::Shown { how, path, alias } => self.put(node, path, *how, alias.as_deref()),
            Select::Count => Err(self.error("MALFORMED_QUERY", query.from.at, "unexpected token: 'COUNT'")),
            Select::Aggregate { .. } => Ok(()),
            Select::Fields { which, at } => {
                if *which != Which::Standard && query.limit.is_none_or(|n| n > 200) {
                    let message = "The SOQL FIELDS function must have a LIMIT of at most 200";
                    return Err(self.error("MALFORMED_QUERY", *at, message));
                }
                for field in self.viewer.fields(self.table) {
                    let wanted = match which {
                        Which::All => true,
                        Which::Standard => !field.custom(),
                        Which::Custom => field.custom(),
                    };
                    if wanted && !node.items.iter().any(|(name, _)| *name == field.name) {
                        node.items.push((field.name.clone(), Item::Cell(field.clone())));
                    }
                }
                Ok(())
            }
            Select::Children(child) => self.children(node, child),
        }
    }

    fn put(&self, node: &mut Node, path: &Path, how: Shown, alias: Option<&str>) -> Result<(), Error> {
        let (hops, polymorphic, table, last) = self.walk(path)?;
        let field = self.leaf(path, table, polymorphic, last)?.clone();
        let mut at = node;
        for hop in &hops {
            let key = hop.relationship.unwrap_or_default();
            let found = at.items.iter().position(|(name, _)| name == key);
            let place = found.unwrap_or_else(|| {
                let polymorphic = hop.refers_to.len() > 1;
                let parent = Item::Parent {
                    reference: (*hop).clone(),
                    polymorphic,
                    node: Node::default(),
                };
                at.items.push((key.to_owned(), parent));
                at.items.len() - 1
            });
            match &mut at.items[place].1 {
                Item::Parent { node, .. } => at = node,
                _ => return Err(self.error("MALFORMED_QUERY", path.at, "duplicate alias")),
            }
        }
        let key = alias.map_or_else(|| field.name.clone(), str::to_owned);
        if at.items.iter().any(|(name, _)| *name == key) {
            let message = format!("duplicate field selected: {}", path.parts.join("."));
            return Err(self.error("INVALID_FIELD", path.at, &message));
        }
        let item = if how == Shown::Label {
            Item::Label(field)
        } else {
            Item::Cell(field)
        };
        at.items.push((key, item));
        Ok(())
    }

    fn children(&self, node: &mut Node, query: &Query) -> Result<(), Error> {
        let name = query.from.parts.last().map_or("", String::as_str);
        let object = &self.viewer.org.schema.objects[self.table];
        let link = object
            .children()
            .iter()
            .find(|c| c.name.is_some_and(|n| n.eq_ignore_ascii_case(name)))
            .and_then(|c| Some((c, self.viewer.object(c.object)?.0)))
            .and_then(|(c, table)| Some((c, table, self.viewer.field(table, c.field)?)));
        let Some((link, table, reference)) = link else {
            let message = format!(
                "Didn't understand relationship '{name}' in FROM part of query call. If you are attempting to use \
                 a custom relationship, be sure to append the '__r' after the custom relationship name. Please \
                 reference your WSDL or the describe call for the appropriate names."
            );
            return Err(self.error("INVALID_TYPE", query.from.at, &message));
        };
        let plan = plan_table(self.viewer, self.soql, query, table)?;
        if plan.count_only || plan.aggregates.is_some() {
            return Err(self.error(
                "MALFORMED_QUERY",
                query.from.at,
                "only root queries support aggregate expressions",
            ));
        }
        let children = Item::Children(Box::new(Children {
            reference: reference.clone(),
            plan,
        }));
        node.items.push((link.name.unwrap_or(name).to_owned(), children));
        Ok(())
    }
}
