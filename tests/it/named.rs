//! Companies that the platform names: its names come first, wherever a group sees the company.

use tether::caller::Role;
use tether::proto::v1;
use tether::proto::v1::company_to_track::Company as ToTrack;
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused, until};

on_all_databases!(a_company_has_the_platforms_name_wherever_it_is_seen);

fn company(platform_id: &str, display_name: &str, homepage_uri: &str) -> v1::PlatformCompany {
    v1::PlatformCompany {
        platform_id: platform_id.to_owned(),
        display_name: display_name.to_owned(),
        homepage_uri: homepage_uri.to_owned(),
    }
}

async fn upsert(platform: &mut Person, companies: Vec<v1::PlatformCompany>) -> Vec<String> {
    let request = v1::BatchUpsertCompaniesRequest { companies };
    ok(platform.companies.batch_upsert_companies(request)).await.names
}

async fn get(person: &mut Person, name: &str) -> v1::Company {
    let request = v1::GetCompanyRequest {
        name: name.to_owned(),
        parent: person.parent.clone(),
    };
    ok(person.companies.get_company(request)).await
}

fn list(of: &Person) -> v1::ListCompaniesRequest {
    v1::ListCompaniesRequest {
        parent: of.parent.clone(),
        page_size: 1_000,
        show_total_size: true,
        ..Default::default()
    }
}

/// The names that a list shows.
async fn shown(person: &mut Person, request: v1::ListCompaniesRequest) -> Vec<String> {
    let answer = ok(person.companies.list_companies(request)).await;
    assert_eq!(answer.total_size, Some(answer.companies.len() as i64));
    // The platform's companies are no source.
    assert!(answer.as_of.len() <= 1, "{:?}", answer.as_of);
    answer
        .companies
        .into_iter()
        .map(|company| company.display_name)
        .collect()
}

/// The names of the companies that a filter finds.
async fn filtered(person: &mut Person, filter: &str) -> Vec<String> {
    let request = v1::ListCompaniesRequest {
        filter: filter.to_owned(),
        ..list(person)
    };
    shown(person, request).await
}

/// Waits until filters know the name. Lists show it before, at their old places.
async fn listed(person: &Person, name: &str) {
    until("the name is found", async || {
        let mut person = person.clone();
        let request = v1::ListCompaniesRequest {
            filter: format!("display_name = \"{name}\""),
            ..list(&person)
        };
        match person.companies.list_companies(request).await {
            Ok(answer) => !answer.into_inner().companies.is_empty(),
            Err(_) => false,
        }
    })
    .await;
}

async fn a_company_has_the_platforms_name_wherever_it_is_seen(database: Database) {
    let world = World::start(database, 60).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let integration = ann
        .salesforce("Sales", &["Account.Name", "Account.Industry"])
        .await;
    ann.wait_long_for(&integration, 1).await;
    let mut gil = world.gil().await;
    let mut platform = world.person("platform", "", Role::Service).await;
    let before = ann.all_companies(1_000).await;
    let other = before.iter().find(|one| !one.domain.is_empty()).unwrap();
    let mut of_domain = before
        .iter()
        .filter(|one| !one.domain.is_empty() && one.name != other.name);
    let known = of_domain.nth(5).unwrap();

    let zebra = company("P 1", "Zebra & Söhne", &format!("www.{}/about", known.domain));
    let unseen = company("P 2", "Aardvark Unseen", "https://aardvark-unseen.com/");
    let of_id = company("P 3", "Homeless Ltd", "https://www.linkedin.com/company/homeless");
    let all = vec![zebra.clone(), unseen.clone(), of_id];
    let names = upsert(&mut platform, all.clone()).await;
    assert_eq!(names[0], known.name);
    assert_eq!(upsert(&mut platform, all).await, names, "repeated");
    one_company_at_a_time(&mut ann, known, &names).await;
    listed(&ann, "Zebra & Söhne").await;
    lists_know_the_name(&mut ann, known, before.len()).await;
    who_has_no_source_tracks(&mut gil, &names).await;

    // A name that changes; an invalid entry, with which nothing changes; an id that is given to another company.
    upsert(&mut platform, vec![company("P 1", "Quagga", &zebra.homepage_uri)]).await;
    listed(&ann, "Quagga").await;
    let wrong = vec![
        company("P 1", "Nothing", &zebra.homepage_uri),
        company("", "No id", ""),
    ];
    let no = refused(
        platform
            .companies
            .batch_upsert_companies(v1::BatchUpsertCompaniesRequest { companies: wrong }),
    )
    .await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::InvalidArgument, "INVALID_FIELD_VALUE")
    );
    assert!(
        no.message.starts_with("companies[1].platform_id"),
        "{}",
        no.message
    );
    assert_eq!(get(&mut ann, &known.name).await.display_name, "Quagga");
    let moved = upsert(&mut platform, vec![company("P 1", "Quagga", &other.homepage_uri)]).await;
    assert_eq!(moved, std::slice::from_ref(&other.name));
    let again = get(&mut ann, &known.name).await;
    assert_eq!(
        (&again.display_name, again.platform_id.as_str()),
        (&known.display_name, "")
    );
    listed(&ann, &known.display_name).await;
    assert_eq!(filtered(&mut ann, "display_name = Quagga").await, ["Quagga"]);
    let now = get(&mut ann, &other.name).await;
    assert_eq!(
        (now.display_name.as_str(), now.platform_id.as_str()),
        ("Quagga", "P 1")
    );
}

