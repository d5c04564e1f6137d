//! No answer is larger than 3 MiB, and no group can use the whole server. An item that does not fit on a page
//! is on the next one, complete, and no item occurs twice.

use std::collections::BTreeMap;
use std::future::Future;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, SqliteConnection};
use prost::Message;
use serde_json::json;
use tether::caller::Role;
use tether::proto::v1::{self, value::Kind};
use tonic::{Code, Request, Status};

use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases, refused, until};

on_both_databases!(
    long_texts_fit_into_answers,
    long_descriptions_fit_into_answers,
    a_group_tracks_so_many_companies,
    one_group_cannot_starve_another
);

/// The maximum size of an answer, in bytes.
const MOST: usize = 3 << 20;

/// Checks the size of an answer.
fn bounded<M: Message>(answer: M) -> M {
    assert!(answer.encoded_len() <= MOST, "{} bytes", answer.encoded_len());
    answer
}

/// Changes the database directly.
fn sql(world: &World, sql: &str) {
    let done = match world.postgres_url() {
        Some(url) => PgConnection::establish(url).unwrap().batch_execute(sql),
        None => {
            let path = world.data().join("tether.db");
            let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
            conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
            conn.batch_execute(sql)
        }
    };
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A SQL expression for a text of so many euro signs.
fn long(world: &World, characters: usize) -> String {
    match world.postgres_url() {
        Some(_) => format!("repeat('€', {characters})"),
        None => format!("replace(hex(zeroblob({characters})), '00', '€')"),
    }
}

/// A synced integration of the dummy with these fields, and the position that its data is searchable at.
async fn dummy(ann: &mut Person, name: &str, fields: &[&str]) -> (String, v1::SourcePosition) {
    ann.enable("dummy").await;
    let name = ann.create("dummy", name).await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, fields).await;
    let sync = ann.activate(&name).await;
    let position = v1::SourcePosition {
        integration: name.clone(),
        change_number: ann.succeeds(&sync).await.change_number,
        time: None,
    };
    (name, position)
}

/// All pages of a list: their number, and their items.
async fn walk<T, F>(mut page: impl FnMut(String) -> F) -> (usize, Vec<T>)
where
    F: Future<Output = (Vec<T>, String)>,
{
    let (mut pages, mut all, mut token) = (0, Vec::new(), String::new());
    loop {
        let (some, next) = page(token).await;
        pages += 1;
        all.extend(some);
        if next.is_empty() {
            return (pages, all);
        }
        token = next;
    }
}

/// All pages of a list of companies.
async fn companies(of: &Person, list: v1::ListCompaniesRequest, total: usize) -> (usize, Vec<v1::Company>) {
    walk(async |page_token| {
        let request = v1::ListCompaniesRequest {
            page_token,
            ..list.clone()
        };
        // Indexing so much text may take longer than a call waits for it.
        let page = loop {
            match of.clone().companies.list_companies(request.clone()).await {
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    let refused = Refused::from(status);
                    assert_eq!(refused.reason, "INDEX_NOT_READY");
                }
                other => break bounded(other.unwrap().into_inner()),
            }
        };
        assert_eq!(page.total_size, Some(total as i64));
        (page.companies, page.next_page_token)
    })
    .await
}

