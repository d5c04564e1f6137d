//! Rows, CSV and Arrow say the same of the same companies.

use std::io::Cursor;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::DataType;
use tether::proto::v1::export_companies_request::Encoding;
use tether::proto::v1::{self, value::Kind};

use super::{export, open, rest, track_many, whole};
use crate::support::server::{Database, Person, World};

/// Columns of every kind that the simulated Salesforce has, and their types in Arrow.
const COLUMNS: &[(&str, &str)] = &[
    ("Account.Name", "Utf8"),
    ("Account.Segment__c", "Utf8"),
    ("Account.Products_Used__c", "List(Utf8)"),
    ("Account.NumberOfEmployees", "Int64"),
    ("Account.AnnualRevenue", "Utf8"),
    ("Account.Discount__c", "Utf8"),
    ("Account.Strategic__c", "Boolean"),
    ("Account.Renewal_Date__c", "Date32"),
    ("Account.CreatedDate", "Timestamp(Microsecond, Some(\"UTC\"))"),
    ("Account.OwnerId", "Utf8"),
    ("Account.BillingAddress", "Utf8"),
    ("Account.Description", "Utf8"),
    ("Opportunity.Name", "List(Utf8)"),
    ("Opportunity.Amount", "List(Utf8)"),
    ("Opportunity.CloseDate", "List(Date32)"),
    ("Opportunity.IsWon", "List(Boolean)"),
];

#[tokio::test]
async fn rows_csv_and_arrow_say_the_same() {
    let world = World::start(Database::Sqlite, 300).await;
    let mut ann = world.ann().await;
    let fields: Vec<&str> = COLUMNS.iter().map(|(field, _)| *field).collect();
    ann.enable("salesforce").await;
    let name = ann.salesforce("Sales", &fields).await;
    ann.wait_long_for(&name, 1).await;
    track_many(&mut ann, 600, 100).await;
    let request = v1::ExportCompaniesRequest {
        columns: fields.iter().map(|field| format!("sales.{field}")).collect(),
        page_size: 200,
        ..export(&ann)
    };
    let rows: Vec<v1::Company> = whole(&mut ann, &request)
        .await
        .into_iter()
        .flat_map(|one| one.companies)
        .collect();
    assert!(rows.len() > 850);
    csv_says(&mut ann, &request, &rows).await;
    arrow_says(&mut ann, request, &rows).await;
}

async fn csv_says(ann: &mut Person, request: &v1::ExportCompaniesRequest, rows: &[v1::Company]) {
    // A CSV export that is interrupted after its first message is one file with one header.
    let csv = v1::ExportCompaniesRequest {
        encoding: Encoding::Csv.into(),
        ..request.clone()
    };
    let (first, rest) = in_two(ann, &csv).await;
    let table = parsed(&[first, rest].concat());
    let header: Vec<&str> = table[0].iter().map(String::as_str).collect();
    assert_eq!(
        header[..7],
        [
            "name",
            "display_name",
            "domain",
            "homepage_uri",
            "platform_id",
            "tracked",
            "sources"
        ]
    );
    assert_eq!(header.last(), Some(&"incomplete"));
    assert_eq!(header.len(), 7 + COLUMNS.len() + 2 + 1);
    assert_eq!(table.len(), rows.len() + 1);
    let column = |name: &str| header.iter().position(|one| *one == name).unwrap();
    for (row, cells) in rows.iter().zip(&table[1..]) {
        assert_eq!((&row.name, &row.display_name), (&cells[0], &cells[1]));
        assert_eq!(cells[5], row.tracked.to_string());
        for (at, (field, _)) in COLUMNS.iter().enumerate() {
            let shown: Vec<String> = row.cells[at].values.iter().map(shown).collect();
            assert_eq!(
                cells[column(&format!("sales.{field}"))],
                shown.join("\n"),
                "{field}"
            );
            let cut = row.cells[at].more || row.cells[at].values.iter().any(|value| value.part.is_some());
            let incomplete: Vec<&str> = cells[cells.len() - 1].split('\n').collect();
            assert_eq!(
                incomplete.contains(&format!("sales.{field}").as_str()),
                cut,
                "{field}"
            );
        }
        let codes: Vec<String> = row.cells[13].values.iter().map(currency).collect();
        assert_eq!(
            cells[column("sales.Opportunity.Amount.currency_code")],
            codes.join("\n")
        );
    }
}

