//! Exports over gRPC: complete however often they are interrupted, in each encoding, and harmless to others.

mod encodings;

use std::collections::BTreeSet;
use std::time::Duration;

use tether::caller::Role;
use tether::proto::v1;
use tether::proto::v1::export_companies_request::Encoding;
use tonic::{Code, Streaming};

use crate::support::server::{Database, Person, Refused, World, ok, on_all_databases, refused};

on_all_databases!(
    an_export_is_complete_however_often_it_is_interrupted,
    a_share_that_ends_ends_in_an_export,
);

type Stream = Streaming<v1::ExportCompaniesResponse>;

fn export(of: &Person) -> v1::ExportCompaniesRequest {
    v1::ExportCompaniesRequest {
        parent: of.parent.clone(),
        ..Default::default()
    }
}

async fn open(person: &mut Person, request: &v1::ExportCompaniesRequest, token: &str) -> Stream {
    let request = v1::ExportCompaniesRequest {
        resume_token: token.to_owned(),
        ..request.clone()
    };
    ok(person.companies.export_companies(request)).await
}

/// The rest of a stream.
async fn rest(mut stream: Stream) -> Result<Vec<v1::ExportCompaniesResponse>, Refused> {
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.map_err(Refused::from)? {
        messages.push(message);
    }
    Ok(messages)
}

/// All messages of one stream.
async fn whole(
    person: &mut Person,
    request: &v1::ExportCompaniesRequest,
) -> Vec<v1::ExportCompaniesResponse> {
    let stream = open(person, request, "").await;
    rest(stream).await.unwrap()
}

fn names(messages: &[v1::ExportCompaniesResponse]) -> Vec<String> {
    let companies = messages.iter().flat_map(|message| &message.companies);
    companies.map(|company| company.name.clone()).collect()
}

/// Tracks so many companies with texts of this length, so that a message has few of them if they are long.
async fn track_many(person: &mut Person, count: usize, length: usize) {
    for from in (0..count).step_by(1_000) {
        let companies = (from..count.min(from + 1_000)).map(|at| v1::CompanyToTrack {
            company: Some(v1::company_to_track::Company::NewCompany(v1::NewCompany {
                display_name: format!("{at:05} {}", "ü".repeat(length.min(490))),
                homepage_uri: format!("https://firm{at}.com/{}", "x".repeat(length)),
            })),
        });
        let request = v1::TrackCompaniesRequest {
            parent: person.parent.clone(),
            companies: companies.collect(),
        };
        ok(person.companies.track_companies(request)).await;
    }
}

async fn an_export_is_complete_however_often_it_is_interrupted(database: Database) {
    let mut world = World::start(database, 40).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let integration = ann
        .salesforce("Sales", &["Account.Name", "Account.Industry"])
        .await;
    ann.wait_long_for(&integration, 1).await;
    track_many(&mut ann, 2_100, 20).await;
    let mut expected: Vec<String> = ann
        .all_companies(1_000)
        .await
        .into_iter()
        .map(|one| one.name)
        .collect();
    expected.sort_unstable();
    assert!(expected.len() > 2_100);

    let request = v1::ExportCompaniesRequest {
        columns: vec!["sales.Account.Industry".to_owned()],
        page_size: 100,
        ..export(&ann)
    };
    let (mut got, mut token, mut begin, mut resumed) = (Vec::new(), String::new(), None, 0);
    loop {
        let mut stream = open(&mut ann, &request, &token).await;
        let Some(message) = stream.message().await.unwrap() else {
            panic!("a stream has at least one message");
        };
        // The first message of each stream says how old its data is, and when the whole export began.
        assert_eq!(message.as_of.len(), 1);
        assert!(message.start_time.is_some());
        assert!(begin.is_none_or(|begin| Some(begin) == message.start_time));
        begin = message.start_time;
        assert!(message.companies.len() <= 100);
        assert!(message.companies.iter().all(|company| company.cells.len() == 1));
        let ended = message.companies.is_empty();
        got.extend(names(std::slice::from_ref(&message)));
        token = message.resume_token;
        if ended {
            assert!(stream.message().await.unwrap().is_none());
            break;
        }
        // Interrupted after one message; once the server is killed.
        drop(stream);
        resumed += 1;
        if resumed == 7 {
            world.restart().await;
            ann = world.ann().await;
            ann.wait_long_for(&integration, 1).await;
        }
    }
    assert!(resumed >= 20, "only {resumed} messages");
    assert_eq!(got, expected, "complete, in the order of ids, nothing twice");
    // In one go, in larger messages; in another order.
    let request = v1::ExportCompaniesRequest {
        page_size: 0,
        ..request
    };
    assert_eq!(names(&whole(&mut ann, &request).await), expected);
    let request = v1::ExportCompaniesRequest {
        order_by: "display_name desc".to_owned(),
        ..export(&ann)
    };
    let by_name = names(&whole(&mut ann, &request).await);
    let list = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        order_by: "display_name desc".to_owned(),
        page_size: 200,
        ..Default::default()
    };
    let listed = ok(ann.companies.list_companies(list)).await.companies;
    let listed: Vec<String> = listed.into_iter().map(|company| company.name).collect();
    assert_eq!(by_name[..listed.len()], listed);
    assert_eq!(by_name.len(), expected.len());
    tokens_belong_to_their_export(&mut ann, &world, &token).await;
}

