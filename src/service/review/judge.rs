//! What a review concludes from the facts that were gathered for it.

use crate::domain::{GroupId, name_key};
use crate::error::Reason;
use crate::service::account_limit::{ACCOUNT_LIMIT, is_full, is_last};
use crate::store::{FieldRef, Share};
use tether_connector_proto::ObjectRole;

/// One object of a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewedObject {
    /// The object's key.
    pub object: String,
    /// The display name.
    pub label: String,
    /// The role of the object in tether.
    pub role: ObjectRole,
    /// The number of its fields that are selected.
    pub fields: usize,
    /// The number of records in the CRM, and whether it is exact; `None` if the user cannot see the object.
    pub records: Option<(u64, bool)>,
}

/// A selected field, and what the CRM says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedField {
    /// The field.
    pub field: FieldRef,
    /// Whether the CRM marks it as sensitive; `None` if the user cannot see the field.
    pub sensitive: Option<bool>,
}

/// What is known of the integration as it would be saved.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// Whether it is a draft.
    pub(super) draft: bool,
    /// Active integrations of its account, over all groups.
    pub(super) account_integrations: i64,
    /// Its display name.
    pub(super) display_name: &'a str,
    /// The name keys of the owner's other integrations.
    pub(super) other_names: Vec<String>,
    /// Its objects, the company object first.
    pub(super) objects: &'a [ReviewedObject],
    /// Its selected fields.
    pub(super) fields: Vec<SelectedField>,
    /// The shares as they are stored.
    pub(super) shares_before: &'a [Share],
    /// The shares as they would be.
    pub(super) shares: &'a [Share],
    /// The groups that the owner is connected with.
    pub(super) connections: Vec<GroupId>,
}

/// What a review concludes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it cannot be saved: (reason, sentence).
    pub blocking: Vec<(Reason, String)>,
    /// The number of receiving groups that would lose fields or the source.
    pub losing: usize,
    /// Whether it takes the last active integration that its account can have.
    pub last_slot: bool,
    /// Selected fields that the user can no longer see, as object.key.
    pub missing: Vec<String>,
    /// Selected fields that the CRM marks as sensitive, as object.key.
    pub sensitive: Vec<String>,
    /// Objects that the user cannot see and of which fields are selected, and the company object.
    pub invisible: Vec<String>,
}

/// Judges what was gathered. Reads nothing else.
pub(super) fn judge(facts: &Facts<'_>) -> Verdict {
    let names = |wanted: &dyn Fn(&SelectedField) -> bool| {
        facts
            .fields
            .iter()
            .filter(|one| wanted(one))
            .map(|one| format!("{}.{}", one.field.object, one.field.key))
            .collect()
    };
    Verdict {
        blocking: blocking(facts),
        // Nobody receives a draft.
        losing: match facts.draft {
            true => 0,
            false => losing(facts.shares_before, facts.shares),
        },
        last_slot: facts.draft && is_last(facts.account_integrations),
        missing: names(&|one| one.sensitive.is_none()),
        sensitive: names(&|one| one.sensitive == Some(true)),
        invisible: facts
            .objects
            .iter()
            .filter(|one| one.records.is_none())
            .map(|one| one.object.clone())
            .collect(),
    }
}

fn blocking(facts: &Facts<'_>) -> Vec<(Reason, String)> {
    let mut blocking = Vec::new();
    if facts.fields.is_empty() {
        blocking.push((Reason::NoFieldsSelected, "no field is selected".to_owned()));
    }
    let company = facts.objects.iter().find(|one| one.role == ObjectRole::Company);
    if let Some(company) = company.filter(|one| one.records.is_none()) {
        let text = format!(
            "the logged-in user cannot see {}, the object of companies",
            company.label
        );
        blocking.push((Reason::CrmForbidden, text));
    }
    if facts.draft && is_full(facts.account_integrations) {
        let text =
            format!("the account already has {ACCOUNT_LIMIT} active integrations in all groups, the maximum");
        blocking.push((Reason::AccountLimitReached, text));
    }
    if facts.other_names.contains(&name_key(facts.display_name)) {
        let text = format!(
            "the group has an integration named {:?} already",
            facts.display_name
        );
        blocking.push((Reason::NameTaken, text));
    }
    for share in facts.shares {
        if !facts.connections.contains(&share.group_id) {
            let text = format!(
                "{} is not connected with the owner any more",
                share.group_id.name()
            );
            blocking.push((Reason::GroupsNotConnected, text));
        }
    }
    blocking
}

