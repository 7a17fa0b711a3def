//! Pauses that double, so that nothing spins when it fails.

use std::time::Duration;

/// A pause that doubles from the first to the longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pause {
    /// Begins with the first.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        now
    }

    /// Waits for the next one.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// Begins again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_longest_and_begins_again() {
        let mut pause = Pause::new(Duration::from_secs(1), Duration::from_secs(3));
        let three = [pause.next(), pause.next(), pause.next()].map(|pause| pause.as_secs());
        pause.reset();
        assert_eq!((three, pause.next().as_secs()), ([1, 2, 3], 1));
    }
}
