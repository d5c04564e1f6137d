//! The children of records that are gone are read by id, however many there are.

use super::*;

/// More than one statement adds.
const MANY: usize = 11_000;

fn contact(n: usize, account: &str) -> RecordRow {
    RecordRow {
        parents: vec![Parent {
            object: "Account".to_owned(),
            external_id: account.to_owned(),
        }],
        ..row(&format!("c{n:05}"), 1, 1)
    }
}

both! {
    async fn all_children_of_removed_records_are_wanted(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let accounts: Vec<String> = (0..250).map(|n| format!("a{n:03}")).collect();
        let rows = accounts.iter().map(|id| row(id, 1, 1)).collect();
        // One account has many contacts, most have one, some have none.
        let contacts = (0..MANY).map(|n| contact(n, accounts.get(n).filter(|_| n < 200).unwrap_or(&accounts[7])));
        let batches = vec![batch("Account", 1, rows), batch("Contact", 1, contacts.collect())];
        store.record_refresh(refresh(&one, 1, batches)).await.unwrap();
        let sync = store.sync_lease_next(&worker("w"), NOW, NOW + 5 * MINUTE).await.unwrap().unwrap();
        let gone = accounts[..150].iter().map(|id| RecordRow { deleted: true, ..row(id, 1, 1) });
        store.sync_commit(commit(&sync, vec![batch("Account", 2, gone.collect())])).await.unwrap();
        let wanted = store.sync_wanted(&sync, 2 * MANY as i64).await.unwrap();
        let expected = (0..MANY).filter(|n| !(150..200).contains(n));
        let expected: Vec<_> = expected.map(|n| ("Contact".to_owned(), format!("c{n:05}"))).collect();
        assert!(wanted == expected, "{} of {}", wanted.len(), expected.len());
    }
}
