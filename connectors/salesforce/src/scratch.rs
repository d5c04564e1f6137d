use crate::*;
use tether_connector_sdk::proto::*;
#[test]
fn fixtures() {
    for (o, f) in [(0,"Account"),(1,"Contact"),(2,"Opportunity"),(4,"Case")] {
        let t = std::fs::read_to_string(format!("/work/shared/fixtures/salesforce/describe_{f}.json")).unwrap();
        let d = describe::fields(&OBJECTS[o], &t).unwrap();
        println!("{f} {} {}", d.label, d.fields.len());
        for x in &d.fields { if x.long_text || x.calculated || x.r#type()==FieldType::Address { println!("  {} {:?} {}", x.key, x.r#type(), x.length); } }
        for own in OBJECTS[o].own_fields() { if !d.fields.iter().any(|x| x.key==own) { println!("  not in describe: {own}"); } }
    }
    for f in ["auth_success","reauth_success","refresh_success"] {
        let t = std::fs::read_to_string(format!("/work/shared/fixtures/salesforce/{f}.json")).unwrap();
        let t: tether_connector_sdk::oauth::Token = serde_json::from_str(&t).unwrap();
        println!("{f} {:?} {:?}", t.extra_text("instance_url"), t.extra_text("id").and_then(token::identity_ids));
    }
    for f in ["expired_session","query_error","sobject_find_error"] {
        let t = std::fs::read_to_string(format!("/work/shared/fixtures/salesforce/{f}.json")).unwrap();
        println!("{:?}", errors::classify(400, t.as_bytes(), None, 0));
    }
}
#[test]
fn speed() {
    let types = [FieldType::Text, FieldType::Picklist, FieldType::Currency, FieldType::Date, FieldType::Timestamp, FieldType::Reference, FieldType::Boolean, FieldType::Integer];
    let fields: Vec<SelectedField> = (0..30).map(|i| SelectedField { key: format!("Field_{i:02}__c"), r#type: types[i % types.len()].into() }).collect();
    let (plan, _) = plan::Plan::new(&OBJECTS[0], &fields, None, 14000);
    let mut text = String::from(r#"{"totalSize":100000,"done":false,"nextRecordsUrl":"/services/data/v62.0/query/x-2000","records":["#);
    for r in 0..2000 {
        if r > 0 { text.push(','); }
        let id = ids::normalise(&format!("0010000000{r:05}")).unwrap();
        text += &format!(r#"{{"attributes":{{"type":"Account","url":"/services/data/v62.0/sobjects/Account/{id}"}}"#);
        for c in &plan.parts[0] {
            let v = match c.key.as_str() {
                "Id" => format!("\"{id}\""), "IsDeleted" => "false".into(), "MasterRecordId" => "null".into(),
                "SystemModstamp" => "\"2024-05-06T07:08:09.000+0000\"".into(), "Name" => format!("\"Company number {r}\""),
                "Website" => format!("\"https://www.company{r}.com\""),
                k => match types[k[6..8].parse::<usize>().unwrap() % types.len()] {
                    FieldType::Currency => format!("{}.50", r * 1000), FieldType::Date => "\"2024-05-06\"".into(),
                    FieldType::Timestamp => "\"2024-05-06T07:08:09.000+0000\"".into(), FieldType::Reference => "\"005x00000012Q9PAAU\"".into(),
                    FieldType::Boolean => "true".into(), FieldType::Integer => format!("{r}"), FieldType::Picklist => "\"Technology\"".into(),
                    _ => "\"Some text of a usual length\"".into() } };
            text += &format!(",\"{}\":{v}", c.key);
        }
        text.push('}');
    }
    text += "]}";
    let mut best = f64::MAX; let mut best2 = f64::MAX;
    for _ in 0..30 {
        let t = std::time::Instant::now();
        let page = page::read(&text, &plan.parts[0]).unwrap();
        best = best.min(t.elapsed().as_secs_f64() / 2000.0 * 1e6);
        let r = records::records(&OBJECTS[0], page);
        best2 = best2.min(t.elapsed().as_secs_f64() / 2000.0 * 1e6);
        assert_eq!(r.len(), 2000);
    }
    println!("{} bytes/row: parse {best:.2} us/row, with records {best2:.2} us/row", text.len() / 2000);
}
