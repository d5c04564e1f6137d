//! Faults of the organization itself: fields that are removed or get another type, hosts that are left, jobs that stand still.

use serde_json::{Value as Json, json};

use super::{At, Fault, LASTING, Retyped, act};
use crate::truth::Is;
use crate::way::{DATA, Way};

/// Removed fields come back with other values, and no record has a later time because of it.
pub(super) fn fields(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    let removed = json!({ "object": "Account", "field": "Renewal_Date__c" });
    let back = json!({
        "object": "Account", "field": "Renewal_Date__c", "label": "Renewal Date", "type": "date",
    });
    all.push(
        Fault::new("a field is removed")
            .control("/fields/remove", removed.clone())
            .undo("/fields/add", back.clone()),
    );
    // Where the field was read before, nothing tells that it was away.
    let mut middle = Fault::new("a field is removed in the middle")
        .order(act(at(), json!([{ "route": "/fields/remove", "body": removed }])))
        .undo("/fields/add", back);
    (middle.changes, middle.everything) = (true, true);
    all.push(middle);
    let typed = |kind: &str, size: &str| json!({ "object": "Account", "field": "Discount__c", "label": "Discount", "type": kind, "size": size });
    let retyped = |later: bool| {
        Some(Retyped {
            field: "Account.Discount__c",
            is: Is::Text,
            later,
        })
    };
    // A read of changes lists no fields: their types are compared once a day.
    let later = !matches!(at().way, Way::Rest | Way::Bulk);
    let mut text = Fault::new("a number becomes a text")
        .control("/fields/add", typed("string", "40"))
        .undo("/fields/add", typed("percent", "5.2"));
    text.retyped = retyped(later);
    all.push(text);
    let mut text = Fault::new("a number becomes a text in the middle")
        .order(act(
            at(),
            json!([{ "route": "/fields/add", "body": typed("string", "40") }]),
        ))
        .undo("/fields/add", typed("percent", "5.2"));
    text.retyped = retyped(true);
    all.push(text);
}

/// The organization leaves its host, and comes back to it afterwards.
pub(super) fn hosts(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At, host: &str) {
    let other = host.replace("127.0.0.1", "localhost");
    let leave = |how: &str| json!({ "from": host, "to": other, "how": how });
    let back = json!({ "from": other, "to": host, "how": "notReset" });
    all.push(
        Fault::new("the organization has moved to another host")
            .control("/hosts", leave("notReset"))
            .undo("/hosts", back.clone()),
    );
    for how in ["notReset", "page", "redirect"] {
        all.push(
            Fault::new(format!("the organization moves in the middle ({how})"))
                .order(act(at(), json!([{ "route": "/hosts", "body": leave(how) }])))
                .undo("/hosts", back.clone()),
        );
    }
}

/// Jobs of Bulk that are never complete.
pub(super) fn stuck_jobs(all: &mut Vec<Fault>) {
    let stuck = |name: &str, state: &str, times: u32| {
        let script: Json = json!({ "then": state, "polls": 0, "times": times });
        Fault::new(name)
            .control("/jobs/script", script)
            .clear("/jobs/script")
    };
    all.push(stuck("a job is not begun", "UploadComplete", 1));
    all.push(stuck("no job gets on", "InProgress", LASTING));
    let hours = json!([{ "route": "/clock", "body": { "dateSkewSeconds": 3 * 3600 } }]);
    all.push(
        stuck("a job does not get on for hours", "UploadComplete", 1)
            .order(json!({
                "request": "bulk_job", "path": DATA, "skip": 2, "times": 1, "kind": "act", "act": hours,
            }))
            .undo("/clock", json!({ "dateSkewSeconds": 0 })),
    );
}
