//! Conditions on texts: whole texts with `*` at their ends, and words.

use super::form::Condition;
use crate::index::text::{self, fold};
use crate::index::{Test, TextTest, WordTest};
use crate::query::ast::Value;
use crate::query::problem::Problem;

type Result<T> = std::result::Result<T, Problem>;

/// A text to compare with, without the `*` at its ends.
pub(super) struct Pattern {
    pub(super) before: bool,
    pub(super) text: String,
    pub(super) after: bool,
}

/// A value without quotes is read as text.
pub(super) fn pattern(condition: &Condition<'_>) -> Result<Pattern> {
    let text = match condition.value {
        Value::Text { before, text, after } => {
            return Ok(Pattern {
                before: *before,
                text: text.clone(),
                after: *after,
            });
        }
        Value::Relative { offset: Some(_), .. } => {
            return Err(condition.of_value("is a date, but the field is text: write the text in quotes"));
        }
        _ => condition.value_at.token.clone(),
    };
    Ok(Pattern {
        before: false,
        text,
        after: false,
    })
}

impl Pattern {
    /// The text with its stars: in comparisons by order, a star is a literal character.
    pub(super) fn whole(&self) -> String {
        let star = |is| if is { "*" } else { "" };
        format!("{}{}{}", star(self.before), self.text, star(self.after))
    }

    pub(super) fn like(&self) -> Test {
        let text = fold(&self.text);
        match (self.before, self.after) {
            (false, false) => Test::Text(TextTest::Is(text)),
            _ if text.is_empty() => Test::Set,
            (before, after) => Test::Text(TextTest::Like { before, text, after }),
        }
    }

    /// Texts that have the whole text at their beginning or end, or anywhere; a star is a literal character.
    pub(super) fn within(&self, before: bool, after: bool) -> Test {
        let text = fold(&self.whole());
        if text.is_empty() {
            return Test::Set;
        }
        Test::Text(TextTest::Like { before, text, after })
    }

    pub(super) fn words(&self, condition: &Condition<'_>) -> Result<Test> {
        let folded = fold(&self.text);
        let words: Vec<&str> = text::words(&folded).collect();
        if words.is_empty() && folded.is_empty() && (self.before || self.after) {
            return Ok(Test::Set);
        }
        if words.is_empty() {
            return Err(condition.of_value("contains no word"));
        }
        let last = words.len() - 1;
        let open_before = self.before && folded.starts_with(char::is_alphanumeric);
        let open_after = self.after && folded.ends_with(char::is_alphanumeric);
        let tests = words.into_iter().enumerate().map(|(at, word)| WordTest {
            word: word.to_owned(),
            before: at == 0 && open_before,
            after: at == last && open_after,
            forgiving: false,
        });
        Ok(Test::Words(tests.collect()))
    }
}
