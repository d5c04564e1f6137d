//! Reads plans: PostgreSQL's from its log, with the rows and pages that each step read, and SQLite's by their
//! texts.

use std::{fs, path::Path};

use serde_json::Value as Json;

/// The plans that were logged since the last call, of statements in this database.
pub(super) fn plans(log: &Path, database: &str, read: &mut u64) -> Vec<Json> {
    use std::io::{Read as _, Seek as _};
    let mut file = fs::File::open(log).unwrap();
    file.seek(std::io::SeekFrom::Start(*read)).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    *read += bytes.len() as u64;
    let text = String::from_utf8_lossy(&bytes);
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.starts_with(&format!("{database}: LOG:")) && line.ends_with("plan:")) {
            continue;
        }
        let mut json = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(line);
            json.push('\n');
        }
        found.push(serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}")));
    }
    found
}

fn number(plan: &Json, name: &str) -> f64 {
    plan[name].as_f64().unwrap_or(0.0)
}

/// The rows that the steps of a plan read, and the pages.
pub(super) fn cost(plan: &Json) -> (f64, f64) {
    let own = [
        "Actual Rows",
        "Rows Removed by Filter",
        "Rows Removed by Join Filter",
        "Rows Removed by Index Recheck",
    ]
    .iter()
    .map(|name| number(plan, name))
    .sum::<f64>()
        * number(plan, "Actual Loops");
    let below: f64 = plan["Plans"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|plan| cost(plan).0)
        .sum();
    (
        own + below,
        number(plan, "Shared Hit Blocks") + number(plan, "Shared Read Blocks"),
    )
}

/// A plan in readable form.
pub(super) fn tree(plan: &Json, depth: usize) -> String {
    let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "{}{} {} {} rows {} of {} expected, loops {}, pages {} [{}{}]\n",
        "  ".repeat(depth),
        text("Node Type"),
        text("Relation Name"),
        text("Index Name"),
        number(plan, "Actual Rows"),
        number(plan, "Plan Rows"),
        number(plan, "Actual Loops"),
        number(plan, "Shared Hit Blocks") + number(plan, "Shared Read Blocks"),
        text("Index Cond"),
        text("Filter"),
    );
    for below in plan["Plans"].as_array().into_iter().flatten() {
        out.push_str(&tree(below, depth + 1));
    }
    out
}

/// Large tables. A plan must reach their rows through an index, with more than the integration or the group
/// as key.
pub(super) const LARGE: &[&str] = &[
    "record",
    "record_link",
    "record_child",
    "company_record",
    "company_name",
    "sync",
    "group_event",
    "audit_entry",
    "tracked_company",
    "request",
    "outbox",
];
/// Methods that read all rows of an integration or a group: (method, part of SQLite's plan).
pub(super) const WHOLE: &[(&str, &str)] = &[
    // A unique index: each integration has one unfinished sync at most.
    ("sync_enqueue", "sync_unfinished"),
    ("sync_finish", "company_record"),
    ("company_tracked", "tracked_company"),
    ("company_count_tracked", "tracked_company"),
    ("company_count_all", "company_record"),
    ("company_count_all", "tracked_company"),
    ("integration_purge", "record"),
    ("integration_purge", "record_link"),
    ("integration_purge", "record_child"),
    ("integration_purge", "company_record"),
    ("integration_purge", "company_name"),
    ("group_delete", "tracked_company"),
    ("group_delete", "group_event"),
    // The index has only syncs that have not ended: at most one per integration.
    ("sync_enqueue", "sync USING INDEX sync_unfinished"),
    ("sync_enqueue", "sync USING INDEX sync_fence"),
    ("integration_activate", "sync USING INDEX sync_fence"),
    ("integration_delete", "sync USING INDEX sync_unfinished"),
    // From the newest, as many as fit on a page.
    ("audit_list", "audit_entry USING INDEX audit_entry_create"),
    ("audit_list", "audit_entry USING INDEX audit_entry_group"),
    // Rows that are deleted with it through foreign keys.
    ("integration_purge", "sync USING COVERING INDEX sync_fence"),
    ("integration_delete", "sync USING COVERING INDEX sync_fence"),
];

/// The table that a step of SQLite's plan reads, and whether the step reads all rows of it, of an integration
/// or of a group.
pub(super) fn goes_through(detail: &str, text: &str) -> Option<(String, bool)> {
    let mut words = detail.split(' ');
    let verb = words.next()?;
    let named = words.next()?;
    // In the text, an alias follows its table.
    let before = text
        .split([' ', ',', '`', '(', ')'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>();
    let table = match LARGE.contains(&named) {
        true => named.to_owned(),
        false => before
            .windows(2)
            .find(|two| two[1] == named)
            .map(|two| two[0].to_owned())
            .unwrap_or_default(),
    };
    let whole = match verb {
        "SCAN" => true,
        "SEARCH" => {
            let by = detail
                .rsplit_once('(')
                .map(|(_, by)| by.trim_end_matches(')'))
                .unwrap_or_default();
            matches!(
                by,
                "integration_id=?" | "group_id=?" | "integration_id=? AND object=?"
            )
        }
        _ => return None,
    };
    Some((table, whole))
}
