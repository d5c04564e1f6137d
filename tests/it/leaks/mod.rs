//! The hunt for leaks: random worlds of groups, connections, shares, activations, disables and deletions. After each step
//! every read of every group is held against a slow and obvious model of who may see what; and what a step has nothing to
//! do with a group must not change one byte of what that group reads.
//!
//! `TETHER_LEAK_STEPS=2000 TETHER_LEAK_SEED=7 cargo test --release --test it leaks:: -- --nocapture` makes it a long one (about a
//! second a step and database; nextest would end it after five minutes); it prints the number of comparisons.

mod check;
mod companies;
mod model;
mod steps;

use crate::support::server::{Database, World, ok, on_both_databases};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tether::caller::Role;
use tether::proto::v1;

use model::*;
use steps::{Hunt, People};

on_both_databases!(nobody_sees_what_is_not_theirs);

macro_rules! same {
    ($hunt:expr, $step:expr, $what:expr, $left:expr, $right:expr) => {{
        $hunt.comparisons += 1;
        match ($left, $right) {
            (left, right) => assert!(
                left == right,
                "after {}: {}: the server says {left:?}, the model {right:?}",
                $step,
                $what
            ),
        }
    }};
}
pub(crate) use same;

async fn nobody_sees_what_is_not_theirs(database: Database) {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (steps, seed) = (number("TETHER_LEAK_STEPS", 12), number("TETHER_LEAK_SEED", 1));
    let world = World::start(database, 1).await;
    let mut platform = world.person("platform", "", Role::Service).await;
    let mut people = Vec::new();
    for group in GROUPS {
        let of = v1::Group {
            name: format!("groups/{group}"),
            display_name: group.to_owned(),
            ..Default::default()
        };
        ok(platform
            .groups
            .upsert_group(v1::UpsertGroupRequest { group: Some(of) }))
        .await;
        people.push(People {
            admin: world.person("admin", group, Role::Administrator).await,
            member: world.person("member", group, Role::Member).await,
        });
    }
    let mut hunt = Hunt {
        world,
        people,
        platform,
        model: Model::default(),
        dice: StdRng::seed_from_u64(seed),
        next: 0,
        comparisons: 0,
        read: vec![String::new(); GROUPS.len()],
    };
    for group in 0..GROUPS.len() {
        hunt.enable(group, true).await;
        hunt.read[group] = hunt.check("the beginning", group).await;
    }
    for number in 0..steps {
        let (step, touched) = hunt.step().await;
        let step = format!("step {number} of seed {seed} ({step})");
        for (group, name) in GROUPS.iter().enumerate() {
            let now = hunt.check(&step, group).await;
            if !touched.contains(&group) {
                same!(
                    hunt,
                    step,
                    format!("{name} has nothing to do with it"),
                    &now,
                    &hunt.read[group].clone()
                );
            }
            hunt.read[group] = now;
        }
        // A long hunt may be cut off: what it has shown until then counts.
        if (number + 1) % 100 == 0 || number + 1 == steps {
            println!(
                "{database:?}: {} steps of seed {seed}, {} comparisons, differences = 0",
                number + 1,
                hunt.comparisons
            );
        }
    }
}
