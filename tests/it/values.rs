//! Labels of picklists, aliases of keys and currencies of amounts, over gRPC, with the dummy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use tether::proto::v1;
use tether::proto::v1::value::Kind;

use crate::support::server::{Database, Person, World, ok, on_both_databases, refused};

on_both_databases!(
    labels_of_picklists_take_effect_without_a_change_of_records,
    keys_that_are_no_words_have_aliases,
    amounts_have_their_currency
);

/// Keys that cannot be written in filters without quotes, with the labels of their fields.
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const SPACED: &str = "a.b c";

fn script(more: &Json) -> Json {
    let mut script = json!({"companies": "30", "deals": "2"});
    script
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    script
}

/// A list with these columns, searched up to the last change of the integration.
async fn list(
    of: &mut Person,
    at_least: &v1::SourcePosition,
    filter: &str,
    order_by: &str,
    columns: &[&str],
) -> Vec<v1::Company> {
    let request = v1::ListCompaniesRequest {
        parent: of.parent.clone(),
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
        page_size: 1_000,
        at_least: vec![at_least.clone()],
        ..Default::default()
    };
    ok(of.companies.list_companies(request)).await.companies
}

async fn found(of: &mut Person, at_least: &v1::SourcePosition, filter: &str) -> BTreeSet<String> {
    let companies = list(of, at_least, filter, "", &[]).await;
    companies.into_iter().map(|company| company.name).collect()
}

async fn position(of: &mut Person, name: &str, sync: &str) -> v1::SourcePosition {
    v1::SourcePosition {
        integration: name.to_owned(),
        change_number: of.succeeds(sync).await.change_number,
        time: None,
    }
}

/// A synced integration with the label `firm`.
async fn synced(of: &mut Person, fields: &[&str]) -> (String, v1::SourcePosition) {
    of.enable("dummy").await;
    let name = of.create("dummy", "Firm").await;
    of.log_in_with_key(&name, "ann").await;
    of.select(&name, fields).await;
    let sync = of.activate(&name).await;
    let position = position(of, &name, &sync).await;
    (name, position)
}

async fn synced_again(of: &mut Person, name: &str) -> v1::SourcePosition {
    let sync = of.sync(name).await;
    position(of, name, &sync).await
}

async fn fields(of: &mut Person, name: &str) -> BTreeMap<String, v1::Field> {
    let request = v1::ListFieldsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    let listed = ok(of.integrations.list_fields(request)).await.fields;
    let key = |field: &v1::Field| field.definition.as_ref().unwrap().key.clone();
    listed.into_iter().map(|field| (key(&field), field)).collect()
}

/// The texts of a company's first column: value and label.
fn cells(company: &v1::Company) -> Vec<(String, String)> {
    let text = |value: &v1::Value| match &value.kind {
        Some(Kind::Text(text)) => vec![(text.clone(), value.label.clone())],
        Some(Kind::List(list)) => {
            let labels = list
                .labels
                .iter()
                .cloned()
                .chain(std::iter::repeat(String::new()));
            list.values.iter().cloned().zip(labels).collect()
        }
        other => panic!("{other:?}"),
    };
    company.cells[0].values.iter().flat_map(text).collect()
}

fn pair(value: &str, label: &str) -> (String, String) {
    (value.to_owned(), label.to_owned())
}

async fn labels_of_picklists_take_effect_without_a_change_of_records(database: Database) {
    let world = World::start(database, 1).await;
    world.script(&script(
        &json!({"labels": "Energy=Power & Light,Software=Agriculture,gold=First"}),
    ));
    let mut ann = world.ann().await;
    let (name, at) = synced(&mut ann, &["Company.Name", "Company.Industry", "Company.Tags"]).await;

    let energy = values_and_labels_find_the_same(&mut ann, &at).await;
    lists_show_and_sort_labels(&mut ann, &at).await;
    let energetic = energy.first().unwrap();
    a_profile_shows_labels(&mut ann, energetic).await;
    a_changed_label_changes_no_record(&world, &mut ann, &name, &at, &energy).await;
    a_listing_of_the_fields_renews_labels(&world, &mut ann, &name, &at, &energy).await;
}

/// As wholes, by words and by their beginnings. Answers the companies of one value.
async fn values_and_labels_find_the_same(ann: &mut Person, at: &v1::SourcePosition) -> BTreeSet<String> {
    let energy = found(ann, at, "firm.Company.Industry = \"Power & Light\"").await;
    assert!(!energy.is_empty() && energy.len() < 30);
    for filter in ["= Energy", ": light", "= \"power*\"", ": \"ligh*\""] {
        assert_eq!(
            found(ann, at, &format!("firm.Company.Industry {filter}")).await,
            energy,
            "{filter}"
        );
    }
    let others = found(ann, at, "firm.Company.Industry != \"Power & Light\"").await;
    assert_eq!(others.len(), 30 - energy.len());
    // The label of one entry is the value of another: both are meant.
    let both = list(
        ann,
        at,
        "firm.Company.Industry = Agriculture",
        "",
        &["firm.Company.Industry"],
    )
    .await;
    let meant: BTreeSet<(String, String)> = both.iter().flat_map(cells).collect();
    assert_eq!(
        meant,
        BTreeSet::from([pair("Agriculture", ""), pair("Software", "Agriculture")])
    );
    let tagged = list(ann, at, "firm.Company.Tags = First", "", &["firm.Company.Tags"]).await;
    assert!(!tagged.is_empty());
    assert!(
        tagged
            .iter()
            .all(|company| cells(company).contains(&pair("gold", "First")))
    );
    energy
}

