//! Homepages as users type them, and the company that each identifies: through a plugin, a sync, lists,
//! profiles and the tracked list.

use serde_json::json;
use tether::proto::v1;
use v1::company_to_track::Company::{Name, NewCompany};

use crate::support::companies::{of_domain, of_record};
use crate::support::server::{Crm, Database, Person, World, ok, on_both_databases, refused};

on_both_databases!(what_people_type_as_a_homepage_identifies_companies);

/// A company's name, the CRM's `domain` and `website`, and the expected domain and homepage.
const TYPED: &[(&str, &str, &str, &str, &str)] = &[
    (
        "Typed 01",
        "quay-one.com;shared-agency.com",
        "",
        "quay-one.com",
        "http://quay-one.com/",
    ),
    (
        "Typed 02",
        "quay-two.com;shared-agency.com",
        "",
        "quay-two.com",
        "http://quay-two.com/",
    ),
    (
        "Typed 03",
        "quay-three.com",
        "https://www.facebook.com/quay-three",
        "quay-three.com",
        "http://quay-three.com/",
    ),
    (
        "Typed 04",
        "https://www.facebook.com/quay-four",
        "https://www.quay-four.com/de",
        "quay-four.com",
        "https://www.quay-four.com/de",
    ),
    (
        "Typed 05",
        "n/a",
        "<http://quay-five.com>",
        "quay-five.com",
        "http://quay-five.com/",
    ),
    (
        "Typed 06",
        " ",
        "http://http://quay-six.com",
        "quay-six.com",
        "http://quay-six.com/",
    ),
    (
        "Typed 07",
        "",
        "https://www.facebook.com/quay-seven",
        "",
        "https://www.facebook.com/quay-seven",
    ),
    ("Typed 08", "", "javascript:alert(1)", "", ""),
    (
        "Typed 09",
        "",
        "https://www.google.com",
        "google.com",
        "https://www.google.com/",
    ),
    (
        "Typed 10",
        "",
        "https://www.google.com/maps/place/quay",
        "",
        "https://www.google.com/maps/place/quay",
    ),
    ("Typed 11", "", "", "", ""),
];

async fn what_people_type_as_a_homepage_identifies_companies(database: Database) {
    let world = World::start_crm(database, Crm::HubSpot, 40, &[]).await;
    world.control("POST", "/limits", json!({"searches": 1_000})).await;
    let rows = world.truth("companies", "name").await;
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    for (id, (name, domain, website, ..)) in ids.iter().zip(TYPED) {
        let fields = json!({"name": name, "domain": domain, "website": website});
        world
            .control(
                "POST",
                "/records/update",
                json!({"object": "companies", "id": id, "fields": fields}),
            )
            .await;
    }
    let mut ann = world.ann().await;
    ann.enable("hubspot").await;
    let name = ann.create("hubspot", "Typed").await;
    ann.log_in(&name).await;
    ann.select(&name, &["companies.name", "companies.website"]).await;
    let sync = ann.activate(&name).await;
    let last = ann.succeeds(&sync).await;

    let all = ann.all_companies(500).await;
    for (id, (name, _, _, domain, homepage)) in ids.iter().zip(TYPED) {
        let company = all.iter().find(|company| company.display_name == *name).unwrap();
        assert_eq!(
            (company.domain.as_str(), company.homepage_uri.as_str()),
            (*domain, *homepage),
            "{name}"
        );
        let right = match *domain {
            "" => of_record("hubspot", "62515", id),
            domain => of_domain(domain),
        };
        assert_eq!(company.name, right, "{name}");
        // A live read finds the same company.
        let opened = ann.open(&right).await;
        assert!(
            opened.cards[0].freshness.as_ref().unwrap().live,
            "{:?}",
            opened.cards[0].freshness
        );
        assert_eq!(
            opened
                .company
                .as_ref()
                .map(|company| company.homepage_uri.as_str()),
            Some(*homepage)
        );
    }
    // Searches use the homepage that is shown.
    for (filter, found) in [
        (
            "homepage_uri = \"https://www.quay-four.com/de\"",
            vec!["Typed 04"],
        ),
        ("homepage_uri = \"*shared-agency*\"", vec![]),
        ("domain = \"quay-two.com\"", vec!["Typed 02"]),
        ("homepage_uri = \"*javascript*\"", vec![]),
    ] {
        let request = v1::ListCompaniesRequest {
            parent: ann.parent.clone(),
            filter: filter.to_owned(),
            at_least: vec![v1::SourcePosition {
                integration: name.clone(),
                change_number: last.change_number,
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = ok(ann.companies.list_companies(request)).await.companies;
        let names: Vec<&str> = answer
            .iter()
            .map(|company| company.display_name.as_str())
            .collect();
        assert_eq!(names, found, "{filter}");
    }
    own_list(&mut ann, &of_record("hubspot", "62515", ids[6])).await;
}

/// A homepage on the tracked list is handled in the same way.
async fn own_list(ann: &mut Person, page: &str) {
    let track = |parent: &str, company| v1::TrackCompaniesRequest {
        parent: parent.to_owned(),
        companies: vec![v1::CompanyToTrack {
            company: Some(company),
        }],
    };
    let new = |homepage: &str| {
        NewCompany(v1::NewCompany {
            display_name: "Tracked".to_owned(),
            homepage_uri: homepage.to_owned(),
        })
    };
    for (typed, domain, homepage) in [
        ("\"Quay-Ten.com\"", "quay-ten.com", "http://quay-ten.com/"),
        (
            "HTTPS://User:Secret@WWW.quay-ten.com:443/x;y",
            "quay-ten.com",
            "https://www.quay-ten.com/x",
        ),
        (
            "bücher-quay.de",
            "xn--bcher-quay-9db.de",
            "http://xn--bcher-quay-9db.de/",
        ),
    ] {
        let parent = ann.parent.clone();
        let tracked = ok(ann.companies.track_companies(track(&parent, new(typed))))
            .await
            .companies;
        assert_eq!(
            (tracked[0].domain.as_str(), tracked[0].homepage_uri.as_str()),
            (domain, homepage),
            "{typed}"
        );
        assert_eq!(tracked[0].name, of_domain(domain));
    }
    for typed in [
        "https://www.facebook.com/acme",
        "javascript:alert(1)",
        "n/a",
        "http://10.0.0.1/",
        "info@acme.com",
        "",
    ] {
        let parent = ann.parent.clone();
        let refused = refused(ann.companies.track_companies(track(&parent, new(typed)))).await;
        assert_eq!(refused.reason, "INVALID_FIELD_VALUE", "{typed}");
    }
    // A company with a page on a shared host is tracked as its record.
    let parent = ann.parent.clone();
    let tracked = ok(ann
        .companies
        .track_companies(track(&parent, Name(page.to_owned()))))
    .await
    .companies;
    assert_eq!((tracked[0].name.as_str(), tracked[0].domain.as_str()), (page, ""));
    assert_eq!(tracked[0].homepage_uri, "https://www.facebook.com/quay-seven");
}
