//! Tests of `page.rs`.

use super::*;
use crate::objects::{OBJECTS, named};
use tether_connector_sdk::proto::{FieldType, SelectedField};

fn plan(object: &str, fields: &[(&str, FieldType)]) -> Plan {
    let fields: Vec<SelectedField> = fields
        .iter()
        .map(|(key, kind)| SelectedField {
            key: (*key).to_owned(),
            r#type: (*kind).into(),
            ..SelectedField::default()
        })
        .collect();
    Plan::new(named(object).unwrap_or(&OBJECTS[0]), &fields, None, 7_000).0
}

#[test]
fn a_list_becomes_records() {
    let plan = plan(
        "companies",
        &[
            ("industry", FieldType::Picklist),
            ("revenue", FieldType::Currency),
            ("gone", FieldType::Text),
        ],
    );
    let page = read(
        &plan,
        r#"{"results":[
        {"id":"9999999800","properties":{"name":"Acme \u0026 Co","domain":"acme.com","website":null,"industry":"BANKING",
          "revenue":"1.0E6","hs_merged_object_ids":"7;8;x","hs_object_id":"9999999800"},
          "createdAt":"2020-01-01T00:00:00Z","updatedAt":"2024-02-29T10:00:00.125Z","archived":false,"surprise":{"a":[1]}},
        {"id":"9999999804","properties":{"name":null,"domain":"b.com","website":"https://b.com/","industry":null,"revenue":null},
          "archived":true,"archivedAt":"2024-03-01T00:00:00Z","updatedAt":"2023-03-01T00:00:00Z",
          "associations":{"contacts":{"results":[{"id":"51","type":"a"},{"id":"51","type":"b"},{"id":"101"}],
            "paging":{"next":{"after":"x","link":"y"}}}}}],
        "paging":{"next":{"after":"9999999808","link":"https://api.hubapi.com/"}}}"#,
    );
    let page = page.unwrap_or_else(|e| panic!("{e}"));
    let [a, b] = &page.rows[..] else {
        panic!("two rows")
    };
    assert_eq!(
        a.record.payload,
        &br#"{"industry":"BANKING","revenue":"1000000"}"#[..]
    );
    assert_eq!(
        (a.record.display_name.as_str(), a.record.homepage.as_str()),
        ("Acme & Co", "acme.com")
    );
    assert_eq!(
        (a.record.modified_us, &a.merged[..]),
        (1_709_200_800_125_000, &["7".to_owned(), "8".to_owned()][..])
    );
    assert!(b.record.deleted && b.record.modified_us == 1_709_251_200_000_000);
    assert_eq!(
        (b.record.display_name.as_str(), b.record.homepage.as_str()),
        ("b.com", "b.com")
    );
    assert_eq!(b.record.homepages, ["b.com", "https://b.com/"]);
    let (ends, all) = &b.linked["contacts"];
    assert_eq!(
        (ends.iter().map(String::as_str).collect::<Vec<_>>(), *all),
        (vec!["101", "51"], false)
    );
    assert_eq!(
        (page.next.as_deref(), &page.unmentioned[..]),
        (Some("9999999808"), &["gone".to_owned()][..])
    );
}

