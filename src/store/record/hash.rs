//! The hash of a record: everything that came with it but times.

use super::Parent;

/// The hash of a record. Rows with the hash that is stored are not written. `parents` are sorted, each once.
///
/// The identity rules are not part of it: when they change, src/reidentify.rs moves the stored rows itself. The version that
/// was once part of it stays as a constant, so that unchanged rows keep their hash and are not written again.
#[must_use]
pub fn row_hash(payload: &str, name: &str, homepage: &str, is_company: bool, parents: &[Parent]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    let mut part = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    part(payload);
    part(name);
    part(homepage);
    part(if is_company { "1:psl-2.1.247" } else { "" });
    for parent in parents {
        part(&parent.object);
        part(&parent.external_id);
    }
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    i64::from_le_bytes(*first)
}
