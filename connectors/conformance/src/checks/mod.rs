//! The checks, in the order of execution.

mod changes;
mod check;
mod config;
mod describe;
mod fault;
mod fetch;
mod fields;
mod foreign;
mod grant;
mod life;
mod login;
mod manifest;
mod pressure;
mod read;
mod refusal;
mod request;
mod resume;
mod safety;
mod time;

pub(crate) use check::Check;

/// Every check. The first one decides whether the others can run.
pub(crate) const ALL: &[Check] = &[
    manifest::IN_ORDER,
    manifest::OPENS,
    describe::OFFLINE,
    describe::WHOLE,
    config::OPERATOR,
    config::GROUP,
    login::ADDRESS,
    login::WORKS,
    login::DENIED,
    login::CODE,
    grant::REFRESH,
    grant::STREAM,
    grant::REVOKE,
    grant::MOVED,
    fields::LISTED,
    fields::COUNTED,
    read::PAYLOADS,
    read::RECORDS,
    read::COVERS,
    read::CHECKPOINTS,
    read::MISSING,
    resume::EVERY,
    resume::KILLED,
    resume::INVALID_CHECKPOINT,
    changes::NOTHING,
    changes::APPLIED,
    changes::LATE,
    changes::UNREAD,
    changes::CALCULATED,
    changes::SWEEP,
    changes::RECORDS,
    changes::STATE,
    changes::FULL,
    changes::KILLED,
    fetch::KNOWN,
    fetch::ABSENT,
    fetch::DELETED,
    fetch::MANY,
    pressure::BOUNDED,
    time::CANCEL,
    time::DEADLINE,
    time::PULLS,
    time::CLOSE,
    fault::CALLS,
    fault::STREAMS,
    refusal::OBJECT,
    refusal::LIMIT,
    foreign::STREAMS,
    foreign::CALLS,
    life::CONCURRENT,
    request::MALFORMED,
    request::NUMBERS,
    life::GROWTH,
    safety::READ_ONLY,
    safety::SECRETS,
];

/// Whether a check has to pass before all others.
pub(crate) fn is_first(check: &Check) -> bool {
    check.id == manifest::IN_ORDER.id || check.id == manifest::OPENS.id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_every_check_names_its_rules() {
        let mut ids: Vec<_> = ALL.iter().map(|check| check.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        for check in ALL {
            assert!(
                !check.spec.is_empty() && check.why.ends_with('.') && check.id.contains('.'),
                "{}",
                check.id
            );
        }
    }
}
