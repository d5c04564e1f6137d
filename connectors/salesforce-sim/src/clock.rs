//! Salesforce's clock, as a test can set it.

use crate::value;

/// A clock that runs beside the machine's, or stands still.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// The difference to the machine's clock, in seconds.
    skew: i64,
    /// The time at which it stands still.
    stopped: Option<i64>,
    /// The difference of the `Date` headers to this clock.
    header_skew: i64,
}

impl Clock {
    /// Seconds since 1970.
    pub(crate) fn now(self) -> i64 {
        self.stopped.unwrap_or_else(|| value::now() + self.skew)
    }

    /// The time of `Date` headers.
    pub(crate) fn date(self) -> i64 {
        self.now() + self.header_skew
    }

    pub(crate) fn is_stopped(self) -> bool {
        self.stopped.is_some()
    }

    /// Sets it ahead of the machine's clock, running.
    pub(crate) fn set_skew(&mut self, seconds: i64) {
        (self.skew, self.stopped) = (seconds, None);
    }

    pub(crate) fn set_header_skew(&mut self, seconds: i64) {
        self.header_skew = seconds;
    }

    /// Stops it at a time.
    pub(crate) fn stop(&mut self, at: i64) {
        self.stopped = Some(at);
    }

    pub(crate) fn advance(&mut self, seconds: i64) {
        match &mut self.stopped {
            Some(at) => *at += seconds,
            None => self.skew += seconds,
        }
    }

    /// Lets it run on from its time.
    pub(crate) fn run(&mut self) {
        self.skew = self.now() - value::now();
        self.stopped = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_stands_advances_and_runs_on() {
        let mut clock = Clock::default();
        clock.stop(1_000);
        clock.advance(60);
        clock.set_header_skew(-5);
        assert_eq!((clock.now(), clock.date()), (1_060, 1_055));
        clock.run();
        assert!((1_060..1_100).contains(&clock.now()) && !clock.is_stopped());
    }
}
