//! Long texts in lists of companies and in profiles.

use std::collections::BTreeMap;

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1::get_company_profile_request::Refresh;
use tether::proto::v1::{self, value::Kind};
use tonic::{Code, Request, Status};

use super::{bounded, companies, dummy, metrics, walk};
use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases, refused, until};

on_both_databases!(long_texts_fit_into_answers);

const COMPANIES: usize = 150;
const COLUMNS: &[&str] = &["long.Person.Email", "long.Company.Notes"];

/// A SQL expression for a text of so many euro signs.
fn long(world: &World, characters: usize) -> String {
    match world.postgres_url() {
        Some(_) => format!("repeat('€', {characters})"),
        None => format!("replace(hex(zeroblob({characters})), '00', '€')"),
    }
}

/// Gives persons a text of this length. It begins with the person's id, which identifies its row.
fn set(world: &World, characters: usize, persons: &str) {
    let text = long(world, characters);
    world.sql(&format!(
        "UPDATE record SET payload = '{{\"Email\":\"' || external_id || {text} || '\"}}' WHERE object = 'Person' {persons}"
    ));
}

/// A list of companies that has all that was synced.
struct List {
    parent: String,
    synced: v1::SourcePosition,
}

impl List {
    fn of(&self, columns: &[&str], filter: &str, order_by: &str) -> v1::ListCompaniesRequest {
        v1::ListCompaniesRequest {
            parent: self.parent.clone(),
            page_size: 1_000,
            show_total_size: true,
            columns: columns.iter().map(|one| (*one).to_owned()).collect(),
            filter: filter.to_owned(),
            order_by: order_by.to_owned(),
            at_least: vec![self.synced.clone()],
            ..Default::default()
        }
    }
}

async fn long_texts_fit_into_answers(database: Database) {
    let world = World::start_with(database, 1, &["limits.answer_megabytes_per_group=8"]).await;
    let mut ann = world.ann().await;
    let script =
        json!({"companies": COMPANIES.to_string(), "people": "12", "deals": "0", "padding": "31000"});
    world.script(&script);
    let fields = [
        "Company.Name",
        "Company.Notes",
        "Company.Employees",
        "Person.Email",
    ];
    let (name, synced) = dummy(&mut ann, "Long", &fields).await;
    set(&world, 3_000, "");
    let list = &List {
        parent: ann.parent.clone(),
        synced,
    };
    lists_cut_texts(&ann, list).await;
    a_duplicate_column_is_an_error(&mut ann, list).await;
    let first = companies(&ann, list.of(&[], "", ""), COMPANIES).await.1.remove(0);
    assert_eq!(first.display_name, "Company 1");
    profiles_have_all_of_them(&world, &mut ann, &name, &first.name).await;
    slow_readers(&world, &ann, list.of(COLUMNS, "", "")).await;
}

async fn lists_cut_texts(ann: &Person, list: &List) {
    for (filter, order_by) in [
        ("", ""),
        ("source = long", ""),
        ("", "long.Company.Employees desc, display_name"),
    ] {
        // The expected list is the same one without columns, which fits on one page.
        let (pages, short) = companies(ann, list.of(&[], filter, order_by), COMPANIES).await;
        assert_eq!((pages, short.len()), (1, COMPANIES));
        let (pages, wide) = companies(ann, list.of(COLUMNS, filter, order_by), COMPANIES).await;
        assert!(pages > 1, "all of it would have 4.5 MB");
        let names = |of: &[v1::Company]| of.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&wide), names(&short), "{filter} {order_by}");
        for company in &wide {
            a_row_is_cut(company);
        }
    }
}

/// The first ten of twelve persons, each cut to a thousand characters.
fn a_row_is_cut(company: &v1::Company) {
    let number: u32 = company
        .display_name
        .trim_start_matches("Company ")
        .parse()
        .unwrap();
    let [people, notes] = company.cells.as_slice() else {
        panic!("{:?}", company.cells.len())
    };
    assert!(people.more && !notes.more);
    let expected = |person| format!("P{number:08}-{person:03}{}", "€".repeat(987));
    let got: Vec<&Kind> = people.values.iter().filter_map(|one| one.kind.as_ref()).collect();
    let expected: Vec<Kind> = (1..=10).map(|person| Kind::Text(expected(person))).collect();
    assert!(got.into_iter().eq(&expected), "{number}");
    let parts = people.values.iter().chain(&notes.values);
    let parts: Vec<_> = parts.map(|one| one.part.unwrap()).collect();
    assert!(
        parts[..10]
            .iter()
            .all(|part| (part.offset, part.length) == (0, 3_013))
    );
    assert_eq!((parts[10].offset, parts[10].length), (0, 31_000));
}

/// In any spelling.
async fn a_duplicate_column_is_an_error(ann: &mut Person, list: &List) {
    let twice = refused(ann.companies.list_companies(list.of(
        &["long.Company.Notes", "long . \"Company\".Notes"],
        "",
        "",
    )))
    .await;
    assert_eq!(
        (twice.code, twice.reason.as_str()),
        (Code::InvalidArgument, "INVALID_FIELD_VALUE")
    );
}

