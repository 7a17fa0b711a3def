//! The rules of the lease, without requests and without a clock: time comes in, from whatever beginning.

use std::time::Duration;

/// The lease object, as far as it matters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Who holds it; empty = nobody.
    pub holder: String,
    /// How long it holds without being renewed.
    pub duration: Duration,
    /// When the holder got it, in microseconds since 1970, by its clock.
    pub acquired_us: i64,
    /// When it was last renewed, by the holder's clock.
    pub renewed_us: i64,
    /// How often it has changed hands.
    pub transitions: i32,
    /// The version of the object; a write of another version is refused.
    pub version: Option<String>,
}

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Nothing: another holds it.
    Wait,
    /// Make the object.
    Create(Record),
    /// Write it, if it is still of the version it says.
    Write(Record),
}

/// What one candidate knows.
#[derive(Clone, Debug)]
pub(super) struct Election {
    identity: String,
    duration: Duration,
    /// The object as last seen, and since when it has been as it is.
    seen: Option<(Record, Duration)>,
    /// Whether what was last seen is the last that we wrote ourselves, so that it need not be read.
    last_is_ours: bool,
    /// Until when we hold it.
    until: Option<Duration>,
}

impl Election {
    pub(super) fn new(identity: String, duration: Duration) -> Self {
        Self { identity, duration, seen: None, last_is_ours: false, until: None }
    }

    /// True if the object need not be read before the next step.
    pub(super) fn knows_last(&self) -> bool {
        self.last_is_ours
    }

    /// The object was read at `now`. What counts is when *we* saw it change: clocks of others are not compared.
    pub(super) fn saw(&mut self, record: Option<Record>, now: Duration) {
        let same = |known: &(Record, Duration)| record.as_ref() == Some(&known.0);
        if !self.seen.as_ref().is_some_and(same) {
            self.seen = record.map(|record| (record, now));
        }
    }

    /// What to do at `now`; `clock_us` is what is written down as the time.
    pub(super) fn step(&self, now: Duration, clock_us: i64) -> Step {
        let fresh = Record {
            holder: self.identity.clone(),
            duration: self.duration,
            acquired_us: clock_us,
            renewed_us: clock_us,
            transitions: 0,
            version: None,
        };
        let Some((record, since)) = &self.seen else { return Step::Create(fresh) };
        let version = record.version.clone();
        if record.holder == self.identity {
            let acquired_us = record.acquired_us;
            return Step::Write(Record { acquired_us, transitions: record.transitions, version, ..fresh });
        }
        let over = record.holder.is_empty() || now.saturating_sub(*since) >= record.duration;
        // Whoever has led once and lost it does not lead again: the process ends.
        if !over || self.until.is_some() {
            return Step::Wait;
        }
        Step::Write(Record { transitions: record.transitions + 1, version, ..fresh })
    }

    /// When another's lease, as last seen, will have run out, if that is still to come.
    pub(super) fn over(&self, now: Duration) -> Option<Duration> {
        let (record, since) = self.seen.as_ref().filter(|(record, _)| record.holder != self.identity)?;
        Some(*since + record.duration).filter(|over| *over > now)
    }

    /// The object was written as asked, by a request that was sent at `before`.
    pub(super) fn wrote(&mut self, record: Record, before: Duration) {
        let ours = record.holder == self.identity;
        self.until = ours.then_some(before + self.duration);
        self.last_is_ours = ours;
        self.seen = Some((record, before));
    }

    /// A write was refused, or nobody knows what became of it.
    pub(super) fn failed(&mut self) {
        self.last_is_ours = false;
    }

    /// Until when we hold it, if we ever did.
    pub(super) fn until(&self) -> Option<Duration> {
        self.until
    }

