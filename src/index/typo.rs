//! Matches words with one typing error.

use tantivy_fst::Automaton;

/// Automaton for words with one typing error. It keeps rows of an edit distance matrix in which a swap of two letters
/// counts as one error.
pub(super) struct Typo {
    pub(super) word: Vec<char>,
    /// A matching prefix is enough.
    pub(super) prefix: bool,
}

/// The automaton state: the last two rows, the last letter, and the bytes of an incomplete UTF-8 character.
#[derive(Clone)]
pub(super) struct Row {
    row: Vec<u8>,
    before: Vec<u8>,
    last: Option<char>,
    bytes: ([u8; 4], u8),
    /// In prefix mode: a matching prefix was found.
    done: bool,
}

impl Typo {
    fn start(&self) -> Row {
        Row {
            row: (0..=self.word.len()).map(|at| at.min(3) as u8).collect(),
            before: Vec::new(),
            last: None,
            bytes: ([0; 4], 0),
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
            bytes: ([0; 4], 0),
            done,
        }
    }

    fn is_match(state: &Row) -> bool {
        state.done || (state.bytes.1 == 0 && state.row.last().is_some_and(|last| *last <= 1))
    }

    pub(super) fn passes(&self, word: &str) -> bool {
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

    fn accept(&self, state: &Row, byte: u8) -> Row {
        if state.done {
            return state.clone();
        }
        let (mut bytes, mut held) = state.bytes;
        if usize::from(held) < 4 {
            bytes[usize::from(held)] = byte;
            held += 1;
        }
        match std::str::from_utf8(&bytes[..usize::from(held)]) {
            Ok(text) => match text.chars().next() {
                Some(c) => self.step(state, c),
                None => state.clone(),
            },
            Err(_) => Row {
                bytes: (bytes, held),
                ..state.clone()
            },
        }
    }
}

/// Automaton for terms that consist of this path and a matching word.
pub(super) struct AfterHead {
    pub(super) head: Vec<u8>,
    pub(super) typo: Typo,
}

#[derive(Clone)]
pub(super) enum At {
    Head(usize),
    Word(Row),
    Nowhere,
}

impl Automaton for AfterHead {
    type State = At;

    fn start(&self) -> At {
        At::Head(0)
    }

    fn is_match(&self, state: &At) -> bool {
        matches!(state, At::Word(row) if Typo::is_match(row))
    }

    fn can_match(&self, state: &At) -> bool {
        match state {
            At::Head(_) => true,
            At::Word(row) => Typo::can_match(row),
            At::Nowhere => false,
        }
    }

    fn accept(&self, state: &At, byte: u8) -> At {
        match state {
            At::Head(at) if self.head.get(*at) == Some(&byte) => {
                if at + 1 == self.head.len() {
                    At::Word(self.typo.start())
                } else {
                    At::Head(at + 1)
                }
            }
            At::Word(row) => At::Word(self.typo.accept(row, byte)),
            _ => At::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::index::WordTest;

    #[test]
    fn one_mistyped_letter() {
        let test = |word: &str, after| WordTest {
            word: word.to_owned(),
            before: false,
            after,
            forgiving: true,
        };
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
}