async fn arrow_says(ann: &mut Person, request: v1::ExportCompaniesRequest, rows: &[v1::Company]) {
    // Each stream of Arrow can be read alone.
    let arrow = v1::ExportCompaniesRequest {
        encoding: Encoding::ArrowIpc.into(),
        ..request
    };
    let (first, rest) = in_two(ann, &arrow).await;
    let batches = [batches(first), batches(rest)].concat();
    let schema = batches[0].schema();
    for (field, data_type) in COLUMNS {
        let found = schema
            .field_with_name(&format!("sales.{field}"))
            .unwrap()
            .data_type();
        assert_eq!(told(found), *data_type, "{field}");
    }
    assert!(batches.iter().all(|batch| batch.schema() == schema));
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        rows.len()
    );
    let mut rows = rows.iter();
    for batch in &batches {
        let of = |name: &str| batch.column_by_name(name).unwrap();
        for at in 0..batch.num_rows() {
            let row = rows.next().unwrap();
            assert_eq!(of("name").as_string::<i32>().value(at), row.name);
            let values = |column: usize| row.cells[column].values.iter().map(shown).collect::<Vec<_>>();
            let employees =
                of("sales.Account.NumberOfEmployees").as_primitive::<arrow_array::types::Int64Type>();
            let employees = employees.is_valid(at).then(|| employees.value(at).to_string());
            assert_eq!(employees, values(3).first().cloned());
            let amounts = of("sales.Opportunity.Amount").as_list::<i32>().value(at);
            let amounts = amounts.as_string::<i32>();
            let amounts: Vec<String> = amounts.iter().map(|one| one.unwrap().to_owned()).collect();
            assert_eq!(amounts, values(13));
            let incomplete = of("incomplete").as_list::<i32>().value(at);
            let incomplete: Vec<_> = incomplete
                .as_string::<i32>()
                .iter()
                .flatten()
                .map(str::to_owned)
                .collect();
            for (number, (field, data_type)) in COLUMNS.iter().enumerate() {
                let cell = &row.cells[number];
                let single = !field.starts_with("Opportunity");
                let shown = if single {
                    cell.values.len().min(1)
                } else {
                    cell.values.len()
                };
                let fits = |value: &v1::Value| {
                    let raw = matches!(value.kind, Some(Kind::Raw(_)));
                    value.part.is_none() && !raw
                };
                let whole = !cell.more && shown == cell.values.len() && cell.values[..shown].iter().all(fits);
                assert_eq!(
                    incomplete.contains(&format!("sales.{field}")),
                    !whole,
                    "{field} {data_type} {cell:?}"
                );
            }
        }
    }
}

/// The data of an export that is interrupted after its first message: until then, and from there on.
async fn in_two(person: &mut Person, request: &v1::ExportCompaniesRequest) -> (Vec<u8>, Vec<u8>) {
    let mut stream = open(person, request, "").await;
    let first = stream.message().await.unwrap().unwrap();
    drop(stream);
    let stream = open(person, request, &first.resume_token).await;
    let messages = rest(stream).await.unwrap();
    assert!(messages.len() > 1 && messages.iter().all(|message| message.companies.is_empty()));
    (
        first.data,
        messages.into_iter().flat_map(|message| message.data).collect(),
    )
}

/// The records of a text in the form of RFC 4180.
fn parsed(data: &[u8]) -> Vec<Vec<String>> {
    let text = std::str::from_utf8(data).unwrap();
    let (mut table, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut characters) = (false, text.chars().peekable());
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => cell.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {
                assert_eq!(characters.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                table.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(row.is_empty() && cell.is_empty() && !quoted, "the last line ends");
    table
}

/// A value as the comment of ExportCompaniesResponse says.
fn shown(value: &v1::Value) -> String {
    match value.kind.as_ref().unwrap() {
        Kind::Text(text) if value.label.is_empty() => text.clone(),
        Kind::Text(_) => value.label.clone(),
        Kind::Boolean(yes) => yes.to_string(),
        Kind::Integer(number) => number.to_string(),
        Kind::Decimal(number) | Kind::Raw(number) => number.clone(),
        Kind::Money(money) => money.amount.clone(),
        Kind::Date(date) => format!("{:04}-{:02}-{:02}", date.year, date.month, date.day),
        Kind::Timestamp(time) => {
            let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
            jiff::Timestamp::from_nanosecond(nanos).unwrap().to_string()
        }
        Kind::List(list) => {
            let entry = |(at, value): (usize, &String)| match list.labels.get(at) {
                Some(label) if !label.is_empty() => label.clone(),
                _ => value.clone(),
            };
            list.values
                .iter()
                .enumerate()
                .map(entry)
                .collect::<Vec<_>>()
                .join(";")
        }
        Kind::Reference(to) if to.label.is_empty() => to.id.clone(),
        Kind::Reference(to) => to.label.clone(),
        Kind::Address(address) => {
            let mut object = serde_json::Map::new();
            for (key, part) in [
                ("street", &address.street),
                ("city", &address.city),
                ("postal_code", &address.postal_code),
                ("state", &address.state),
                ("state_code", &address.state_code),
                ("country", &address.country),
                ("country_code", &address.country_code),
            ] {
                if !part.is_empty() {
                    object.insert(key.to_owned(), part.as_str().into());
                }
            }
            serde_json::Value::Object(object).to_string()
        }
        other => panic!("no such field is exported here: {other:?}"),
    }
}

fn currency(value: &v1::Value) -> String {
    match &value.kind {
        Some(Kind::Money(money)) => money.currency_code.clone(),
        other => panic!("no amount: {other:?}"),
    }
}

fn batches(data: Vec<u8>) -> Vec<RecordBatch> {
    StreamReader::try_new(Cursor::new(data), None)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// A type without the names of the fields in it.
fn told(of: &DataType) -> String {
    match of {
        DataType::List(item) => format!("List({})", told(item.data_type())),
        other => format!("{other:?}"),
    }
}