async fn long_texts_fit_into_answers(database: Database) {
    const COMPANIES: usize = 150;
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
    // Each person's text begins with its id, which identifies its row.
    let text = long(&world, 3_000);
    let set = "UPDATE record SET payload = '{\"Email\":\"' || external_id || ";
    sql(&world, &format!("{set}{text} || '\"}}' WHERE object = 'Person'"));
    let list = |columns: &[&str], filter: &str, order_by: &str| v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        page_size: 1_000,
        show_total_size: true,
        columns: columns.iter().map(|one| (*one).to_owned()).collect(),
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        at_least: vec![synced.clone()],
        ..Default::default()
    };
    let columns = ["long.Person.Email", "long.Company.Notes"];
    for (filter, order_by) in [
        ("", ""),
        ("source = long", ""),
        ("", "long.Company.Employees desc, display_name"),
    ] {
        // The expected list is the same one without columns, which fits on one page.
        let (pages, short) = companies(&ann, list(&[], filter, order_by), COMPANIES).await;
        assert_eq!((pages, short.len()), (1, COMPANIES));
        let (pages, wide) = companies(&ann, list(&columns, filter, order_by), COMPANIES).await;
        assert!(pages > 1, "all of it would have 4.5 MB");
        let names = |of: &[v1::Company]| of.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&wide), names(&short), "{filter} {order_by}");
        for company in &wide {
            let number: u32 = company
                .display_name
                .trim_start_matches("Company ")
                .parse()
                .unwrap();
            let [people, notes] = company.cells.as_slice() else {
                panic!("{:?}", company.cells.len())
            };
            // The first ten of twelve, each cut to a thousand characters.
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
    }

    // A duplicate column is an error, in any spelling.
    let twice = refused(ann.companies.list_companies(list(
        &["long.Company.Notes", "long . \"Company\".Notes"],
        "",
        "",
    )))
    .await;
    assert_eq!(
        (twice.code, twice.reason.as_str()),
        (Code::InvalidArgument, "INVALID_FIELD_VALUE")
    );

    // A profile has all values, page by page, and texts that are too long for one answer in parts.
    let first = companies(&ann, list(&[], "", ""), COMPANIES).await.1.remove(0);
    let parents =
        "SELECT child_id FROM record_link WHERE child_object = 'Person' AND parent_id = 'C00000001'";
    let text = long(&world, 200_000);
    sql(
        &world,
        &format!("{set}{text} || '\"}}' WHERE object = 'Person' AND external_id IN ({parents})"),
    );
    assert_eq!(first.display_name, "Company 1");
    let open = |page_token: String, text_offset: i64| v1::GetCompanyProfileRequest {
        name: first.name.clone(),
        parent: ann.parent.clone(),
        refresh: v1::get_company_profile_request::Refresh::Never as i32,
        page_token,
        text_offset,
        ..Default::default()
    };
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut offset = 0;
    loop {
        let (pages, records) = walk(async |token| {
            let request = open(token, offset);
            let profile = bounded(ok(ann.clone().companies.get_company_profile(request)).await);
            assert_eq!(profile.company.as_ref().unwrap().name, first.name);
            let [card] = profile.cards.as_slice() else {
                panic!("{} cards", profile.cards.len())
            };
            assert_eq!(card.source.as_ref().unwrap().integration, name);
            let people = card.related.iter().find(|table| table.object == "Person");
            let records = people.map(|table| table.records.clone()).unwrap_or_default();
            assert!(people.is_none_or(|table| table.total_size == 12));
            assert!(people.is_none_or(|table| table.more != profile.next_page_token.is_empty()));
            (records, profile.next_page_token)
        })
        .await;
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
    let page = ok(ann.companies.get_company_profile(open(String::new(), 0))).await;
    let other = v1::GetCompanyProfileRequest {
        related_limit: 3,
        ..open(page.next_page_token, 0)
    };
    let no = refused(ann.companies.get_company_profile(other)).await;
    assert_eq!(no.reason, "INVALID_PAGE_TOKEN");

    slow_readers(&world, &ann, list(&columns, "", "")).await;
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

async fn metrics(world: &World) -> String {
    let answer = crate::support::server::http(&world.admin, "GET", "/metrics", "text/plain", "").await;
    answer.body
}

async fn long_descriptions_fit_into_answers(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    world.script(&json!({"companies": "2", "picklists": "25", "entries": "2500"}));
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Wide").await;
    ann.log_in_with_key(&name, "ann").await;
    let total = std::cell::Cell::new(0);
    let (pages, available) = walk(async |page_token| {
        let request = v1::ListAvailableFieldsRequest {
            parent: name.clone(),
            page_size: 2_000,
            page_token,
            ..Default::default()
        };
        let page = bounded(ok(ann.clone().integrations.list_available_fields(request)).await);
        total.set(page.total_size);
        let fields = page.objects.into_iter().flat_map(|object| object.fields);
        let fields: Vec<_> = fields.map(|field| field.definition.unwrap()).collect();
        (fields, page.next_page_token)
    })
    .await;
    let total = total.get();
    assert!(pages > 1 && available.len() == total as usize, "{pages} {total}");
    let mut keys: Vec<String> = available
        .iter()
        .map(|one| format!("{}.{}", one.object, one.key))
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), available.len(), "each field once");
    let wide: Vec<&v1::FieldDefinition> = available
        .iter()
        .filter(|one| one.key.starts_with("Picklist"))
        .collect();
    assert_eq!(wide.len(), 25);
    for one in &wide {
        assert_eq!(
            (one.picklist_value_count, one.picklist_values.len()),
            (2_500, 2_500)
        );
    }

    // Selected fields are listed and reviewed within the same bounds.
    let fields: Vec<&str> = keys.iter().map(String::as_str).collect();
    bounded(ann.select(&name, &fields).await);
    let (pages, selected) = walk(async |page_token| {
        let request = v1::ListFieldsRequest {
            parent: name.clone(),
            page_size: 2_000,
            page_token,
            ..Default::default()
        };
        let page = bounded(ok(ann.clone().integrations.list_fields(request)).await);
        assert_eq!(page.total_size, total);
        let keys = page.fields.into_iter().map(|field| field.definition.unwrap());
        (
            keys.map(|one| format!("{}.{}", one.object, one.key)).collect(),
            page.next_page_token,
        )
    })
    .await;
    assert!(pages > 1);
    assert_eq!(selected, keys);
    world.script(&json!({"companies": "2"}));
    let review = v1::ReviewIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let review = bounded(ok(ann.integrations.review_integration(review)).await);
    let missing = review
        .warnings
        .iter()
        .find(|one| one.fields.contains(&"Company.Picklist1".to_owned()));
    assert_eq!(missing.unwrap().fields.len(), 25);

    // A field that is too large for a page of its own is cut, and marked as cut.
    world.script(&json!({"companies": "2", "picklists": "1", "entries": "20000"}));
    let request = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let page = bounded(ok(ann.integrations.list_available_fields(request)).await);
    let fields = page.objects.iter().flat_map(|object| &object.fields);
    let huge = fields
        .map(|one| one.definition.as_ref().unwrap())
        .find(|one| one.key == "Picklist1");
    let huge = huge.unwrap();
    assert_eq!(huge.picklist_value_count, 20_000);
    assert!((1_000..20_000).contains(&huge.picklist_values.len()));

    errors_repeat_little(&mut ann, &name).await;
}