/// The number of receivers that would lose fields or the share.
fn losing(before: &[Share], after: &[Share]) -> usize {
    before
        .iter()
        .filter(|share| {
            let after = after.iter().find(|one| one.group_id == share.group_id);
            after.is_none_or(|after| share.shared.iter().any(|field| !after.shared.contains(field)))
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(key: &str) -> FieldRef {
        FieldRef {
            object: "account".to_owned(),
            key: key.to_owned(),
        }
    }

    fn selected(key: &str, sensitive: Option<bool>) -> SelectedField {
        let field = field(key);
        SelectedField { field, sensitive }
    }

    fn share(group: &str, keys: &[&str]) -> Share {
        Share {
            integration_id: crate::domain::IntegrationId::new(),
            group_id: group.parse().unwrap(),
            group_name: group.to_owned(),
            fields: None,
            shared: keys.iter().map(|key| field(key)).collect(),
            connected: true,
            create_us: 0,
            update_us: 0,
        }
    }

    fn object(key: &str, role: ObjectRole, records: Option<(u64, bool)>) -> ReviewedObject {
        ReviewedObject {
            object: key.to_owned(),
            label: format!("the {key}s"),
            role,
            fields: 1,
            records,
        }
    }

    /// What the facts of a case refer to.
    struct Fixture {
        seen: [ReviewedObject; 2],
        hidden: [ReviewedObject; 2],
        before: [Share; 2],
        fewer: [Share; 2],
        one_left: [Share; 1],
    }

    impl Fixture {
        fn new() -> Self {
            let (account, deal) = (ObjectRole::Company, ObjectRole::Deal);
            Self {
                seen: [
                    object("account", account, Some((7, true))),
                    object("deal", deal, Some((3, false))),
                ],
                hidden: [object("account", account, None), object("deal", deal, None)],
                before: [share("globex", &["name", "phone"]), share("initech", &["name"])],
                fewer: [share("globex", &["name"]), share("initech", &["name", "phone"])],
                one_left: [share("initech", &["name"])],
            }
        }

        /// A draft that can be saved.
        fn draft(&self) -> Facts<'_> {
            Facts {
                draft: true,
                account_integrations: 0,
                display_name: "Our CRM",
                other_names: vec![name_key("Another")],
                objects: &self.seen,
                fields: vec![selected("name", Some(false))],
                shares_before: &[],
                shares: &self.before,
                connections: vec!["globex".parse().unwrap(), "initech".parse().unwrap()],
            }
        }

        /// The same, saved with its shares.
        fn saved(&self) -> Facts<'_> {
            Facts {
                draft: false,
                shares_before: &self.before,
                ..self.draft()
            }
        }
    }

    /// A case: its name, how its facts differ from those of the fixture, what blocks, and the rest of the verdict.
    type Case = (
        &'static str,
        for<'a> fn(&mut Facts<'a>, &'a Fixture),
        &'static [Reason],
        Verdict,
    );

    fn hold(of: for<'a> fn(&'a Fixture) -> Facts<'a>, cases: Vec<Case>) {
        let fixture = Fixture::new();
        for (case, differ, blocking, expected) in cases {
            let mut facts = of(&fixture);
            differ(&mut facts, &fixture);
            let verdict = judge(&facts);
            let reasons: Vec<Reason> = verdict.blocking.iter().map(|(reason, _)| *reason).collect();
            assert_eq!(reasons, blocking, "{case}");
            let rest = Verdict {
                blocking: vec![],
                ..verdict
            };
            assert_eq!(rest, expected, "{case}");
        }
    }

    fn none() -> Verdict {
        Verdict::default()
    }

    fn invisible(objects: &[&str]) -> Verdict {
        Verdict {
            invisible: objects.iter().map(|&object| object.to_owned()).collect(),
            ..none()
        }
    }

    #[test]
    fn a_draft_is_blocked() {
        let cases: Vec<Case> = vec![
            ("it can be saved", |_, _| {}, &[], none()),
            (
                "no field is selected",
                |f, _| f.fields.clear(),
                &[Reason::NoFieldsSelected],
                none(),
            ),
            (
                "the user cannot see the objects",
                |f, of| f.objects = &of.hidden,
                &[Reason::CrmForbidden],
                invisible(&["account", "deal"]),
            ),
            (
                "the account is full",
                |f, _| f.account_integrations = 5,
                &[Reason::AccountLimitReached],
                none(),
            ),
            (
                "the name is another integration's, written otherwise",
                |f, _| f.display_name = "ANOTHER",
                &[Reason::NameTaken],
                none(),
            ),
            (
                "a receiver is not connected",
                |f, _| drop(f.connections.remove(0)),
                &[Reason::GroupsNotConnected],
                none(),
            ),
            (
                "all that blocks is listed",
                |f, of| {
                    f.account_integrations = 6;
                    f.display_name = "another";
                    f.objects = &of.hidden[..1];
                    f.fields.clear();
                    f.connections.clear();
                },
                &[
                    Reason::NoFieldsSelected,
                    Reason::CrmForbidden,
                    Reason::AccountLimitReached,
                    Reason::NameTaken,
                    Reason::GroupsNotConnected,
                    Reason::GroupsNotConnected,
                ],
                invisible(&["account"]),
            ),
        ];
        hold(Fixture::draft, cases);
    }

    #[test]
    fn what_does_not_block_a_draft() {
        let gone_and_sensitive = Verdict {
            missing: vec!["account.gone".to_owned()],
            sensitive: vec!["account.iban".to_owned()],
            ..none()
        };
        let last_slot = Verdict {
            last_slot: true,
            ..none()
        };
        let cases: Vec<Case> = vec![
            (
                "fields are gone, or sensitive",
                |f, _| f.fields = vec![selected("gone", None), selected("iban", Some(true))],
                &[],
                gone_and_sensitive,
            ),
            (
                "the account has room for one more",
                |f, _| f.account_integrations = 4,
                &[],
                last_slot,
            ),
            (
                "the account has room for two more",
                |f, _| f.account_integrations = 3,
                &[],
                none(),
            ),
            (
                "nobody receives a draft",
                |f, of| (f.shares_before, f.shares) = (&of.before, &[]),
                &[],
                none(),
            ),
        ];
        hold(Fixture::draft, cases);
    }

    #[test]
    fn a_saved_integration_has_its_slot_and_receivers() {
        let losing = Verdict { losing: 1, ..none() };
        let cases: Vec<Case> = vec![
            (
                "it is one of the five",
                |f, _| f.account_integrations = 5,
                &[],
                none(),
            ),
            (
                "it takes no further slot",
                |f, _| f.account_integrations = 4,
                &[],
                none(),
            ),
            (
                "one receiver gets fewer fields, another more",
                |f, of| f.shares = &of.fewer,
                &[],
                losing.clone(),
            ),
            (
                "one receiver gets nothing any more",
                |f, of| f.shares = &of.one_left,
                &[],
                losing,
            ),
        ];
        hold(Fixture::saved, cases);
    }
}
