//! Matches words with one typing error.

use std::ops::ControlFlow;

/// A word with one typing error allowed. It is compared by rows of an edit distance matrix, in which a swap of two
/// letters counts as one error.
pub(crate) struct Typo {
    pub(crate) word: Vec<char>,
    /// A matching prefix is enough.
    pub(crate) prefix: bool,
}

/// The state after some letters: the last two rows and the last letter.
#[derive(Clone)]
struct Row {
    row: Vec<u8>,
    before: Vec<u8>,
    last: Option<char>,
    /// In prefix mode: a matching prefix was found.
    done: bool,
}

/// Sorted terms.
pub(crate) trait Terms {
    /// How many.
    fn len(&self) -> u32;
    /// One of them.
    fn term(&self, at: u32) -> &str;
}

impl Typo {
    fn start(&self) -> Row {
        Row {
            row: (0..=self.word.len()).map(|at| at.min(3) as u8).collect(),
            before: Vec::new(),
            last: None,
            done: false,
        }
    }

    fn step(&self, state: &Row, c: char) -> Row {
        if state.done {
            return state.clone();
        }
        let row = &state.row;
        let mut next = Vec::with_capacity(row.len());
        next.push((row[0] + 1).min(3));
        for (at, letter) in self.word.iter().enumerate() {
            let mut least = (row[at] + u8::from(*letter != c))
                .min(row[at + 1] + 1)
                .min(next[at] + 1);
            if at > 0 && !state.before.is_empty() && Some(*letter) == state.last && self.word[at - 1] == c {
                least = least.min(state.before[at - 1] + 1);
            }
            next.push(least.min(3));
        }
        let done = self.prefix && next.last().is_some_and(|last| *last <= 1);
        Row {
            before: row.clone(),
            row: next,
            last: Some(c),
            done,
        }
    }

    fn is_match(state: &Row) -> bool {
        state.done || state.row.last().is_some_and(|last| *last <= 1)
    }

    pub(crate) fn passes(&self, word: &str) -> bool {
        let end = word.chars().fold(self.start(), |state, c| self.step(&state, c));
        Self::is_match(&end)
    }

    fn can_match(state: &Row) -> bool {
        // A swap can still reduce a row in which all distances are 2.
        state.done
            || state
                .row
                .iter()
                .chain(&state.before)
                .any(|distance| *distance <= 1)
    }

    /// Calls `each` with the index of each matching term. Terms that begin like one that cannot match any more are passed
    /// over together.
    pub(crate) fn find<B>(
        &self,
        terms: &impl Terms,
        mut each: impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        // The states after each letter of `prefix`, the first one before all letters.
        let mut states = vec![self.start()];
        let mut prefix: Vec<char> = Vec::new();
        let mut at = 0;
        while at < terms.len() {
            let term = terms.term(at);
            let common = term.chars().zip(&prefix).take_while(|(a, b)| a == *b).count();
            prefix.truncate(common);
            states.truncate(common + 1);
            let mut dead = None;
            for (offset, c) in term.char_indices().skip(common) {
                let Some(state) = states.last() else { break };
                let next = self.step(state, c);
                if !Self::can_match(&next) {
                    dead = Some(offset + c.len_utf8());
                    break;
                }
                states.push(next);
                prefix.push(c);
            }
            if let Some(end) = dead {
                at = after(terms, at, &term.as_bytes()[..end]);
                continue;
            }
            if states.last().is_some_and(Self::is_match) {
                each(at)?;
            }
            at += 1;
        }
        ControlFlow::Continue(())
    }
}

/// The index of the first term behind this one that does not begin with these bytes.
fn after(terms: &impl Terms, at: u32, head: &[u8]) -> u32 {
    let begins = |at: u32| terms.term(at).as_bytes().starts_with(head);
    // Most heads have few terms: the steps double.
    let (mut from, mut step) = (at, 1);
    while from + step < terms.len() && begins(from + step) {
        from += step;
        step *= 2;
    }
    let mut to = (from + step).min(terms.len());
    from += 1;
    while from < to {
        let middle = from + (to - from) / 2;
        if begins(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::WordTest;
    use proptest::prelude::*;

    impl Terms for Vec<String> {
        fn len(&self) -> u32 {
            self.as_slice().len() as u32
        }

        fn term(&self, at: u32) -> &str {
            &self[at as usize]
        }
    }

    fn test(word: &str, after: bool) -> WordTest {
        WordTest {
            word: word.to_owned(),
            before: false,
            after,
            forgiving: true,
        }
    }

    #[test]
    fn one_mistyped_letter() {
        for (word, found) in [
            ("market", true),
            ("markets", true),
            ("marke", true),
            ("narket", true),
            ("makret", true),
            ("maket", true),
            ("mraekt", false),
            ("mar", false),
            ("bücher", false),
        ] {
            assert_eq!(test("market", false).passes(word), found, "{word}");
        }
        assert!(test("bücher", false).passes("bucher"));
        assert!(test("marke", true).passes("narketing"));
        assert!(!test("marke", true).passes("shop"));
    }

    proptest! {
        #[test]
        fn sorted_terms_are_found_as_one_by_one(
            mut terms in proptest::collection::vec("[ab\u{e9}c]{0,7}", 0..60), word in "[abc\u{e9}]{1,6}", prefix: bool,
        ) {
            terms.sort();
            terms.dedup();
            let typo = test(&word, prefix).automaton();
            let mut found = Vec::new();
            let _ = typo.find(&terms, |at| { found.push(at); ControlFlow::<()>::Continue(()) });
            let slow: Vec<u32> = (0..terms.as_slice().len() as u32).filter(|at| typo.passes(&terms[*at as usize])).collect();
            prop_assert_eq!(found, slow);
        }
    }
}
