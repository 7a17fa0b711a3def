//! Step functions over virtual time: each value holds from its time to the next.

use std::collections::BTreeSet;

/// A step function: times in milliseconds, ascending, and the value from then on. `None` where the value does not
/// exist, for example a share of nothing.
pub type Steps = Vec<(i64, Option<f64>)>;

/// The steps of `samples`; of several samples at one time the last counts.
pub fn steps<T>(samples: &[T], at: impl Fn(&T) -> i64, value: impl Fn(&T) -> Option<f64>) -> Steps {
    let mut steps: Steps = Vec::with_capacity(samples.len());
    for sample in samples {
        let step = (at(sample), value(sample).filter(|v| v.is_finite()));
        match steps.last_mut() {
            Some(last) if last.0 == step.0 => *last = step,
            _ => steps.push(step),
        }
    }
    steps
}

/// The value at `time`; none before the first step.
pub fn value_at(steps: &[(i64, Option<f64>)], time: i64) -> Option<f64> {
    let after = steps.partition_point(|(at, _)| *at <= time);
    after.checked_sub(1).and_then(|i| steps[i].1)
}

/// The average over time until `end`, of the time in which there is a value. The last value if no time passes; none
/// if there never is one.
pub fn average(steps: &[(i64, Option<f64>)], end: i64) -> Option<f64> {
    let (mut sum, mut time) = (0.0, 0.0);
    for (i, (at, value)) in steps.iter().enumerate() {
        let until = steps.get(i + 1).map_or(end.max(*at), |next| next.0);
        if let Some(value) = value {
            sum += value * (until - at) as f64;
            time += (until - at) as f64;
        }
    }
    if time > 0.0 { Some(sum / time) } else { steps.iter().rev().find_map(|(_, value)| *value) }
}

/// The sum of several step functions; where one has no value it counts as nothing, where none has one there is none.
pub fn sum(all: &[Steps]) -> Steps {
    let times: BTreeSet<i64> = all.iter().flatten().map(|(at, _)| *at).collect();
    let mut next = vec![0; all.len()];
    let mut total = Vec::with_capacity(times.len());
    for time in times {
        let mut value = None;
        for (steps, next) in all.iter().zip(&mut next) {
            while steps.get(*next).is_some_and(|(at, _)| *at <= time) {
                *next += 1;
            }
            if let Some(v) = next.checked_sub(1).and_then(|i| steps[i].1) {
                value = Some(value.unwrap_or(0.0) + v);
            }
        }
        total.push((time, value));
    }
    total
}

/// At most `limit` steps: the times between first and last are cut into equal parts and of each the last step is
/// kept. First and last stay.
pub fn thin(steps: &[(i64, Option<f64>)], limit: usize) -> Steps {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    if steps.len() <= limit.max(2) {
        return steps.to_vec();
    }
    let parts = limit.max(3) as i128 - 1;
    let part = |at: i64| (at - first.0) as i128 * parts / ((last.0 - first.0) as i128 + 1);
    let inner = steps.windows(2).filter(|pair| part(pair[0].0) != part(pair[1].0)).map(|pair| pair[0]);
    let mut kept = vec![*first];
    kept.extend(inner.filter(|step| step.0 != first.0));
    kept.push(*last);
    kept
}

/// The averages over `parts` equal parts of the time from the first step to `end`; the steps themselves if there are
/// no more than that.
pub fn averages(steps: &[(i64, Option<f64>)], end: i64, parts: usize) -> Steps {
    let (Some(first), true) = (steps.first(), steps.len() > parts.max(1)) else { return steps.to_vec() };
    let length = i128::from(end.max(first.0)) - i128::from(first.0);
    let edge = |part: usize| (i128::from(first.0) + length * part as i128 / parts as i128) as i64;
    let mut means = Vec::with_capacity(parts);
    for part in 0..parts {
        let (from, to) = (edge(part), edge(part + 1));
        let range = |at: i64| steps.partition_point(|(t, _)| *t <= at);
        let inside = &steps[range(from)..steps.partition_point(|(t, _)| *t < to).max(range(from))];
        let mut piece = vec![(from, value_at(steps, from))];
        piece.extend_from_slice(inside);
        if from < to {
            means.push((from, average(&piece, to)));
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_weigh_by_time() {
        assert_eq!(average(&[(0, Some(0.0)), (10, Some(4.0))], 20), Some(2.0));
        assert_eq!(average(&[(0, None), (10, Some(4.0))], 20), Some(4.0));
        assert_eq!(average(&[(5, Some(3.0))], 5), Some(3.0));
        assert_eq!(average(&[], 5), None);
    }

    #[test]
    fn sums_hold_values_between_steps() {
        let total = sum(&[vec![(0, Some(1.0)), (10, Some(2.0))], vec![(5, Some(10.0))]]);
        assert_eq!(total, vec![(0, Some(1.0)), (5, Some(11.0)), (10, Some(12.0))]);
        assert_eq!(value_at(&total, 7), Some(11.0));
        assert_eq!(value_at(&total, -1), None);
    }

    #[test]
    fn averages_keep_the_overall_average() {
        let many: Steps = (0..1000).map(|i| (i * 10, Some((i % 7) as f64))).collect();
        let few = averages(&many, 10_000, 100);
        assert_eq!(few.len(), 100);
        let (all, parts) = (average(&many, 10_000).unwrap(), average(&few, 10_000).unwrap());
        assert!((all - parts).abs() < 1e-9, "{all} {parts}");
        assert_eq!(averages(&many[..5], 100, 100), many[..5]);
    }

    #[test]
    fn thinning_keeps_both_ends_and_the_bound() {
        let many: Steps = (0..10_000).map(|i| (i * i, Some(i as f64))).collect();
        let few = thin(&many, 100);
        assert!(few.len() <= 101, "{}", few.len());
        assert_eq!((few.first(), few.last()), (many.first(), many.last()));
        assert!(few.is_sorted_by_key(|(at, _)| *at));
        assert_eq!(thin(&many[..3], 100), many[..3]);
    }
}