/// Errors quote at most 100 characters of a caller's text: no run of one letter here is longer.
async fn errors_repeat_little(ann: &mut Person, name: &str) {
    fn short<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>, reason: &str) {
        let status = answer.unwrap_err();
        let details = String::from_utf8_lossy(status.details()).into_owned();
        for text in [status.message(), &details] {
            assert!(
                !text.contains(&"x".repeat(101)),
                "{} bytes: {:.300}",
                text.len(),
                text
            );
        }
        assert!(details.len() < 12 << 10);
        assert_eq!(Refused::from(status).reason, reason);
    }
    let x = |count: usize| "x".repeat(count);
    let integration = |field: String| v1::Integration {
        name: name.to_owned(),
        selected_fields: vec![field],
        ..Default::default()
    };
    let update = |integration: v1::Integration, paths: &[String]| v1::UpdateIntegrationRequest {
        integration: Some(integration),
        update_mask: (!paths.is_empty()).then(|| prost_types::FieldMask {
            paths: paths.to_vec(),
        }),
        ..Default::default()
    };
    let mut api = ann.integrations.clone();
    let field = update(integration(x(100_000)), &[]);
    short(api.update_integration(field).await, "INVALID_FIELD_VALUE");
    let field = update(integration(format!("Company.{}", x(240))), &[]);
    short(api.update_integration(field).await, "FIELD_UNKNOWN");
    let path = update(integration(String::new()), &[x(60_000)]);
    short(api.update_integration(path).await, "INVALID_UPDATE_MASK");
    let review = v1::ReviewIntegrationRequest {
        name: name.to_owned(),
        proposal: Some(v1::Integration::default()),
        update_mask: Some(prost_types::FieldMask {
            paths: vec![x(60_000)],
        }),
    };
    short(api.review_integration(review).await, "INVALID_UPDATE_MASK");
    let named = |name: String| v1::GetIntegrationRequest { name };
    short(
        api.get_integration(named(x(100_000))).await,
        "INVALID_FIELD_VALUE",
    );
    let settings = v1::Integration {
        name: name.to_owned(),
        settings: [(x(64), x(1))].into(),
        ..Default::default()
    };
    let settings = update(settings, &["settings".to_owned()]);
    assert!(api.update_integration(settings).await.is_err());
    let objects = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        objects: vec![x(100_000)],
        ..Default::default()
    };
    short(api.list_available_fields(objects).await, "INVALID_FIELD_VALUE");
    let token = v1::ListFieldsRequest {
        parent: name.to_owned(),
        page_token: x(100_000),
        ..Default::default()
    };
    short(api.list_fields(token).await, "INVALID_PAGE_TOKEN");
    let activation = v1::BatchUpdateFieldActivationRequest {
        parent: name.to_owned(),
        active_fields: vec![format!("Company.{}", x(240))],
        ..Default::default()
    };
    short(
        api.batch_update_field_activation(activation).await,
        "FIELD_UNKNOWN",
    );
    let mut api = ann.companies.clone();
    let list = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    for (filter, reason) in [
        (x(4_000), "INVALID_FILTER"),
        (format!("{}.Account.Name = 1", x(4_000)), "INVALID_FILTER"),
        (format!("source = {}", x(4_000)), "INVALID_FILTER"),
        (x(100_000), "INVALID_FILTER"),
    ] {
        let request = v1::ListCompaniesRequest {
            filter,
            ..list.clone()
        };
        short(api.list_companies(request).await, reason);
    }
    let order_by = v1::ListCompaniesRequest {
        order_by: x(1_000),
        ..list.clone()
    };
    short(api.list_companies(order_by).await, "INVALID_ORDER_BY");
    let columns = v1::ListCompaniesRequest {
        columns: vec![x(600)],
        ..list.clone()
    };
    short(api.list_companies(columns).await, "INVALID_FIELD_VALUE");
    // 200 characters are allowed regardless of their number of bytes.
    let words = |query: String| v1::ListCompaniesRequest {
        query,
        ..list.clone()
    };
    ok(api.list_companies(words("ü".repeat(200)))).await;
    short(
        api.list_companies(words("ü".repeat(201))).await,
        "INVALID_FIELD_VALUE",
    );
    short(api.list_companies(words(x(201))).await, "INVALID_FIELD_VALUE");
}