async fn tokens_belong_to_their_export(ann: &mut Person, world: &World, token: &str) {
    let page = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        page_size: 1,
        ..Default::default()
    };
    let page_token = ok(ann.companies.list_companies(page)).await.next_page_token;
    let gil = world.gil().await;
    for (mut person, change, token) in [
        (gil, (|_| {}) as fn(&mut v1::ExportCompaniesRequest), token),
        (
            ann.clone(),
            |request| request.filter = "tracked = true".to_owned(),
            token,
        ),
        (ann.clone(), |request| request.set_encoding(Encoding::Csv), token),
        (ann.clone(), |_| {}, &page_token),
        (ann.clone(), |_| {}, "made-up"),
    ] {
        let mut request = v1::ExportCompaniesRequest {
            columns: vec!["sales.Account.Industry".to_owned()],
            resume_token: token.to_owned(),
            ..export(&person)
        };
        change(&mut request);
        let no = refused(person.companies.export_companies(request)).await;
        let (code, reason) = (no.code, no.reason.as_str());
        assert_eq!((code, reason), (Code::InvalidArgument, "INVALID_PAGE_TOKEN"));
        assert!(no.message.starts_with("resume_token: "), "{}", no.message);
    }
    for (change, reason) in [
        (
            (|request| request.filter = "nonsense".to_owned()) as fn(&mut v1::ExportCompaniesRequest),
            "INVALID_FILTER",
        ),
        (
            |request| request.order_by = "nonsense".to_owned(),
            "INVALID_ORDER_BY",
        ),
        (
            |request| request.columns = vec!["sales.Account.Nope".to_owned()],
            "FIELD_UNKNOWN",
        ),
        (|request| request.parent = "groups/nobody".to_owned(), "NOT_FOUND"),
    ] {
        let mut request = export(ann);
        change(&mut request);
        assert_eq!(
            refused(ann.companies.export_companies(request)).await.reason,
            reason
        );
    }
}

