//! What CRMs said about the fields of objects, for some minutes.
//!
//! A live read would otherwise ask for the fields before it asks for the company. An entry belongs to one account and one access
//! token: after another login, or with new credentials, it is not found. Listing the fields and logging in remove what
//! is remembered of the account; an answer to a question from before that is not stored any more.

use std::any::Any;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::proto::Identity;

/// How long an entry is used, in microseconds (FETCH-3).
const LIFE_US: i64 = 5 * 60 * 1_000_000;
/// The largest number of entries.
const MOST: usize = 1_000;
/// The largest number of bytes of all entries.
const MOST_BYTES: usize = 16 << 20;

/// The entries of all accounts of an instance.
#[derive(Default)]
pub(crate) struct Memory {
    /// Hashes with a key of this instance: tokens are not stored.
    hasher: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// Grows whenever something is forgotten.
    generation: u64,
}

struct Entry {
    account: u64,
    login: u64,
    object: String,
    asked_us: i64,
    bytes: usize,
    value: Arc<dyn Any + Send + Sync>,
}

/// An account with its current access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    account: u64,
    login: u64,
}

/// When a question was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    now_us: i64,
    generation: u64,
}

impl Memory {
    /// The owner of entries; None for an account that is not known yet.
    pub(crate) fn whose(&self, identity: &Identity, base_url: &str, token: &str) -> Option<Whose> {
        if identity.organization_id.is_empty() {
            return None;
        }
        let account = (&identity.organization_id, &identity.user_id);
        Some(Whose {
            account: self.hasher.hash_one(account),
            login: self.hasher.hash_one((account, base_url, token)),
        })
    }

    /// Before a question to the CRM.
    pub(crate) fn ask(&self, now_us: i64) -> Asked {
        let generation = self.kept().generation;
        Asked { now_us, generation }
    }

    /// What is remembered of an object.
    pub(crate) fn find(&self, whose: Whose, object: &str, now_us: i64) -> Option<Arc<dyn Any + Send + Sync>> {
        let kept = self.kept();
        let found = kept.entries.iter().find(|entry| entry.is(whose, object))?;
        // The clock may have been set back.
        let fresh = (0..LIFE_US).contains(&now_us.saturating_sub(found.asked_us));
        fresh.then(|| Arc::clone(&found.value))
    }

    /// Remembers an answer of `bytes` to a question.
    pub(crate) fn put(
        &self,
        whose: Whose,
        object: &str,
        asked: Asked,
        bytes: usize,
        value: Arc<dyn Any + Send + Sync>,
    ) {
        let mut kept = self.kept();
        if kept.generation != asked.generation || bytes > MOST_BYTES {
            return;
        }
        kept.entries
            .retain(|entry| !entry.is(whose, object) && asked.now_us - entry.asked_us < LIFE_US);
        kept.entries.push_back(Entry {
            account: whose.account,
            login: whose.login,
            object: object.to_owned(),
            asked_us: asked.now_us,
            bytes,
            value,
        });
        let mut all: usize = kept.entries.iter().map(|entry| entry.bytes).sum();
        while all > MOST_BYTES || kept.entries.len() > MOST {
            all -= kept.entries.pop_front().map_or(all, |entry| entry.bytes);
        }
    }

    /// Removes what is remembered of an account, with any token.
    pub(crate) fn forget(&self, whose: Whose) {
        let mut kept = self.kept();
        kept.generation += 1;
        kept.entries.retain(|entry| entry.account != whose.account);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is(&self, whose: Whose, object: &str) -> bool {
        (self.account, self.login) == (whose.account, whose.login) && self.object == object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn whose(memory: &Memory, user: &str, token: &str) -> Whose {
        let identity = Identity {
            organization_id: "org".to_owned(),
            user_id: user.to_owned(),
            ..Identity::default()
        };
        memory.whose(&identity, "https://crm.example", token).unwrap()
    }

    fn number(memory: &Memory, whose: Whose, now_us: i64) -> Option<u32> {
        let found = memory.find(whose, "people", now_us)?;
        found.downcast::<u32>().ok().map(|number| *number)
    }

    #[test]
    fn an_entry_is_of_one_login_and_of_some_minutes() {
        let memory = Memory::default();
        let ann = whose(&memory, "ann", "t1");
        memory.put(ann, "people", memory.ask(NOW), 10, Arc::new(1_u32));
        assert_eq!(number(&memory, ann, NOW + LIFE_US - 1), Some(1));
        assert_eq!(number(&memory, ann, NOW + LIFE_US), None);
        assert_eq!(number(&memory, ann, NOW - 1), None);
        assert_eq!(number(&memory, whose(&memory, "ann", "t2"), NOW), None);
        assert_eq!(number(&memory, whose(&memory, "bob", "t1"), NOW), None);
        assert!(memory.whose(&Identity::default(), "", "t").is_none());
    }

    #[test]
    fn what_was_asked_before_a_listing_is_not_kept_after_it() {
        let memory = Memory::default();
        let (ann, bob) = (whose(&memory, "ann", "t1"), whose(&memory, "bob", "t1"));
        for one in [ann, bob] {
            memory.put(one, "people", memory.ask(NOW), 10, Arc::new(1_u32));
        }
        let before = memory.ask(NOW);
        // With any token of the account.
        memory.forget(whose(&memory, "ann", "another"));
        assert_eq!(
            (number(&memory, ann, NOW), number(&memory, bob, NOW)),
            (None, Some(1))
        );
        memory.put(ann, "people", before, 10, Arc::new(2_u32));
        assert_eq!(number(&memory, ann, NOW), None);
        memory.put(ann, "people", memory.ask(NOW), 10, Arc::new(3_u32));
        assert_eq!(number(&memory, ann, NOW), Some(3));
    }

    #[test]
    fn it_has_an_end() {
        let memory = Memory::default();
        let ann = whose(&memory, "ann", "t");
        let half = MOST_BYTES / 2;
        memory.put(ann, "huge", memory.ask(NOW), MOST_BYTES + 1, Arc::new(0_u32));
        for object in ["people", "deals", "notes"] {
            memory.put(ann, object, memory.ask(NOW), half, Arc::new(1_u32));
        }
        let there = |object: &str| memory.find(ann, object, NOW).is_some();
        assert_eq!(
            ["huge", "people", "deals", "notes"].map(there),
            [false, false, true, true]
        );
        for number in 0..2 * MOST {
            memory.put(ann, &number.to_string(), memory.ask(NOW), 1, Arc::new(1_u32));
        }
        assert_eq!(memory.kept().entries.len(), MOST);
    }
}
