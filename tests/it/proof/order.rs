//! Random orders, and how they are written.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::condition::{Measure, random_measure};
use super::write::write_measure;

#[derive(Debug, Clone)]
pub(super) enum Key {
    Name,
    Domain,
    Field {
        source: usize,
        key: &'static str,
        part: &'static str,
        descending: bool,
    },
    Measured(Measure),
}

pub(super) fn random_order(rng: &mut StdRng) -> Vec<(Key, bool)> {
    const KEYS: &[(&str, &str)] = &[
        ("Industry", ""),
        ("Motto", ""),
        ("Staff", ""),
        ("Revenue", ""),
        ("Ratio", ""),
        ("Open", ""),
        ("Founded", ""),
        ("Seen", ""),
        ("Bell", ""),
        ("Owner", ""),
        ("Owner", "id"),
        ("Seat", "city"),
        ("Place", "latitude"),
    ];
    (0..rng.random_range(0..4))
        .map(|_| {
            let descending = rng.random_bool(0.5);
            let key = match rng.random_range(0..7) {
                0 => Key::Name,
                1 => Key::Domain,
                2 => Key::Measured(random_measure(rng)),
                _ => {
                    let (key, part) = KEYS.choose(rng).unwrap();
                    Key::Field {
                        source: rng.random_range(0..2),
                        key,
                        part,
                        descending,
                    }
                }
            };
            (key, descending)
        })
        .collect()
}

pub(super) fn write_order(order: &[(Key, bool)]) -> String {
    let keys = order.iter().map(|(key, descending)| {
        let way = if *descending { " desc" } else { "" };
        match key {
            Key::Name => format!("display_name{way}"),
            Key::Domain => format!("domain{way}"),
            Key::Measured(measure) => format!("{}{way}", write_measure(measure)),
            Key::Field {
                source, key, part, ..
            } => {
                let dot = if part.is_empty() { "" } else { "." };
                format!("{}.Account.{key}{dot}{part}{way}", ["one", "two"][*source])
            }
        }
    });
    keys.collect::<Vec<_>>().join(", ")
}