/// What GetCompanyProfile is asked: stored values, from this character of each text on.
fn open(ann: &Person, company: &str, page_token: String, text_offset: i64) -> v1::GetCompanyProfileRequest {
    v1::GetCompanyProfileRequest {
        name: company.to_owned(),
        parent: ann.parent.clone(),
        refresh: Refresh::Never as i32,
        page_token,
        text_offset,
        ..Default::default()
    }
}

/// A profile has all values, page by page, and texts that are too long for one answer in parts.
async fn profiles_have_all_of_them(world: &World, ann: &mut Person, integration: &str, company: &str) {
    let parents =
        "SELECT child_id FROM record_link WHERE child_object = 'Person' AND parent_id = 'C00000001'";
    set(world, 200_000, &format!("AND external_id IN ({parents})"));
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut offset = 0;
    loop {
        let (pages, records) = persons(ann, integration, company, offset).await;
        let ids: Vec<&str> = records.iter().map(|one| one.external_id.as_str()).collect();
        let expected: Vec<String> = (1..=12).map(|person| format!("P00000001-{person:03}")).collect();
        assert_eq!(ids, expected, "each record once, in order");
        assert!(
            offset > 0 || pages > 1,
            "12 × 131,072 × 3 bytes have more than 3 MiB"
        );
        let mut given = 0;
        for record in records {
            let value = &record.values[0];
            let Some(Kind::Text(some)) = &value.kind else {
                panic!("{value:?}")
            };
            let part = value.part.unwrap();
            assert_eq!((part.offset, part.length), (offset, 200_013));
            given = some.chars().count();
            texts.entry(record.external_id).or_default().push_str(some);
        }
        if given == 0 {
            break;
        }
        offset += given as i64;
    }
    for (id, text) in &texts {
        assert!(*text == format!("{id}{}", "€".repeat(200_000)), "{id}");
    }

    // A page token of a profile is not valid elsewhere.
    let page = ok(ann
        .companies
        .get_company_profile(open(ann, company, String::new(), 0)))
    .await;
    let other = v1::GetCompanyProfileRequest {
        related_limit: 3,
        ..open(ann, company, page.next_page_token, 0)
    };
    let no = refused(ann.companies.get_company_profile(other)).await;
    assert_eq!(no.reason, "INVALID_PAGE_TOKEN");
}

/// All pages of the persons in a profile, with their texts from this character on.
async fn persons(
    ann: &Person,
    integration: &str,
    company: &str,
    offset: i64,
) -> (usize, Vec<v1::CardRecord>) {
    walk(async |token| {
        let request = open(ann, company, token, offset);
        let profile = bounded(ok(ann.clone().companies.get_company_profile(request)).await);
        assert_eq!(profile.company.as_ref().unwrap().name, company);
        let [card] = profile.cards.as_slice() else {
            panic!("{} cards", profile.cards.len())
        };
        assert_eq!(card.source.as_ref().unwrap().integration, integration);
        let people = card.related.iter().find(|table| table.object == "Person");
        let records = people.map(|table| table.records.clone()).unwrap_or_default();
        assert!(people.is_none_or(|table| table.total_size == 12));
        assert!(people.is_none_or(|table| table.more != profile.next_page_token.is_empty()));
        (records, profile.next_page_token)
    })
    .await
}

/// Calls a unary RPC and does not read the answer: it stays in the server until the stream is dropped.
async fn unread(
    channel: &tonic::transport::Channel,
    token: &str,
    list: v1::ListCompaniesRequest,
) -> Result<tonic::Streaming<v1::ListCompaniesResponse>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(list);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let path = "/tether.v1.CompanyService/ListCompanies".parse().unwrap();
    let codec = tonic_prost::ProstCodec::default();
    Ok(client.server_streaming(request, path, codec).await?.into_inner())
}

/// The server holds a limited number of unread answers of one group; other groups are served meanwhile.
async fn slow_readers(world: &World, ann: &Person, list: v1::ListCompaniesRequest) {
    let held = async || -> f64 {
        let text = metrics(world).await;
        let line = text.lines().find(|line| line.starts_with("tether_answer_bytes "));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let (mut open, mut refusals) = (Vec::new(), 0);
    for _ in 0..8 {
        // A connection each, so that they do not block each other.
        let channel = world.channel().await;
        match unread(&channel, &token, list.clone()).await {
            Ok(stream) => open.push((channel, stream)),
            Err(status) => {
                let no = Refused::from(status);
                assert_eq!(
                    (no.code, no.reason.as_str()),
                    (Code::ResourceExhausted, "GROUP_OVERLOADED")
                );
                assert!(no.details.retry_info().is_some() && no.details.quota_failure().is_some());
                refusals += 1;
            }
        }
    }
    assert!(refusals > 0, "8 answers of 3 MB are more than 8 MiB");
    let bytes = held().await;
    assert!(bytes > 0.0 && bytes <= f64::from(8 << 20), "{bytes}");
    let mut greta = world.person("greta", "globex", Role::Administrator).await;
    assert_eq!(greta.all_companies(100).await, Vec::new());
    drop(open);
    until("what was not read is let go", async || held().await == 0.0).await;
    let (pages, _) = companies(ann, list, 150).await;
    assert!(pages > 1);
}