#[test]
fn a_company_without_a_name_has_one() {
    let plan = plan("companies", &[]);
    let text = r#"{"id":"51","properties":{"name":null,"domain":""},"updatedAt":"2024-01-01T00:00:00Z"}"#;
    let page = read_one(&plan, text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(page.rows[0].record.display_name, "Company 51");
}

#[test]
fn names_are_put_together() {
    let plan = plan("contacts", &[]);
    let name = |properties: &str| {
        let text = format!(r#"{{"id":"51","properties":{properties},"updatedAt":"2024-01-01T00:00:00Z"}}"#);
        read_one(&plan, &text)
            .map(|page| page.rows[0].record.display_name.clone())
            .unwrap_or_default()
    };
    assert_eq!(
        name(r#"{"firstname":"Ada","lastname":"Adams","email":"a@x.org"}"#),
        "Ada Adams"
    );
    assert_eq!(name(r#"{"firstname":null,"lastname":"Adams"}"#), "Adams");
    assert_eq!(
        name(r#"{"firstname":"","lastname":null,"email":"a@x.org"}"#),
        "a@x.org"
    );
    assert_eq!(name("{}"), "");
}

#[test]
fn a_batch_says_which_records_there_are_not_and_which_it_failed_at() {
    let plan = plan("companies", &[]);
    let batch = |errors: &str, status: &str| {
        let text = format!(
            r#"{{"status":"{status}","results":[{{"id":"51","properties":{{}},"url":"https://app.hubspot.com/x"}}],"errors":{errors}}}"#
        );
        let (page, lacking) = read_batch(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
        let mut gone: Vec<String> = lacking.gone.into_iter().collect();
        gone.sort();
        (page.rows.len(), gone.join(" "), lacking.failed)
    };
    let failed = |text: &str| Some(text.to_owned());
    for (errors, gone, why) in [
        ("[]", "", None),
        (
            r#"[{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some","context":{"ids":["7","8"]}}]"#,
            "7 8",
            None,
        ),
        (
            r#"[{"category":"OBJECT_NOT_FOUND","context":{"ids":["7, 8"]}}]"#,
            "7 8",
            None,
        ),
        (
            r#"[{"category":"OBJECT_NOT_FOUND","context":{"id":[9]}}]"#,
            "9",
            None,
        ),
        // An error without ids is not evidence about any record.
        (r#"[{"category":"OBJECT_NOT_FOUND","context":{}}]"#, "", None),
        (
            r#"[{"status":"error","category":"RATE_LIMITS","message":"slow\ndown","context":{"ids":["7"]}}]"#,
            "",
            failed("RATE_LIMITS slow down"),
        ),
        (
            r#"[{"category":"OBJECT_NOT_FOUND","context":{"ids":["7"]}},{"category":"INTERNAL_ERROR","context":{"ids":["8"]}}]"#,
            "7",
            failed("INTERNAL_ERROR"),
        ),
        (r#"[{"category":null,"message":null}]"#, "", failed("")),
    ] {
        assert_eq!(batch(errors, "COMPLETE"), (1, gone.to_owned(), why), "{errors}");
    }
    assert_eq!(batch("[]", "PROCESSING").2, failed("the batch is not complete"));
}

#[test]
fn a_batch_is_whole_only_where_it_says_so_and_lists_the_errors_it_counts() {
    let plan = plan("companies", &[]);
    let failed = |rest: &str| {
        let text = format!(r#"{{"results":[{{"id":"51","properties":{{}}}}]{rest}}}"#);
        let (page, lacking) = read_batch(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(page.rows.len(), 1, "what is given stands: {rest}");
        lacking.failed
    };
    let absent = |ids: &str| format!(r#"{{"category":"OBJECT_NOT_FOUND","context":{{"ids":[{ids}]}}}}"#);
    for (rest, right) in [
        (String::new(), Some("the batch is not complete")),
        (r#","status":null"#.to_owned(), Some("the batch is not complete")),
        (r#","status":"COMPLETE""#.to_owned(), None),
        (r#","status":"COMPLETE","numErrors":0"#.to_owned(), None),
        (
            r#","status":"COMPLETE","numErrors":1"#.to_owned(),
            Some("it counts 1 errors and lists 0"),
        ),
        (
            format!(
                r#","status":"COMPLETE","numErrors":3,"errors":[{}]"#,
                absent(r#""7","8""#)
            ),
            Some("it counts 3 errors and lists 2"),
        ),
        (
            format!(
                r#","status":"COMPLETE","numErrors":2,"errors":[{}]"#,
                absent(r#""7","8""#)
            ),
            None,
        ),
        (
            format!(
                r#","status":"COMPLETE","numErrors":1,"errors":[{}]"#,
                absent(r#""7","8""#)
            ),
            None,
        ),
    ] {
        assert_eq!(failed(&rest).as_deref(), right, "{rest}");
    }
}

#[test]
fn a_link_without_an_id_leaves_open_what_is_linked() {
    let plan = plan("companies", &[]);
    for (link, all) in [
        (r#"{"id":"51"}"#, true),
        (r#"{"id":52}"#, true),
        (r#"{"id":null}"#, false),
        ("{}", false),
        (r#"{"id":""}"#, false),
    ] {
        let text = format!(
            r#"{{"id":"7","properties":{{}},"associations":{{"contacts":{{"results":[{{"id":"50"}},{link}]}}}}}}"#
        );
        let page = read_one(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
        let (ends, told) = &page.rows[0].linked["contacts"];
        assert!(ends.contains("50"));
        assert_eq!(*told, all, "{link}");
    }
    let text = r#"{"id":"7","properties":{},"associations":{"contacts":{}}}"#;
    let page = read_one(&plan, text).unwrap_or_else(|error| panic!("{error}"));
    assert!(!page.rows[0].linked["contacts"].1, "no list is not an empty list");
}

#[test]
fn where_a_list_goes_on_may_be_a_number() {
    let plan = plan("companies", &[]);
    for (after, next) in [(r#""100""#, Some("100")), ("100", Some("100")), (r#""""#, None)] {
        let text = format!(r#"{{"results":[],"paging":{{"next":{{"after":{after}}}}}}}"#);
        let page = read(&plan, &text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(page.next.as_deref(), next);
    }
    assert!(read(&plan, r#"{"results":[],"paging":{"next":null}}"#).is_ok_and(|page| page.next.is_none()));
}

#[test]
fn what_is_no_list_is_refused() {
    let plan = plan("companies", &[]);
    for text in [
        "",
        "<html>",
        "{}",
        "[]",
        r#"{"results":[{"properties":{}}]}"#,
        r#"{"results":[{"id":"x","properties":{}}]}"#,
        r#"{"results":[{"id":"1"}]}"#,
        r#"{"results":[{"id":"1""#,
    ] {
        assert!(read(&plan, text).is_err(), "{text}");
    }
    assert!(read(&plan, r#"{"results":[]}"#).is_ok_and(|page| page.rows.is_empty() && page.next.is_none()));
}