async fn one_group_cannot_starve_another(database: Database) {
    let settings = [
        "limits.waits_per_group=8",
        "limits.lists_per_group=2",
        "limits.streams_per_group=3",
    ];
    let world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    world.script(&json!({"companies": "200", "people": "3", "padding": "31000"}));
    let (name, _) = dummy(
        &mut ann,
        "Busy",
        &["Company.Name", "Company.Notes", "Person.Email"],
    )
    .await;
    let mut greta = world.person("greta", "globex", Role::Administrator).await;
    let (theirs, _) = dummy(&mut greta, "Theirs", &["Company.Name"]).await;
    let refused_or = |answer: Result<tonic::Response<v1::ListCompaniesResponse>, Status>, other: &str| {
        let no = Refused::from(match answer {
            Ok(_) => return false,
            Err(status) => status,
        });
        // On a slow machine the flooding group waits too long for its own turn at the database.
        let expected = ["GROUP_OVERLOADED", "STORAGE_UNAVAILABLE", other];
        assert!(expected.contains(&no.reason.as_str()), "{no:?}");
        assert!(no.details.retry_info().is_some());
        no.reason == "GROUP_OVERLOADED"
    };

    // 1,100 calls that wait for a position that is never reached.
    let wait = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        at_least: vec![v1::SourcePosition {
            integration: name.clone(),
            change_number: i64::MAX,
            time: None,
        }],
        ..Default::default()
    };
    let mut calls = tokio::task::JoinSet::new();
    for connection in 0..11 {
        let person = world
            .person(&format!("max{connection}"), "acme", Role::Member)
            .await;
        for _ in 0..100 {
            let (mut person, wait) = (person.clone(), wait.clone());
            calls.spawn(async move { person.companies.list_companies(wait).await });
        }
    }
    for _ in 0..5 {
        assert_eq!(greta.all_companies(1_000).await.len(), 200);
        assert_eq!(greta.get(&theirs).await.name, theirs);
    }
    let mut overloaded = 0;
    while let Some(answer) = calls.join_next().await {
        overloaded += usize::from(refused_or(answer.unwrap(), "INDEX_NOT_READY"));
    }
    assert!(overloaded > 0, "8 may wait");

    // 64 lists with the maximum number of columns.
    let wide = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        page_size: 1_000,
        show_total_size: true,
        filter: "busy.Company.Notes:* OR NOT busy.Person.Email:*".to_owned(),
        order_by: "busy.Company.Name desc".to_owned(),
        columns: ["Company.Notes", "Company.Name", "Person.Email"]
            .map(|key| format!("busy.{key}"))
            .to_vec(),
        ..Default::default()
    };
    for _ in 0..64 {
        let (mut ann, wide) = (ann.clone(), wide.clone());
        calls.spawn(async move { ann.companies.list_companies(wide).await });
    }
    for _ in 0..5 {
        assert_eq!(greta.all_companies(1_000).await.len(), 200);
    }
    let mut served = 0;
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        served += usize::from(answer.is_ok());
        refused_or(answer, "GROUP_OVERLOADED");
    }
    assert!(served > 0, "two at a time are served");

    // Streams: a limited number per group; a permit is free again when a stream has ended.
    let watch = |person: &Person| v1::WatchGroupRequest {
        parent: person.parent.clone(),
        resume_token: String::new(),
    };
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(ok(ann.integrations.watch_group(watch(&ann))).await);
    }
    let no = refused(ann.integrations.watch_group(watch(&ann))).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::ResourceExhausted, "GROUP_OVERLOADED")
    );
    ok(greta.integrations.watch_group(watch(&greta))).await;
    streams.pop();
    until("its place is free", async || {
        let mut ann = ann.clone();
        ann.integrations.watch_group(watch(&ann)).await.is_ok()
    })
    .await;
    for line in metrics(&world)
        .await
        .lines()
        .filter(|line| line.starts_with("tether_"))
    {
        let id = name.trim_start_matches("integrations/");
        assert!(
            !line.contains(id) && !line.contains("acme"),
            "a label without bounds: {line}"
        );
    }
}

