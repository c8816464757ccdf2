//! When to try again: one pure value; randomness and clock are the caller's.

use std::time::Duration;

/// Exponential backoff with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait before the second attempt.
    pub first: Duration,
    /// Longest wait before any attempt.
    pub longest: Duration,
    /// Attempts in all, the first included.
    pub attempts: u32,
}

impl Backoff {
    /// For resources: 4 attempts within at most 1 + 2 + 4 s of waiting. What needs longer (a sleeping
    /// database, a container that warms up) waits by itself, knowing better for what.
    pub const RESOURCE: Self =
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(15), attempts: 4 };

    /// How long to wait after attempt number `attempt` (from 1) failed; `None` when it was the last.
    /// `random` in 0..1 picks a point in the upper half, so that hosts that failed together do not
    /// come back together and no wait is next to nothing.
    #[must_use]
    pub fn after(&self, attempt: u32, random: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let factor = 2u32.saturating_pow(attempt.saturating_sub(1));
        let whole = self.first.saturating_mul(factor).min(self.longest);
        Some(whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0))
    }
}

/// A random number in 0..1 from the kernel; the middle where it has none to give.
#[must_use]
pub fn random() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_ends() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(3), attempts: 5 };
        let waits: Vec<_> = (1..6).map(|attempt| backoff.after(attempt, 1.0)).collect();
        let seconds = [Some(1), Some(2), Some(3), Some(3), None].map(|s| s.map(Duration::from_secs));
        assert_eq!(waits, seconds);
    }

    proptest! {
        #[test]
        fn jitter_stays_in_the_upper_half(attempt in 1u32..100, random in 0.0f64..=1.0) {
            let backoff = Backoff { attempts: 1000, ..Backoff::RESOURCE };
            let whole = backoff.after(attempt, 1.0).unwrap();
            let wait = backoff.after(attempt, random).unwrap();
            prop_assert!(wait <= whole && wait >= whole / 2 && whole <= backoff.longest);
        }

        #[test]
        fn never_more_attempts_than_it_says(attempts in 0u32..10, more in 0u32..10) {
            let backoff = Backoff { attempts, ..Backoff::RESOURCE };
            prop_assert!(backoff.after(attempts + more, 0.5).is_none());
        }
    }
}
