//! All Companies and Tracked Companies against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

fn company(id: &str, name: &str, of: CompanyId) -> RecordRow {
    RecordRow {
        name: name.to_owned(),
        company_id: Some(of),
        homepage: Some(format!("{id}.com")),
        ..row(id, 1, 1)
    }
}

fn track(company_id: CompanyId, name: &str) -> Track {
    Track {
        company_id,
        name: name.to_owned(),
        homepage: String::new(),
    }
}

async fn walk(
    store: &Store,
    g: &GroupId,
    sources: &[IntegrationId],
    limit: usize,
    tracked: bool,
) -> Vec<Company> {
    let mut all: Vec<Company> = Vec::new();
    loop {
        let after = all.last().map(Company::key);
        let page = if tracked {
            store
                .company_list_tracked(g, sources.to_vec(), after, limit)
                .await
                .unwrap()
        } else {
            store
                .company_list_all(g, sources.to_vec(), after, limit)
                .await
                .unwrap()
        };
        let full = page.len() == limit;
        all.extend(page);
        if !full {
            return all;
        }
    }
}

both! {
    async fn the_first_source_names_a_company(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let two = active(store, &g, "Two").await;
        let [a, b, c] = ["a", "b", "c"].map(CompanyId::of_domain);
        store.record_refresh(refresh(&one, 1, vec![batch("Account", 1, vec![company("2", "Zeta", a), company("1", "Alpha", a)])])).await.unwrap();
        store.record_refresh(refresh(&two, 1, vec![batch("Account", 1, vec![company("1", "Beta", a), company("2", "Gamma", b)])])).await.unwrap();
        store.company_track(&g, vec![track(b, "Mine"), track(c, "Only mine")], "ada", NOW).await.unwrap();
        let names = |list: &[Company]| list.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let all = walk(store, &g, &[one.id, two.id], 10, false).await;
        assert_eq!(names(&all), ["Alpha", "Gamma", "Only mine"]);
        assert_eq!(all[0].sources, [one.id, two.id]);
        assert_eq!((all[0].homepage.as_deref(), all[0].tracked, all[1].tracked), (Some("1.com"), false, true));
        assert!(all[2].sources.is_empty());
        assert_eq!(names(&walk(store, &g, &[two.id, one.id], 10, false).await), ["Beta", "Gamma", "Only mine"]);
        let tracked = walk(store, &g, &[one.id, two.id], 1, true).await;
        assert_eq!(names(&tracked), ["Mine", "Only mine"]);
        assert_eq!(tracked[0].sources, [two.id]);
        assert_eq!(store.company_count_all(&g, vec![one.id, two.id]).await.unwrap(), 3);
        assert_eq!(store.company_count_all(&g, vec![]).await.unwrap(), 2);
        assert_eq!(store.company_count_tracked(&g).await.unwrap(), 2);
        store.company_track(&g, vec![track(c, "Renamed")], "ada", NOW).await.unwrap();
        assert_eq!(store.company_get(&g, vec![], c).await.unwrap().unwrap().name, "Renamed");
        assert_eq!(store.company_untrack(&g, vec![b, c]).await.unwrap(), 2);
        assert_eq!(store.company_get(&g, vec![one.id], c).await.unwrap(), None);
        assert_eq!(store.company_get(&g, vec![one.id], b).await.unwrap(), None);
        assert_eq!(store.company_get_many(&g, vec![two.id], vec![a, b, c]).await.unwrap().len(), 2);
        // A company that is deleted from a source leaves the list.
        let gone = RecordRow { deleted: true, ..row("1", 0, 9) };
        store.record_refresh(refresh(&one, 9, vec![batch("Account", 9, vec![gone])])).await.unwrap();
        assert_eq!(names(&walk(store, &g, &[one.id, two.id], 10, false).await), ["Gamma", "Zeta"]);
    }

    async fn pages_agree_with_a_naive_model(store) {
        let mut random = StdRng::seed_from_u64(7);
        let g = group(store, "g").await;
        let mut sources = Vec::new();
        for i in 0..4 {
            sources.push(active(store, &g, &format!("S{i}")).await);
        }
        // Few names and many common companies, so that every kind of tie occurs.
        let mut held: Vec<BTreeMap<String, (String, CompanyId)>> = vec![BTreeMap::new(); 4];
        for (source, held) in sources.iter().zip(&mut held) {
            let mut rows = Vec::new();
            for id in 0..random.random_range(150..260) {
                let of = CompanyId::of_domain(&random.random_range(0..220).to_string());
                let name = format!("N{}", random.random_range(0..60));
                rows.push(company(&format!("{id:03}"), &name, of));
                held.insert(format!("{id:03}"), (name, of));
            }
            store.record_refresh(refresh(source, 1, vec![batch("Account", 1, rows)])).await.unwrap();
        }
        let mut tracked = BTreeMap::new();
        for _ in 0..120 {
            let of = CompanyId::of_domain(&random.random_range(0..300).to_string());
            tracked.insert(of, format!("N{}", random.random_range(0..60)));
        }
        let rows = tracked.iter().map(|(of, name)| track(*of, name)).collect();
        store.company_track(&g, rows, "ada", NOW).await.unwrap();

        for order in [vec![0, 1, 2, 3], vec![3, 1], vec![2], vec![]] {
            let ids: Vec<IntegrationId> = order.iter().map(|i| sources[*i].id).collect();
            let mut expected: BTreeMap<CompanyId, (String, Vec<IntegrationId>)> = BTreeMap::new();
            for i in &order {
                let by_name: BTreeSet<(String, &String, CompanyId)> =
                    held[*i].iter().map(|(id, (name, of))| (name_key(name), id, *of)).collect();
                for (name, _, of) in by_name {
                    let entry = expected.entry(of).or_insert_with(|| (name, Vec::new()));
                    if entry.1.last() != Some(&sources[*i].id) {
                        entry.1.push(sources[*i].id);
                    }
                }
            }
            for (of, name) in &tracked {
                expected.entry(*of).or_insert_with(|| (name_key(name), Vec::new()));
            }
            let mut expected: Vec<(String, CompanyId, Vec<IntegrationId>, bool)> = expected
                .into_iter()
                .map(|(of, (name, sources))| (name, of, sources, tracked.contains_key(&of)))
                .collect();
            expected.sort();
            for limit in [1, 7, 50, 1000] {
                let found: Vec<_> = walk(store, &g, &ids, limit, false)
                    .await
                    .into_iter()
                    .map(|c| (c.name_key, c.company_id, c.sources, c.tracked))
                    .collect();
                assert_eq!(found, expected, "{order:?} by {limit}");
            }
            assert_eq!(store.company_count_all(&g, ids.clone()).await.unwrap(), expected.len() as i64);
            let mut own: Vec<_> = tracked.iter().map(|(of, name)| (name_key(name), *of)).collect();
            own.sort();
            let found: Vec<_> =
                walk(store, &g, &ids, 13, true).await.into_iter().map(|c| (c.name_key, c.company_id)).collect();
            assert_eq!(found, own);
        }
    }

    async fn the_platforms_companies_have_a_feed_of_their_own(store) {
        let [a, b, c] = ["a.com", "b.com", "c.com"].map(CompanyId::of_domain);
        let company = |company_id, platform_id: &str, name: &str| PlatformCompany {
            company_id,
            platform_id: platform_id.to_owned(),
            name: name.to_owned(),
            homepage: String::new(),
        };
        let heads = async || {
            let heads = store.integration_heads().await.unwrap();
            heads.into_iter().find(|(id, _)| *id == IntegrationId::platform()).map(|(_, head)| head)
        };
        let platform = IntegrationId::platform();
        let changes = async |after, rows| {
            let page = store.record_changes(platform, after, rows, 1 << 20).await.unwrap();
            let of = |change: Change| {
                let record = change.record;
                (record.company_id.unwrap(), record.name, record.delete_us.is_some(), record.change_no)
            };
            (page.changes.into_iter().map(of).collect::<Vec<_>>(), page.last)
        };
        let live = |id, name: &str, number: i64| (id, name.to_owned(), false, number);
        assert_eq!((store.platform_head().await.unwrap(), heads().await), (0, None));
        let both = vec![company(a, "1", "A"), company(b, "2", "B")];
        assert_eq!(store.platform_upsert(both.clone(), NOW).await.unwrap(), 2);
        assert_eq!(store.platform_upsert(both, NOW).await.unwrap(), 0, "nothing new");
        assert_eq!(heads().await, Some(Some(2)));
        assert_eq!(changes(0, 100).await, (vec![live(a, "A", 1), live(b, "B", 2)], true));
        assert_eq!(changes(0, 1).await, (vec![live(a, "A", 1)], false));
        // Another name; the same company under another platform id.
        let renamed = vec![company(a, "1", "A2"), company(b, "3", "B")];
        assert_eq!(store.platform_upsert(renamed, NOW).await.unwrap(), 2);
        assert_eq!(changes(2, 100).await, (vec![live(a, "A2", 3), live(b, "B", 4)], true));
        // A platform id moves to another company; the first one is a tombstone until it gets a name again.
        assert_eq!(store.platform_upsert(vec![company(c, "1", "C")], NOW).await.unwrap(), 1);
        assert_eq!(changes(4, 100).await, (vec![(a, "A2".to_owned(), true, 5), live(c, "C", 6)], true));
        let known = store.platform_get_many(vec![a, b, c]).await.unwrap();
        let known: BTreeMap<CompanyId, String> = known.into_iter().map(|one| (one.company_id, one.platform_id)).collect();
        assert_eq!(known, BTreeMap::from([(b, "3".to_owned()), (c, "1".to_owned())]));
        // In one list, later entries count.
        let twice = vec![company(a, "4", "A"), company(b, "4", "B4"), company(a, "5", "A5")];
        assert_eq!(store.platform_upsert(twice, NOW).await.unwrap(), 3);
        let (found, _) = changes(6, 100).await;
        assert_eq!(found.into_iter().map(|(id, name, gone, _)| (id, name, gone)).collect::<Vec<_>>(), [
            (b, "B4".to_owned(), false),
            (a, "A5".to_owned(), false),
        ]);
        assert_eq!(store.platform_head().await.unwrap(), store.record_change_no(platform).await.unwrap());
        assert_eq!(store.record_forgotten(platform).await.unwrap(), 0);
        store.company_fill(platform).await.unwrap();
        assert!(store.field_list(platform).await.unwrap().is_empty());
    }
}