async fn a_group_tracks_so_many_companies(database: Database) {
    const MOST: usize = 100_000;
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let rows = match database {
        Database::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MOST}) \
             INSERT INTO tracked_company (group_id, company_id, name, name_key, homepage, create_us, create_by) \
             SELECT 'acme', printf('00000000-0000-5000-8000-%012d', i), 'T', 't', '', 0, 'test' FROM n"
        ),
        Database::Postgres | Database::Split => format!(
            "INSERT INTO tracked_company (group_id, company_id, name, name_key, homepage, create_us, create_by) \
             SELECT 'acme', '00000000-0000-5000-8000-' || lpad(i::text, 12, '0'), 'T', 't', '', 0, 'test' \
             FROM generate_series(1, {MOST}) AS n(i)"
        ),
    };
    sql(&world, &rows);
    let named = |number: usize| format!("companies/00000000-0000-5000-8000-{number:012}");
    let track = |companies: Vec<v1::company_to_track::Company>| v1::TrackCompaniesRequest {
        parent: "groups/acme".to_owned(),
        companies: companies
            .into_iter()
            .map(|company| v1::CompanyToTrack {
                company: Some(company),
            })
            .collect(),
    };
    let new = || {
        v1::company_to_track::Company::NewCompany(v1::NewCompany {
            display_name: "New".to_owned(),
            homepage_uri: "https://www.one-too-many.com".to_owned(),
        })
    };
    // Tracked companies may be tracked again; one more company may not.
    let again = (1..=1_000).map(|number| v1::company_to_track::Company::Name(named(number)));
    let again = bounded(ok(ann.companies.track_companies(track(again.collect()))).await);
    assert_eq!(again.companies.len(), 1_000);
    let no = refused(ann.companies.track_companies(track(vec![new()]))).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::ResourceExhausted, "LIMIT_REACHED")
    );
    assert!(no.details.quota_failure().is_some());
    let one = v1::UntrackCompaniesRequest {
        parent: ann.parent.clone(),
        names: vec![named(7)],
    };
    ok(ann.companies.untrack_companies(one)).await;
    ok(ann.companies.track_companies(track(vec![new()]))).await;
    let list = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        filter: "tracked = true".to_owned(),
        order_by: "domain".to_owned(),
        show_total_size: true,
        page_size: 1,
        ..Default::default()
    };
    let found = ok(ann.companies.list_companies(list)).await;
    assert_eq!(found.total_size, Some(MOST as i64));
    assert_eq!(found.companies[0].domain, "one-too-many.com");
}
