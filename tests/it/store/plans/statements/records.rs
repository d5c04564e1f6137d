//! Records outside of syncs.

use super::*;

/// A record read live, with a complete list of its children.
pub(super) async fn live_read(w: &mut World, r: &Round<'_>) {
    let Round {
        of,
        n,
        first,
        version,
        read_us,
        ..
    } = *r;
    let live = Refresh {
        complete: vec![ChildSet {
            parent_object: "Account".to_owned(),
            parent_id: account(first + 2 * n + 1),
            child_object: "Contact".to_owned(),
        }],
        ..refresh(
            of,
            read_us + 3,
            vec![batch(
                "Account",
                read_us + 3,
                vec![account_row(first + 2 * n + 1, version, 0)],
            )],
        )
    };
    ask!(w, 2, record_refresh(live));
}

/// The change feed.
pub(super) async fn feed(w: &mut World, r: &Round<'_>) {
    let Round { of, size, n, .. } = *r;
    let head = ask!(w, 1, record_change_no(of.id));
    ask!(
        w,
        3 * n,
        record_changes(of.id, size.accounts as i64 / 2, n as i64, 1 << 30)
    );
    ask!(
        w,
        3 * n,
        record_changes(of.id, head - n as i64, n as i64, 1 << 30)
    );
    ask!(
        w,
        3 * n,
        record_changes(
            of.id,
            size.accounts as i64 + size.accounts as i64 / 2,
            n as i64,
            1 << 30
        )
    );
    ask!(w, 1, record_forgotten(of.id));
    // The rows of 2 n tombstones are read for the last number.
    ask!(w, 3 * n, record_forget(of.id, NOW + 1, 10));
}

/// Records by their keys.
pub(super) async fn look_ups(w: &mut World, r: &Round<'_>) {
    let Round { of, n, first, .. } = *r;
    let ids = |from: usize| (from..from + n).map(account).collect::<Vec<String>>();
    ask!(w, 50, record_company_keys(of.id, r.companies()));
    ask!(
        w,
        3 * n,
        record_links(of.id, "Account", ids(first + 2 * n), "Contact")
    );
    ask!(
        w,
        3 * n,
        record_related_keys(of.id, "Account", ids(first + 2 * n), "Contact")
    );
    let seen = ask!(
        w,
        3 * n,
        record_each(of.id, "Account", ids(first + 2 * n), 0_usize, |seen, _| {
            *seen += 1;
            true
        })
    );
    assert!(seen > 0);
}
