//! When the next run starts: a pure value.

use std::time::Duration;

use super::state::RunOutcome;

/// The longest pause while the database is down, in intervals.
const LONGEST_PAUSE: u32 = 5;
/// The most that a pause is spread by, as a part of the interval: hosts that lost one database together
/// need not come back to it together.
const JITTER: f64 = 0.1;

/// Interval and what is known of the database.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval: Duration,
    failures: u32,
}

impl Schedule {
    /// A schedule that starts a run every `interval`, from start to start.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self { interval, failures: 0 }
    }

    /// How long from the *start* of the run that just ended until the next may start. A run that took
    /// longer than that is followed by the next at once: never two at a time, never one left out for
    /// long. `dice` is between 0 and 1.
    pub fn after(&mut self, outcome: RunOutcome, dice: f64) -> Duration {
        if outcome != RunOutcome::DatabaseDown {
            self.failures = 0;
            return self.interval;
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.interval * factor + self.interval.mul_f64(JITTER * dice.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn runs_follow_each_other_by_the_interval() {
        let mut schedule = Schedule::new(MINUTE);
        for outcome in [RunOutcome::Success, RunOutcome::ModelFailed, RunOutcome::Failed] {
            assert_eq!(schedule.after(outcome, 1.0), MINUTE);
        }
    }

    #[test]
    fn a_database_that_is_down_is_asked_less_and_less() {
        let mut schedule = Schedule::new(MINUTE);
        let pauses: Vec<u64> =
            (0..40).map(|_| schedule.after(RunOutcome::DatabaseDown, 0.0).as_secs()).collect();
        assert_eq!(pauses[..5], [60, 120, 240, 300, 300]);
        assert_eq!(pauses[39], 300);
        assert_eq!(schedule.after(RunOutcome::DatabaseDown, 1.0).as_secs(), 306);
        assert_eq!(schedule.after(RunOutcome::NothingToDo, 0.0), MINUTE);
        assert_eq!(schedule.after(RunOutcome::DatabaseDown, 0.0), MINUTE);
    }
}
