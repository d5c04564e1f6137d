//! The filter as a condition on records of one object: what the filter says about this object must hold for the record
//! itself; everything else for its company.

use tether_columns::{Expr, RowTest};

use super::super::check::Node;
use super::super::problem::Error;
use super::super::sets::Search;
use crate::index;

/// The test of the records of an object of a source.
pub(super) fn of(
    filter: Option<&Node>,
    source: usize,
    object: &str,
    search: &Search<'_>,
) -> Result<RowTest, Error> {
    let Some(node) = filter else {
        return Ok(RowTest::And(Vec::new()));
    };
    // The companies of records that are counted match the filter as a whole: conditions on companies that all of them meet
    // need no test.
    let parts = match node {
        Node::And(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let about = parts.iter().filter(|part| concerns(part, source, object));
    let tests = about.map(|part| test(part, source, object, search));
    Ok(RowTest::And(tests.collect::<Result<_, _>>()?))
}

/// Whether a condition is on records of this object.
fn concerns(node: &Node, source: usize, object: &str) -> bool {
    match node {
        Node::And(list) | Node::Or(list) => list.iter().any(|one| concerns(one, source, object)),
        Node::Not(one) => concerns(one, source, object),
        Node::Records(of, expr) => *of == source && is_about(expr, object),
        Node::Shown(_) | Node::Tracked(_) | Node::Fed(_) | Node::Measured(..) => false,
    }
}

fn is_about(expr: &Expr, object: &str) -> bool {
    // The path of the object with empty key and part is the beginning of the paths of its values.
    let whole = index::path(object, "", "");
    let head = whole.trim_end_matches('/');
    match expr {
        Expr::All(of) => of == object,
        Expr::And(list) | Expr::Or(list) => list.iter().any(|one| is_about(one, object)),
        Expr::AndNot(from, without) => is_about(from, object) || is_about(without, object),
        Expr::Value(path, _) => path.split('/').next() == Some(head),
    }
}

fn test(node: &Node, source: usize, object: &str, search: &Search<'_>) -> Result<RowTest, Error> {
    let list = |list: &[Node]| {
        list.iter()
            .map(|one| test(one, source, object, search))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match node {
        Node::And(all) => RowTest::And(list(all)?),
        Node::Or(any) => RowTest::Or(list(any)?),
        Node::Not(one) => RowTest::Not(Box::new(test(one, source, object, search)?)),
        Node::Records(of, expr) if *of == source && is_about(expr, object) => RowTest::Record(expr.clone()),
        about_companies => RowTest::Company(search.node(about_companies)?),
    })
}