async fn lists_show_and_sort_labels(ann: &mut Person, at: &v1::SourcePosition) {
    let sorted = list(
        ann,
        at,
        "source = firm",
        "firm.Company.Industry",
        &["firm.Company.Industry"],
    )
    .await;
    let shown: Vec<String> = sorted
        .iter()
        .flat_map(cells)
        .map(|(value, label)| if label.is_empty() { value } else { label })
        .collect();
    assert_eq!(shown.len(), 30);
    assert!(shown.is_sorted(), "{shown:?}");
    let pages: Vec<String> = {
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListCompaniesRequest {
                parent: ann.parent.clone(),
                filter: "source = firm".to_owned(),
                order_by: "firm.Company.Industry".to_owned(),
                page_size: 7,
                page_token,
                ..Default::default()
            };
            let page = ok(ann.companies.list_companies(request)).await;
            names.extend(page.companies.into_iter().map(|company| company.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break names;
            }
        }
    };
    assert_eq!(
        pages,
        sorted
            .iter()
            .map(|company| company.name.clone())
            .collect::<Vec<_>>()
    );
}

async fn a_profile_shows_labels(ann: &mut Person, company: &str) {
    let card = ann.open(company).await.cards.remove(0);
    let table = card.company_records.unwrap();
    let column = table
        .columns
        .iter()
        .position(|column| column.key == "Industry")
        .unwrap();
    let value = &table.records[0].values[column];
    assert_eq!(value.kind, Some(Kind::Text("Energy".to_owned())));
    assert_eq!(value.label, "Power & Light");
}

/// A label changes in the CRM, and no record does.
async fn a_changed_label_changes_no_record(
    world: &World,
    ann: &mut Person,
    name: &str,
    at: &v1::SourcePosition,
    energy: &BTreeSet<String>,
) {
    world.script(&script(&json!({"labels": "Energy=Strom"})));
    let sync = ann.sync(name).await;
    let written: i64 = ann
        .succeeds(&sync)
        .await
        .objects
        .iter()
        .filter_map(|object| object.counts.map(|counts| counts.written))
        .sum();
    assert_eq!(written, 0);
    assert_eq!(found(ann, at, "firm.Company.Industry = Strom").await, *energy);
    assert_eq!(found(ann, at, "firm.Company.Industry = Energy").await, *energy);
    assert!(found(ann, at, "firm.Company.Industry : light").await.is_empty());
    let listed = list(
        ann,
        at,
        "firm.Company.Industry = Strom",
        "",
        &["firm.Company.Industry"],
    )
    .await;
    assert!(
        listed
            .iter()
            .flat_map(cells)
            .all(|cell| cell == pair("Energy", "Strom"))
    );
}

/// It renews them as a sync does.
async fn a_listing_of_the_fields_renews_labels(
    world: &World,
    ann: &mut Person,
    name: &str,
    at: &v1::SourcePosition,
    energy: &BTreeSet<String>,
) {
    world.script(&script(&json!({"labels": "Energy=Kraft"})));
    let request = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    ok(ann.integrations.list_available_fields(request)).await;
    assert_eq!(found(ann, at, "firm.Company.Industry = Kraft").await, *energy);
}

