//! Conditions on picklists: they are met by the value of an entry or by its label.

use std::collections::BTreeSet;

use crate::index::text::fold;
use crate::index::{Expr, Test, TextTest};
use crate::picklist::Picklist;

/// The records whose value at this path, or the label of it, passes the test.
///
/// In comparisons by order the label stands for the value, as in sorting: an id says nothing about the order.
pub(in crate::query) fn labelled(path: &str, test: Test, picklist: &Picklist) -> Expr {
    let one_of = |values: BTreeSet<String>| Expr::Value(path.to_owned(), Test::Text(TextTest::OneOf(values)));
    let values = |passes: &dyn Fn(&str) -> bool| {
        let entries = picklist.entries().filter(|(_, label)| passes(&fold(label)));
        entries.map(|(value, _)| fold(value)).collect::<BTreeSet<_>>()
    };
    let by_label = values(&|label| match &test {
        Test::Text(test) => test.passes(label),
        Test::Words(words) => words.iter().all(|word| word.passes_in(label)),
        Test::Set | Test::Int(..) | Test::Number(..) => false,
    });
    let ordered = matches!(test, Test::Text(TextTest::Compare(..)));
    let own = Expr::Value(path.to_owned(), test);
    if ordered && !picklist.is_empty() {
        let unlisted = Expr::AndNot(Box::new(own), Box::new(one_of(values(&|_| true))));
        return Expr::Or(vec![one_of(by_label), unlisted]);
    }
    if by_label.is_empty() {
        return own;
    }
    Expr::Or(vec![own, one_of(by_label)])
}
