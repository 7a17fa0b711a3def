//! Jobs drawn from streams: seeded, the same everywhere.
//!
//! A stream is a workload that some projects submit again and again. Distributions, for each stream and project apart:
//! - arrivals are Poisson with a rate that varies: `jobs` a day, times 1 + `swing` cos(2 pi (t - `peak`) / 24 h), times
//!   `weekend` on the sixth and seventh day of every week, times the burst's `factor` while one lasts. It is drawn by
//!   thinning: arrivals at the highest rate, each kept with the probability (rate now / highest rate);
//! - bursts come after exponential gaps of mean `every`, counted from the end of the last, and each lasts for `lasts`;
//! - durations are lognormal with `median` and `sigma`, cut to 1 s .. `longest`.
//!
//! Numbers come from ChaCha8, of which each stream and project has a stream of its own: a change to one leaves the others
//! as they are. Floating point makes the load, it decides nothing.

use crate::case::{Arrival, Life};
use berth_model::{Millis, ProjectId, Timestamp, WorkloadId, WorkloadSpec};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

const DAY_MS: f64 = 86_400_000.0;
const DAYS_PER_WEEK: i64 = 7;
const WORKING_DAYS: i64 = 5;
const DURATION_MIN_MS: f64 = 1_000.0;

/// A workload that some projects submit again and again. Factors are in millionths.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// What is submitted; its name is followed by the project's and a number.
    pub(crate) pattern: WorkloadSpec,
    /// How it goes on; its runtime is drawn if there are durations.
    pub(crate) life: Life,
    /// Who submits it, with their names.
    pub(crate) projects: Vec<(ProjectId, String)>,
    /// Jobs of each project on a working day without bursts.
    pub(crate) jobs: i64,
    /// How much the rate varies over the day, 0 to 1.
    pub(crate) swing: i64,
    /// The time of day at which it is highest.
    pub(crate) peak: Millis,
    /// Factor on the last two days of a week.
    pub(crate) weekend: i64,
    /// Times in which much more is submitted.
    pub(crate) bursts: Option<Bursts>,
    /// How long its pods run, if that varies.
    pub(crate) durations: Option<Durations>,
}

/// Times in which much more is submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bursts {
    /// Mean time from the end of one to the next.
    pub(crate) every: Millis,
    /// How long one lasts.
    pub(crate) lasts: Millis,
    /// Factor on the rate.
    pub(crate) factor: i64,
}

/// Lognormal durations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durations {
    pub(crate) median: Millis,
    /// Standard deviation of the logarithm.
    pub(crate) sigma: i64,
    pub(crate) longest: Millis,
}

/// The jobs of all streams until `end`, in the order of their submission; `load` is a factor on every rate.
pub(crate) fn draw(streams: &[Stream], seed: u64, load: i64, end: Timestamp) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for (index, stream) in (0u64..).zip(streams) {
        for (project, name) in &stream.projects {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index << 32 | u64::from(project.0));
            let times = stream.times(&mut rng, part(load), end);
            for (number, submitted) in (1..).zip(times) {
                arrivals.push(stream.job(&mut rng, submitted, *project, name, number));
            }
        }
    }
    arrivals.sort_by_key(|arrival| arrival.spec.submitted);
    for (id, arrival) in (0..).zip(&mut arrivals) {
        arrival.spec.id = WorkloadId(id);
    }
    arrivals
}

fn part(millionths: i64) -> f64 {
    millionths as f64 / 1e6
}

impl Stream {
    /// About how many jobs all projects submit in so many days.
    pub(crate) fn expected(&self, load: i64, days: i64) -> f64 {
        let burst = self.bursts.map_or(1.0, |b| {
            let (every, lasts) = (b.every.0 as f64, b.lasts.0 as f64);
            (every + lasts * part(b.factor)) / (every + lasts)
        });
        part(self.jobs) * part(load) * burst * (days * self.projects.len() as i64) as f64
    }

    /// When jobs of one project are submitted.
    fn times(&self, rng: &mut ChaCha8Rng, load: f64, end: Timestamp) -> Vec<Timestamp> {
        let bursts = self.draw_bursts(rng, end);
        let factor = self.bursts.map_or(1.0, |bursts| part(bursts.factor));
        let highest = (1.0 + part(self.swing)) * part(self.weekend).max(1.0) * factor.max(1.0);
        let rate = part(self.jobs) * load * highest / DAY_MS;
        let mut times = Vec::new();
        let mut clock = 0.0;
        loop {
            let gap: f64 = Exp1.sample(rng);
            clock += gap / rate;
            if clock >= end.0 as f64 {
                return times;
            }
            let now = Timestamp(clock as i64);
            let in_burst = bursts.iter().any(|(from, to)| (*from..*to).contains(&now));
            let keep = self.rate(now) * if in_burst { factor } else { 1.0 } / highest;
            if rng.random::<f64>() < keep {
                times.push(now);
            }
        }
    }

    fn draw_bursts(&self, rng: &mut ChaCha8Rng, end: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let Some(bursts) = self.bursts else { return Vec::new() };
        let mut all = Vec::new();
        let mut clock = Timestamp(0);
        loop {
            let gap: f64 = Exp1.sample(rng);
            let from = clock.plus(Millis((gap * bursts.every.0 as f64) as i64));
            if from >= end {
                return all;
            }
            clock = from.plus(bursts.lasts);
            all.push((from, clock));
        }
    }