    /// True once we held it and hold it no more.
    pub(super) fn is_lost(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// The object as it is given back.
    pub(super) fn released(&self) -> Record {
        let last = self.seen.as_ref().map(|(record, _)| record.clone()).unwrap_or_default();
        Record { holder: String::new(), duration: Duration::from_secs(1), ..last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: Duration = Duration::from_secs(2);

    /// The API server: refuses what is of another version.
    #[derive(Default)]
    struct Server {
        record: Option<Record>,
        version: u64,
    }

    impl Server {
        fn take(&mut self, step: Step) -> Option<Record> {
            let (record, expected) = match step {
                Step::Wait => return None,
                Step::Create(record) => (record, None),
                Step::Write(record) => (record.clone(), record.version),
            };
            let known = self.record.as_ref().and_then(|record| record.version.clone());
            if known != expected {
                return None;
            }
            self.version += 1;
            self.record = Some(Record { version: Some(self.version.to_string()), ..record });
            self.record.clone()
        }
    }

    fn turn(it: &mut Election, server: &mut Server, now: Duration) {
        if !it.knows_last() {
            it.saw(server.record.clone(), now);
        }
        match it.step(now, now.as_micros() as i64) {
            Step::Wait => {}
            step => match server.take(step) {
                Some(record) => it.wrote(record, now),
                None => it.failed(),
            },
        }
    }

    fn leads(it: &Election, now: Duration) -> bool {
        it.until().is_some() && !it.is_lost(now)
    }

    fn two() -> (Election, Election, Server) {
        let of = |name: &str| Election::new(name.to_owned(), D);
        (of("a"), of("b"), Server::default())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_leads_and_goes_on_leading() {
        let (mut a, mut b, mut server) = two();
        for at in (0..20_000).step_by(500) {
            turn(&mut a, &mut server, ms(at));
            turn(&mut b, &mut server, ms(at + 10));
            assert!(leads(&a, ms(at + 20)) && !leads(&b, ms(at + 20)), "at {at} ms");
        }
        assert_eq!(server.record.unwrap().transitions, 0);
    }

    #[test]
    fn a_leader_that_is_gone_is_replaced_within_2_5_s_and_never_too_early() {
        let renew = ms(500);
        // The other looks half a second after its last look, or when the lease is over; the leader dies right after a renewal.
        for late in (0..500).step_by(20) {
            let (mut a, mut b, mut server) = two();
            turn(&mut a, &mut server, ms(0));
            let mut at = ms(late);
            while !leads(&b, at) {
                assert!(at < ms(10_000), "nobody took over");
                turn(&mut b, &mut server, at);
                assert!(!(leads(&a, at) && leads(&b, at)), "both lead at {at:?}");
                if !leads(&b, at) {
                    at = b.over(at).map_or(at + renew, |over| over.min(at + renew));
                }
            }
            assert!(a.is_lost(at) && at <= ms(2_500), "at {at:?}, the first look after {late} ms");
        }
    }

    #[test]
    fn a_lease_that_is_given_back_is_taken_at_once() {
        let (mut a, mut b, mut server) = two();
        turn(&mut a, &mut server, ms(0));
        turn(&mut b, &mut server, ms(100));
        server.take(Step::Write(a.released())).expect("given back");
        turn(&mut b, &mut server, ms(600));
        assert!(leads(&b, ms(600)));
        assert_eq!(server.record.unwrap().transitions, 1);
    }

    #[test]
    fn of_two_that_take_over_at_once_one_is_refused() {
        let (mut a, mut b, mut server) = two();
        let steps = [a.step(ms(0), 0), b.step(ms(0), 0)];
        let taken = steps.map(|step| server.take(step));
        assert!(taken[0].is_some() && taken[1].is_none());
        a.wrote(taken[0].clone().unwrap(), ms(0));
        b.failed();
        turn(&mut b, &mut server, ms(500));
        assert!(leads(&a, ms(500)) && !leads(&b, ms(500)));
    }

    #[test]
    fn a_leader_that_was_away_too_long_does_not_come_back() {
        let (mut a, mut b, mut server) = two();
        turn(&mut a, &mut server, ms(0));
        turn(&mut b, &mut server, ms(100));
        turn(&mut b, &mut server, ms(2_200));
        turn(&mut a, &mut server, ms(2_300));
        assert!(leads(&b, ms(2_300)) && a.is_lost(ms(2_300)));
        for at in [2_400, 9_000] {
            turn(&mut a, &mut server, ms(at));
            assert!(a.is_lost(ms(at)), "at {at} ms");
        }
    }
}