async fn keys_that_are_no_words_have_aliases(database: Database) {
    let world = World::start(database, 1).await;
    let keys = |label: &str| script(&json!({"keys": format!("{HASH}=Favourite Colour,{SPACED}={label}")}));
    world.script(&keys("Favourite colour!"));
    let mut ann = world.ann().await;
    let selected = [
        "Company.Industry".to_owned(),
        format!("Company.{HASH}"),
        format!("Company.{SPACED}"),
    ];
    let selected: Vec<&str> = selected.iter().map(String::as_str).collect();
    let (name, at) = synced(&mut ann, &selected).await;
    let listed = fields(&mut ann, &name).await;
    let named = |key: &str| (listed[key].alias.as_str(), listed[key].query_key.as_str());
    assert_eq!(named("Industry"), ("", "firm.Company.Industry"));
    assert_eq!(named(HASH), ("favourite_colour", "firm.Company.favourite_colour"));
    assert_eq!(
        named(SPACED),
        ("favourite_colour_2", "firm.Company.favourite_colour_2")
    );

    // The alias is accepted wherever the key is, and the key too.
    let three = found(&mut ann, &at, &format!("firm.Company.\"{HASH}\" = \"value 3\"")).await;
    assert!(!three.is_empty() && three.len() < 30);
    for filter in [
        "firm.Company.favourite_colour = \"value 3\"",
        "firm.Company(favourite_colour_2 : 3 AND favourite_colour : 3)",
        &format!("firm.Company.\"{SPACED}\" : 3"),
    ] {
        assert_eq!(found(&mut ann, &at, filter).await, three, "{filter}");
    }
    let column = "firm.Company.favourite_colour_2";
    let sorted = list(
        &mut ann,
        &at,
        "source = firm",
        "firm.Company.favourite_colour desc",
        &[column],
    )
    .await;
    let shown: Vec<String> = sorted.iter().flat_map(cells).map(|(value, _)| value).collect();
    assert_eq!(shown.len(), 30);
    assert!(shown.iter().rev().is_sorted(), "{shown:?}");
    let twice = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        columns: vec![column.to_owned(), format!("firm.Company.\"{SPACED}\"")],
        ..Default::default()
    };
    let refusal = refused(ann.companies.list_companies(twice)).await;
    assert!(
        refusal.message.contains("the same as columns[0]"),
        "{}",
        refusal.message
    );

    // Without quotes, the error says how the key is written.
    for (filter, hint) in [
        (format!("firm.Company.{HASH} = x"), "in quotes, or as its alias"),
        (
            "firm.Company.a.b = x".to_owned(),
            "firm.Company.favourite_colour_2",
        ),
        ("firm.Company.a b = x".to_owned(), "in quotes, or as its alias"),
    ] {
        let request = v1::ListCompaniesRequest {
            parent: ann.parent.clone(),
            filter: filter.clone(),
            ..Default::default()
        };
        let refusal = refused(ann.companies.list_companies(request)).await;
        assert!(refusal.message.contains(hint), "{filter}: {}", refusal.message);
    }

    // The alias stays when the label changes, and when another field is selected or deselected.
    world.script(&keys("Size"));
    synced_again(&mut ann, &name).await;
    let listed = fields(&mut ann, &name).await;
    let label = |key: &str| listed[key].definition.as_ref().unwrap().label.clone();
    assert_eq!(
        (label(SPACED).as_str(), listed[SPACED].alias.as_str()),
        ("Size", "favourite_colour_2")
    );
    ann.select(&name, &["Company.Industry", selected[2]]).await;
    assert_eq!(fields(&mut ann, &name).await[SPACED].alias, "favourite_colour_2");
    ann.select(&name, &["Company.Name", selected[1], selected[2]])
        .await;
    let listed = fields(&mut ann, &name).await;
    assert_eq!(listed[SPACED].alias, "favourite_colour_2");
    assert_eq!(listed[HASH].alias, "favourite_colour");
}

async fn amounts_have_their_currency(database: Database) {
    let world = World::start(database, 1).await;
    world.script(&script(&json!({})));
    let mut ann = world.ann().await;
    let (_, at) = synced(&mut ann, &["Company.Revenue", "Deal.Amount"]).await;
    let all = list(
        &mut ann,
        &at,
        "source = firm",
        "",
        &["firm.Company.Revenue", "firm.Deal.Amount"],
    )
    .await;
    let money = |cell: &v1::CompanyCell| -> Vec<v1::Money> {
        let one = |value: &v1::Value| match &value.kind {
            Some(Kind::Money(money)) => money.clone(),
            other => panic!("{other:?}"),
        };
        cell.values.iter().map(one).collect()
    };
    // All companies have the currency of the account, each deal its own.
    let whole: BTreeSet<String> = all.iter().map(|company| company.name.clone()).collect();
    assert_eq!(
        found(&mut ann, &at, "firm.Company.Revenue.currency_code = chf").await,
        whole
    );
    assert!(
        found(&mut ann, &at, "firm.Company.Revenue.currency_code != CHF")
            .await
            .is_empty()
    );
    let mut currencies = BTreeSet::new();
    for company in &all {
        assert!(
            money(&company.cells[0])
                .iter()
                .all(|one| one.currency_code == "CHF")
        );
        currencies.extend(money(&company.cells[1]).into_iter().map(|one| one.currency_code));
    }
    assert_eq!(
        currencies,
        BTreeSet::from(["CHF", "EUR", "USD"].map(str::to_owned))
    );
    for code in &currencies {
        let filter = format!("firm.Deal(Amount > 500000 AND Amount.currency_code = {code})");
        let of_code = |one: &v1::Money| {
            one.currency_code == *code && one.amount.parse::<f64>().is_ok_and(|amount| amount > 500_000.0)
        };
        let with = all
            .iter()
            .filter(|company| money(&company.cells[1]).iter().any(of_code));
        let expected: BTreeSet<String> = with.map(|company| company.name.clone()).collect();
        assert!(!expected.is_empty() && expected.len() < 30);
        assert_eq!(found(&mut ann, &at, &filter).await, expected, "{filter}");
    }
    // A live read gives the same as the sync: opening a profile changes no amount.
    for company in all.iter().take(5) {
        let card = ann.open(&company.name).await.cards.remove(0);
        let table = card.company_records.unwrap();
        assert_eq!(table.records[0].values[0].kind, company.cells[0].values[0].kind);
    }
    assert_eq!(
        synced_again(&mut ann, &at.integration).await.change_number,
        at.change_number
    );
}