    /// The rate without bursts, relative to `jobs` a day.
    fn rate(&self, now: Timestamp) -> f64 {
        let phase = (now.0 - self.peak.0) as f64 / DAY_MS * std::f64::consts::TAU;
        let is_weekend = now.0.div_euclid(DAY_MS as i64).rem_euclid(DAYS_PER_WEEK) >= WORKING_DAYS;
        (1.0 + part(self.swing) * phase.cos()) * if is_weekend { part(self.weekend) } else { 1.0 }
    }

    fn job(
        &self,
        rng: &mut ChaCha8Rng,
        submitted: Timestamp,
        project: ProjectId,
        project_name: &str,
        number: u32,
    ) -> Arrival {
        let name = format!("{}-{project_name}-{number}", self.pattern.name);
        let spec = WorkloadSpec { name, project: Some(project), submitted, ..self.pattern.clone() };
        let runtime = self.durations.map(|durations| {
            let normal: f64 = StandardNormal.sample(rng);
            let length = durations.median.0 as f64 * (part(durations.sigma) * normal).exp();
            Millis(length.clamp(DURATION_MIN_MS, durations.longest.0 as f64) as i64)
        });
        let life = Life { runtime: runtime.or(self.life.runtime), ..self.life };
        Arrival { spec, life, found: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const ONE: i64 = 1_000_000;

    fn stream() -> Stream {
        Stream {
            pattern: WorkloadSpec::new(WorkloadId(0), None, Timestamp(0), Vec::new()),
            life: Life::default(),
            projects: vec![(ProjectId(0), "p".into()), (ProjectId(1), "q".into())],
            jobs: 2000 * ONE,
            swing: 800_000,
            peak: Millis(14 * HOUR),
            weekend: 250_000,
            bursts: None,
            durations: Some(Durations { median: Millis(HOUR), sigma: ONE, longest: Millis(12 * HOUR) }),
        }
    }

    fn week(streams: &[Stream], seed: u64) -> Vec<Arrival> {
        draw(streams, seed, ONE, Timestamp(7 * 24 * HOUR))
    }

    fn count(arrivals: &[Arrival], from_hour: i64, to_hour: i64) -> usize {
        let hours = from_hour * HOUR..to_hour * HOUR;
        arrivals.iter().filter(|arrival| hours.contains(&arrival.spec.submitted.0)).count()
    }

    #[test]
    fn the_same_seed_draws_the_same_jobs_and_streams_do_not_touch_each_other() {
        let facts = |arrivals: Vec<Arrival>| -> Vec<_> {
            arrivals.into_iter().map(|a| (a.spec.name, a.spec.submitted, a.life.runtime)).collect()
        };
        let one = facts(week(&[stream()], 7));
        assert_eq!(one, facts(week(&[stream()], 7)));
        assert_ne!(one, facts(week(&[stream()], 8)));
        let mut other = stream();
        other.pattern.name = "other".into();
        let both = facts(week(&[stream(), other], 7));
        let kept: Vec<_> = both.into_iter().filter(|(name, ..)| !name.starts_with("other")).collect();
        assert_eq!(one, kept);
    }

    #[test]
    fn the_rate_follows_the_day_and_the_week() {
        let arrivals = week(&[stream()], 1);
        let (afternoon, night) = (count(&arrivals, 12, 16), count(&arrivals, 0, 4));
        assert!(afternoon > 5 * night, "{afternoon} {night}");
        let (monday, sunday) = (count(&arrivals, 0, 24), count(&arrivals, 144, 168));
        let expected = 4000;
        assert!(monday.abs_diff(expected) < 200, "{monday}");
        assert!(sunday.abs_diff(expected / 4) < 100, "{sunday}");
        assert!(arrivals.is_sorted_by_key(|arrival| (arrival.spec.submitted, arrival.spec.id)));
    }

    #[test]
    fn bursts_come_as_often_as_is_said() {
        let bursts = Bursts { every: Millis(10 * HOUR), lasts: Millis(2 * HOUR), factor: 7 * ONE };
        let bursting = Stream { swing: 0, weekend: ONE, bursts: Some(bursts), ..stream() };
        let (drawn, expected) = (week(std::slice::from_ref(&bursting), 3).len(), bursting.expected(ONE, 7));
        assert_eq!(expected, 2.0 * 2000.0 * 7.0 * 2.0);
        assert!((drawn as f64 / expected - 1.0).abs() < 0.2, "{drawn} {expected}");
    }

    #[test]
    fn durations_stay_within_their_bounds_about_their_median() {
        let arrivals = week(&[stream()], 5);
        let mut durations: Vec<i64> = arrivals.iter().map(|a| a.life.runtime.unwrap().0).collect();
        durations.sort_unstable();
        let median = durations[durations.len() / 2] as f64 / HOUR as f64;
        assert!((0.95..1.05).contains(&median), "{median}");
        assert_eq!(durations.last(), Some(&(12 * HOUR)));
    }
}
