//! Limits the number of log lines per second of a connector: one that logs in a loop must not fill the disk.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Maximum number of lines logged in a second; further lines are counted and dropped.
const MOST_A_SECOND: u32 = 1_000;

/// Counts the lines of one source.
#[derive(Debug)]
pub(super) struct Lines {
    second: Mutex<(Instant, u32)>,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Log it. Some lines before it may have been dropped.
    Logged {
        /// The number of dropped lines.
        dropped: u32,
    },
    /// Drop it, because the limit is reached.
    Dropped,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            second: Mutex::new((Instant::now(), 0)),
        }
    }
}

impl Lines {
    /// Counts a line.
    pub(super) fn one(&self) -> Line {
        let mut second = self.second.lock();
        let (began, count) = &mut *second;
        let mut dropped = 0;
        if began.elapsed() >= Duration::from_secs(1) {
            dropped = count.saturating_sub(MOST_A_SECOND);
            (*began, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
        if *count > MOST_A_SECOND {
            return Line::Dropped;
        }
        Line::Logged { dropped }
    }
}

/// The message about dropped lines.
pub(super) fn lost(dropped: u32) -> String {
    format!("it logs too much: {dropped} lines were dropped, {MOST_A_SECOND} a second are kept")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let lines = Lines::default();
        let logged = (0..5_000).filter(|_| lines.one() != Line::Dropped).count();
        // If the machine stalls for a second during the test, a second period begins with a new limit.
        assert!((1_000..5_000).contains(&logged), "{logged}");
        lines.second.lock().0 -= Duration::from_secs(1);
        let dropped = u32::try_from(5_000 - logged).unwrap();
        assert!(matches!(lines.one(), Line::Logged { dropped: count } if count <= dropped && count > 0));
    }
}