async fn a_share_that_ends_ends_in_an_export(database: Database) {
    let world = World::start(database, 1_200).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann
        .salesforce("Sales", &["Account.Name", "Account.Industry"])
        .await;
    let change_number = ann.syncs(&name).await[0].change_number;
    let mut gil = world.gil().await;
    gil.enable("salesforce").await;
    let token = world.token("gil", Some("globex"), Role::Administrator);
    let mut narrow = Person::connect_narrowly(&world.grpc, "globex", &token).await;
    let with_column = v1::ExportCompaniesRequest {
        columns: vec!["sales.Account.Industry".to_owned()],
        page_size: 50,
        ..export(&gil)
    };
    let of_source = v1::ExportCompaniesRequest {
        sources: vec![name.clone()],
        page_size: 50,
        ..export(&gil)
    };
    let everything = v1::ExportCompaniesRequest {
        page_size: 50,
        ..export(&gil)
    };
    for (request, ends) in [
        (everything, None),
        (with_column, Some("INVALID_FIELD_VALUE")),
        (of_source, Some("NOT_FOUND")),
    ] {
        ann.share(&name, "globex", &[]).await;
        let mut gil = gil.clone();
        gil.decide(&name, &["Account.Industry"], &[]).await;
        gil.wait_long_for(&name, change_number).await;
        let all: BTreeSet<String> = gil
            .all_companies(1_000)
            .await
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert!(all.len() > 900, "{}", all.len());
        let mut stream = open(&mut narrow, &request, "").await;
        let first = stream.message().await.unwrap().unwrap();
        assert!(!first.companies.is_empty());
        let share = v1::RemoveShareRequest {
            name: format!("{name}/shares/globex"),
        };
        ok(ann.integrations.remove_share(share)).await;
        let left = match (rest(stream).await, ends) {
            (Ok(messages), None) => names(&messages),
            (Err(no), Some(reason)) => {
                assert_eq!(no.reason, reason, "{no:?}");
                continue;
            }
            (other, _) => panic!("{ends:?}: {other:?}"),
        };
        // A few messages were on their way.
        assert!(left.len() < all.len() / 2, "{} after the share ended", left.len());
    }
}

#[tokio::test]
async fn an_export_that_nobody_reads_costs_nobody() {
    let settings = [
        "limits.lists=1",
        "limits.lists_per_group=1",
        "limits.slow_reader_seconds=2",
    ];
    let world = World::start_with(Database::Sqlite, 1, &settings).await;
    let mut ann = world.ann().await;
    track_many(&mut ann, 3_000, 200).await;
    let token = world.token("ann", Some("acme"), Role::Member);
    let mut narrow = Person::connect_narrowly(&world.grpc, "acme", &token).await;
    let request = export(&ann);
    let mut streams = Vec::new();
    for _ in 0..5 {
        // One after the other: only making a message needs the permit.
        streams.push(opened(&mut narrow, &request).await);
    }
    // With five exports open that nobody reads, lists answer: the only permit is taken for moments, while a message is made.
    let end = std::time::Instant::now() + Duration::from_secs(60);
    let mut in_a_row = 0;
    while in_a_row < 20 {
        assert!(std::time::Instant::now() < end, "the permit is not free");
        let request = v1::ListCompaniesRequest {
            parent: ann.parent.clone(),
            page_size: 10,
            ..Default::default()
        };
        in_a_row = match ann.companies.list_companies(request).await {
            Ok(_) => in_a_row + 1,
            Err(_) => 0,
        };
    }
    // A slow reader gets all, and goes on where it was if it loses its stream.
    let mut slow = streams.pop().unwrap();
    // The others share its connection, whose window they fill.
    drop(streams);
    let (mut got, mut token) = (Vec::new(), String::new());
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        match slow.message().await {
            Ok(Some(message)) => {
                token.clone_from(&message.resume_token);
                got.extend(names(&[message]));
            }
            Ok(None) => break,
            Err(status) => {
                assert_eq!(Refused::from(status).reason, "READER_TOO_SLOW");
                slow = open(&mut narrow, &request, &token).await;
            }
        }
    }
    assert_eq!(got.len(), 3_000);
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 3_000);
}

/// Opens an export as soon as a permit is free.
async fn opened(person: &mut Person, request: &v1::ExportCompaniesRequest) -> Stream {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        match person.companies.export_companies(request.clone()).await {
            Ok(stream) => return stream.into_inner(),
            Err(status) => {
                let no = Refused::from(status);
                assert_eq!(no.reason, "GROUP_OVERLOADED", "{no:?}");
                assert!(std::time::Instant::now() < end, "never a free permit");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
