//! The hash of a record: everything that came with it but times.
//!
//! It is XXH3: a hash that is stored is compared with one of the same record only, and nobody gains by two texts with one hash, so
//! it need not be cryptographic. The first versions stored BLAKE3, which took four tenths of the time of checking a row. A row
//! whose stored hash is not this one is compared with the first one too: rows of earlier versions count as unchanged as before,
//! and none is written again because of another hash.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use super::{Parent, RecordRow};

/// The hash of a record. Rows with the hash that is stored are not written. `parents` are sorted, each once.
///
/// The identity rules are not part of it: when they change, src/reidentify.rs moves the stored rows itself. The version that
/// was once part of it stays as a constant, so that unchanged rows keep their hash and are not written again.
#[must_use]
pub fn row_hash(payload: &str, name: &str, homepage: &str, is_company: bool, parents: &[Parent]) -> i64 {
    let mut hasher = XxHash3_64::new();
    each_part(payload, name, homepage, is_company, parents, |part| {
        hasher.write(part)
    });
    hasher.finish().cast_signed()
}

/// The hash that the first versions stored.
pub(super) fn first_hash(row: &RecordRow) -> i64 {
    let mut hasher = blake3::Hasher::new();
    let homepage = row.homepage.as_deref().unwrap_or_default();
    let is_company = row.company_id.is_some();
    each_part(
        &row.payload,
        &row.name,
        homepage,
        is_company,
        &row.parents,
        |part| {
            hasher.update(part);
        },
    );
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    i64::from_le_bytes(*first)
}

/// The bytes that both hashes are of.
fn each_part(
    payload: &str,
    name: &str,
    homepage: &str,
    is_company: bool,
    parents: &[Parent],
    mut take: impl FnMut(&[u8]),
) {
    let mut part = |text: &str| {
        take(&(text.len() as u64).to_le_bytes());
        take(text.as_bytes());
    };
    part(payload);
    part(name);
    part(homepage);
    part(if is_company { "1:psl-2.1.247" } else { "" });
    for parent in parents {
        part(&parent.object);
        part(&parent.external_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(payload: &str) -> RecordRow {
        RecordRow {
            external_id: "3".into(),
            company_id: Some(crate::domain::CompanyId::of_domain("stone-three.com")),
            name: "Company".into(),
            homepage: Some("https://stone-three.com/about".into()),
            payload: payload.into(),
            hash: 0,
            modified_us: 0,
            read_us: 0,
            deleted: false,
            merged_into: None,
            parents: Vec::new(),
        }
    }

    #[test]
    fn stored_hashes_are_the_same_in_every_version() {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for text in ["{}", "Company", "https://stone-three.com/about", "1:psl-2.1.247"] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let first = hasher.finalize().as_bytes()[..8].try_into().unwrap_or_default();
        assert_eq!(first_hash(&row("{}")), i64::from_le_bytes(first));
        let now = row_hash("{}", "Company", "https://stone-three.com/about", true, &[]);
        assert_eq!(now, XxHash3_64::oneshot(&bytes).cast_signed());
        // XXH3 of nothing, as its specification has it.
        assert_eq!(XxHash3_64::oneshot(b""), 0x2d06_8005_38d3_94c2);
        assert_ne!(first_hash(&row("{}")), first_hash(&row(r#"{"a":1}"#)));
    }
}