/// What is read of one company knows the name at once.
async fn one_company_at_a_time(ann: &mut Person, known: &v1::Company, names: &[String]) {
    let expected = v1::Company {
        display_name: "Zebra & Söhne".to_owned(),
        homepage_uri: format!("http://www.{}/about", known.domain),
        platform_id: "P 1".to_owned(),
        ..known.clone()
    };
    assert_eq!(get(ann, &known.name).await, expected);
    let profile = ann.stored(&known.name).await;
    assert_eq!(profile.company, Some(expected));
    // The card shows what the source has.
    assert_eq!(profile.cards.len(), 1);
    let request = v1::GetCompanyRequest {
        name: names[1].clone(),
        parent: ann.parent.clone(),
    };
    assert_eq!(
        refused(ann.companies.get_company(request)).await.reason,
        "NOT_FOUND"
    );
}

async fn lists_know_the_name(ann: &mut Person, known: &v1::Company, count: usize) {
    let all = shown(ann, list(ann)).await;
    assert_eq!(all.len(), count, "the platform's companies are no source");
    let mut sorted = all.clone();
    sorted.sort_by_key(|name| name.to_lowercase());
    assert_eq!(all, sorted, "by name");
    let mut paged = Vec::new();
    let mut request = v1::ListCompaniesRequest {
        page_size: 7,
        ..list(ann)
    };
    loop {
        let page = ok(ann.companies.list_companies(request.clone())).await;
        paged.extend(page.companies.into_iter().map(|company| company.display_name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);
    for filter in [
        "display_name = \"zebra & söhne\"",
        "homepage_uri : \"about\" AND display_name : \"zeb*\"",
        &format!("domain = \"{}\"", known.domain),
    ] {
        assert_eq!(filtered(ann, filter).await, ["Zebra & Söhne"], "{filter}");
    }
    let old = filtered(ann, &format!("display_name = \"{}\"", known.display_name)).await;
    assert!(!old.contains(&"Zebra & Söhne".to_owned()), "{old:?}");
    let found = v1::ListCompaniesRequest {
        query: "sohne zeb".to_owned(),
        ..list(ann)
    };
    assert_eq!(shown(ann, found).await, ["Zebra & Söhne"]);
    let last = v1::ListCompaniesRequest {
        order_by: "display_name desc".to_owned(),
        ..list(ann)
    };
    let mut reversed = all;
    reversed.reverse();
    assert_eq!(shown(ann, last).await[0], reversed[0]);

    // Tracked under a name of the group's own: the platform's comes first there, too.
    let own = ToTrack::NewCompany(v1::NewCompany {
        display_name: "Our name".to_owned(),
        homepage_uri: format!("https://{}", known.domain),
    });
    assert_eq!(ann.track(own).await.display_name, "Zebra & Söhne");
    let tracked = v1::ListCompaniesRequest {
        scope: v1::CompanyScope::Tracked.into(),
        ..list(ann)
    };
    assert_eq!(shown(ann, tracked.clone()).await, ["Zebra & Söhne"]);
    let found = v1::ListCompaniesRequest {
        query: "zebra".to_owned(),
        ..tracked
    };
    assert_eq!(shown(ann, found).await, ["Zebra & Söhne"]);
    assert_eq!(
        filtered(ann, "tracked = true AND display_name = \"Our name\"").await,
        [""; 0]
    );
}

/// A group without a source sees nothing of it, and may track what the platform knows.
async fn who_has_no_source_tracks(gil: &mut Person, names: &[String]) {
    assert_eq!(shown(gil, list(gil)).await, [""; 0]);
    let tracked = gil.track(ToTrack::Name(names[1].clone())).await;
    assert_eq!(
        (
            tracked.display_name.as_str(),
            tracked.homepage_uri.as_str(),
            tracked.platform_id.as_str()
        ),
        ("Aardvark Unseen", "https://aardvark-unseen.com/", "P 2")
    );
    assert_eq!(
        gil.track(ToTrack::Name(names[2].clone())).await.display_name,
        "Homeless Ltd"
    );
    assert_eq!(shown(gil, list(gil)).await, ["Aardvark Unseen", "Homeless Ltd"]);
    assert_eq!(
        filtered(gil, "domain = \"aardvark-unseen.com\"").await,
        ["Aardvark Unseen"]
    );
    assert!(gil.stored(&names[2]).await.cards.is_empty());
}
