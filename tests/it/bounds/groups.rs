//! One group beside others, and the size of a group's own list.

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1;
use tether::proto::v1::company_to_track::Company;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{bounded, dummy, metrics};
use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases, refused, until};

on_both_databases!(a_group_tracks_so_many_companies, one_group_cannot_starve_another);

type Listed = Result<tonic::Response<v1::ListCompaniesResponse>, Status>;

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
    let mut greta = Greta::of(&world).await;
    waits(&world, &ann, &mut greta, &name).await;
    lists(&ann, &mut greta).await;
    streams(&mut ann, &mut greta.person).await;
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

/// Somebody of another group.
struct Greta {
    person: Person,
    theirs: String,
}

impl Greta {
    async fn of(world: &World) -> Self {
        let mut person = world.person("greta", "globex", Role::Administrator).await;
        let (theirs, _) = dummy(&mut person, "Theirs", &["Company.Name"]).await;
        Self { person, theirs }
    }
}

/// Whether the answer says that the group has too much in progress. Other errors are this one only.
fn overloaded(answer: Listed, other: &str) -> bool {
    let no = Refused::from(match answer {
        Ok(_) => return false,
        Err(status) => status,
    });
    // On a slow machine the flooding group waits too long for its own turn at the database.
    let expected = ["GROUP_OVERLOADED", "STORAGE_UNAVAILABLE", other];
    assert!(expected.contains(&no.reason.as_str()), "{no:?}");
    assert!(no.details.retry_info().is_some());
    no.reason == "GROUP_OVERLOADED"
}

/// 1,100 calls that wait for a position that is never reached.
async fn waits(world: &World, ann: &Person, greta: &mut Greta, name: &str) {
    let wait = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        at_least: vec![v1::SourcePosition {
            integration: name.to_owned(),
            change_number: i64::MAX,
            time: None,
        }],
        ..Default::default()
    };
    let mut calls = JoinSet::new();
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
        assert_eq!(greta.person.all_companies(1_000).await.len(), 200);
        assert_eq!(greta.person.get(&greta.theirs).await.name, greta.theirs);
    }
    let mut refusals = 0;
    while let Some(answer) = calls.join_next().await {
        refusals += usize::from(overloaded(answer.unwrap(), "INDEX_NOT_READY"));
    }
    assert!(refusals > 0, "8 may wait");
}

/// 64 lists with the maximum number of columns.
async fn lists(ann: &Person, greta: &mut Greta) {
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
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let (mut ann, wide) = (ann.clone(), wide.clone());
        calls.spawn(async move { ann.companies.list_companies(wide).await });
    }
    for _ in 0..5 {
        assert_eq!(greta.person.all_companies(1_000).await.len(), 200);
    }
    let mut served = 0;
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        served += usize::from(answer.is_ok());
        overloaded(answer, "GROUP_OVERLOADED");
    }
    assert!(served > 0, "two at a time are served");
}

/// A limited number per group; a permit is free again when a stream has ended.
async fn streams(ann: &mut Person, greta: &mut Person) {
    let watch = |person: &Person| v1::WatchGroupRequest {
        parent: person.parent.clone(),
        resume_token: String::new(),
    };
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(ok(ann.integrations.watch_group(watch(ann))).await);
    }
    let no = refused(ann.integrations.watch_group(watch(ann))).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::ResourceExhausted, "GROUP_OVERLOADED")
    );
    ok(greta.integrations.watch_group(watch(greta))).await;
    streams.pop();
    until("its place is free", async || {
        let mut ann = ann.clone();
        ann.integrations.watch_group(watch(&ann)).await.is_ok()
    })
    .await;
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
    world.sql(&rows);
    let named = |number: usize| format!("companies/00000000-0000-5000-8000-{number:012}");
    let track = |companies: Vec<Company>| v1::TrackCompaniesRequest {
        parent: "groups/acme".to_owned(),
        companies: companies
            .into_iter()
            .map(|company| v1::CompanyToTrack {
                company: Some(company),
            })
            .collect(),
    };
    let new = || {
        Company::NewCompany(v1::NewCompany {
            display_name: "New".to_owned(),
            homepage_uri: "https://www.one-too-many.com".to_owned(),
        })
    };
    // Tracked companies may be tracked again; one more company may not.
    let again = (1..=1_000).map(|number| Company::Name(named(number)));
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
