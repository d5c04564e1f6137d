//! Search words: matched in name and domain, the last word as a prefix, longer words with one typing error allowed.

use crate::index::text::{plain, words};
use crate::index::{self, Expr, Test, TextTest, WordTest};

/// Minimum length, in characters, of a word that may have one typing error.
const FORGIVEN: usize = 5;

/// The words of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    words: Vec<String>,
}

impl Words {
    /// The words; `None` if there are none.
    pub(super) fn new(query: &str) -> Option<Self> {
        let plain = plain(query);
        let words: Vec<String> = words(&plain).map(str::to_owned).collect();
        (!words.is_empty()).then_some(Self { words })
    }

    fn all(&self, forgive: bool) -> Expr {
        let last = self.words.len() - 1;
        let tests = self.words.iter().enumerate().map(|(at, word)| WordTest {
            word: word.clone(),
            before: false,
            after: at == last,
            forgiving: forgive && word.chars().count() >= FORGIVEN,
        });
        Expr::Value(index::found_by(), Test::Words(tests.collect()))
    }

    /// The classes of matches, best first: the whole name, a prefix of the name, all words exact, all words with
    /// typing errors allowed.
    pub(super) fn classes(&self) -> [Expr; 4] {
        let text = self.words.join(" ");
        let named = |test| Expr::Value(index::found_by(), Test::Text(test));
        [
            named(TextTest::Is(text.clone())),
            named(TextTest::Like {
                before: false,
                text,
                after: true,
            }),
            self.all(false),
            self.all(true),
        ]
    }
}
