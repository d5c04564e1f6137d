//! One company, live.

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn a_company_is_one_call_and_reads_as_in_bulk() {
    let sim = Sim::start(&["--accounts", "100"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    let (store, _) = read_all(&connector, &connection, &selection).await;
    let id = store.company_with("Account", &RELATED, 1).to_owned();
    sim.forget().await;
    // Users often enter the short form.
    let fetched = fetch(&connector, &connection, &selection, &[&id[..15]], 0)
        .await
        .unwrap();
    assert_eq!(fetched.api_usage.unwrap().calls, 1);
    assert!(fetched.read_time_us > 0);
    let calls = sim.requests("composite").await;
    assert_eq!((calls.len(), calls[0]["inner"].as_array().unwrap().len()), (1, 5));
    assert_only_read(&sim).await;
    for result in &fetched.objects {
        assert!(
            result.error.is_none() && !result.more && result.missing_fields.is_empty(),
            "{:?}",
            result.error
        );
        let bulk: Vec<&Record> = store
            .of(&result.object)
            .filter(|r| r.external_id == id || !r.deleted && r.parents.iter().any(|p| p.external_id == id))
            .collect();
        assert_eq!(
            result.records.iter().collect::<Vec<_>>(),
            bulk,
            "{}",
            result.object
        );
        assert!(!bulk.is_empty());
    }
}

#[tokio::test]
async fn one_object_in_trouble_spares_the_others() {
    let sim = Sim::start(&["--accounts", "100"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    let (store, _) = read_all(&connector, &connection, &selection).await;
    let id = store.company_with("Account", &RELATED, 1).to_owned();
    sim.control("/fields/hide", json!({"object": "Contract"})).await;
    sim.control("/fields/hide", json!({"object": "Contact", "field": "Email"}))
        .await;
    sim.control("/fields/hide", json!({"object": "Contact", "field": "Phone"}))
        .await;
    sim.control("/fields/hide", json!({"object": "Case", "field": "AccountId"}))
        .await;
    sim.control("/fields/hide", json!({"object": "Account", "field": "Website"}))
        .await;
    let fetched = fetch(&connector, &connection, &selection, &[&id], 0)
        .await
        .unwrap();
    assert_eq!(
        fetched.api_usage.unwrap().calls,
        3,
        "all missing fields are found by one describe"
    );
    let of = |object: &str| {
        fetched
            .objects
            .iter()
            .find(|result| result.object == object)
            .unwrap()
    };
    assert_eq!(
        of("Contract").error.as_ref().unwrap().what(),
        ErrorKind::ObjectGone
    );
    assert_eq!(of("Case").error.as_ref().unwrap().what(), ErrorKind::Forbidden);
    let contact = of("Contact");
    assert!(contact.error.is_none() && !contact.records.is_empty());
    let mut missing = contact.missing_fields.clone();
    missing.sort();
    assert_eq!(missing, ["Email", "Phone"]);
    assert_eq!(of("Account").missing_fields, ["Website"]);
    assert_eq!(of("Account").records.len(), 1);
    assert!(of("Opportunity").error.is_none());
}

#[tokio::test]
async fn companies_that_are_gone_say_so() {
    let sim = Sim::start(&["--accounts", "60"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select(
        &list_fields(&connector, &connection).await,
        &[("Account", &["Name"]), ("Contact", &["LastName"])],
    );
    let (store, _) = read_all(&connector, &connection, &selection).await;
    let live: Vec<&str> = store
        .of("Account")
        .filter(|a| !a.deleted)
        .map(|a| a.external_id.as_str())
        .collect();
    let [deleted, winner, loser, purged, alive, ..] = live[..] else {
        panic!("too few accounts")
    };
    sim.control("/records/delete", json!({"id": deleted})).await;
    sim.control("/records/merge", json!({"winner": winner, "loser": loser}))
        .await;
    sim.control("/records/purge", json!({"id": purged})).await;
    sim.forget().await;
    let ids = [deleted, loser, purged, alive];
    let fetched = fetch(&connector, &connection, &selection, &ids, 0).await.unwrap();
    assert_eq!(fetched.api_usage.unwrap().calls, 4, "one call a company");
    let said: Vec<(&str, bool, &str)> = fetched.objects[0]
        .records
        .iter()
        .map(|r| (r.external_id.as_str(), r.deleted, r.merged_into.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (deleted, true, ""),
            (loser, true, winner),
            (purged, true, ""),
            (alive, false, "")
        ]
    );
    let error = fetch(&connector, &connection, &selection, &["001' OR Name != '"], 0)
        .await
        .unwrap_err();
    assert_eq!(error.what(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn many_related_records_are_cut_and_wide_selections_split() {
    let sim = Sim::start(&["--accounts", "40", "--skew", "2500"]);
    let connector = sim.connector_with(&[("query_budget", "900")]);
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    let contacts = sim.truth("Contact", ADMIN).await;
    let mut by_account = std::collections::HashMap::<&str, Vec<&str>>::new();
    for contact in contacts.iter().filter(|c| c["IsDeleted"] != true) {
        if let Some(account) = contact["AccountId"].as_str() {
            by_account
                .entry(account)
                .or_default()
                .push(contact["Id"].as_str().unwrap());
        }
    }
    let (account, contacts) = by_account
        .iter()
        .max_by_key(|(_, contacts)| contacts.len())
        .unwrap();
    assert!(contacts.len() > 2_000);
    for limit in [3, 5_000] {
        let fetched = fetch(&connector, &connection, &selection, &[account], limit)
            .await
            .unwrap();
        let result = fetched
            .objects
            .iter()
            .find(|result| result.object == "Contact")
            .unwrap();
        assert!(result.more && result.error.is_none(), "{:?}", result.error);
        let ids: Vec<&str> = result.records.iter().map(|r| r.external_id.as_str()).collect();
        assert_eq!(ids, contacts[..(limit as usize).min(1_999)], "the first by id");
        let fields = select(
            &list_fields(&connector, &connection).await,
            &[("Contact", &["*"])],
        )[0]
        .fields
        .len();
        let set = result.records[0].payload.len();
        assert!(set > fields, "payloads are whole");
    }
}

#[tokio::test]
async fn an_expired_session_is_for_the_host() {
    let sim = Sim::start(&["--accounts", "20"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select(
        &list_fields(&connector, &connection).await,
        &[("Account", &["Name"])],
    );
    sim.control("/sessions/expire", json!({})).await;
    let error = fetch(&connector, &connection, &selection, &["001000000000001AAA"], 0)
        .await
        .unwrap_err();
    assert_eq!(error.what(), ErrorKind::CredentialsExpired);
}
