//! How an amount is divided among queues (S7): first parts, then the rest by rank and weight. Pure arithmetic on one
//! resource; what there is to divide and who asks for how much is counted in `demand`.
//!
//! Invariant: a queue never gets more than it may use, min(limit, demand); what goes beyond the first parts never
//! exceeds what they leave. Costs: queues squared at the worst. Absent: queues that do not manage the resource; they
//! take no part.

use crate::{QueueId, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What a queue asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) queue: QueueId,
    pub(super) rank: i32,
    pub(super) weight: u32,
    pub(super) created: Timestamp,
    /// Deserved; the largest number for an unlimited quota.
    pub(super) quota: i64,
    /// The most it may use: min(limit, demand).
    pub(super) wants: i64,
}

/// S7: the shares of the claims, in their order, of `whole`; the rest is given in units.
pub(super) fn divide(whole: i64, unit: i64, claims: &[Claim]) -> Vec<i64> {
    let first = |claim: &Claim| claim.quota.min(claim.wants).min(whole).max(0);
    let mut shares: Vec<i64> = claims.iter().map(first).collect();
    let mut rest = (whole - shares.iter().sum::<i64>()).max(0);
    let ranks: BTreeSet<_> = claims.iter().map(|claim| Reverse(claim.rank)).collect();
    for Reverse(rank) in ranks {
        let members = (0..claims.len()).filter(|at| claims[*at].rank == rank && claims[*at].weight > 0);
        rest = within_rank(rest, unit, members.collect(), claims, &mut shares);
    }
    shares
}

/// Gives to the claims `hungry`, which are of one rank, and returns what is left.
fn within_rank(
    mut rest: i64,
    unit: i64,
    mut hungry: Vec<usize>,
    claims: &[Claim],
    shares: &mut [i64],
) -> i64 {
    let lack = |shares: &[i64], at: usize| claims[at].wants - shares[at];
    hungry.retain(|at| lack(shares, *at) > 0);
    let (whole, weights) = loop {
        let whole = i128::from(rest);
        let weights: i128 = hungry.iter().map(|at| i128::from(claims[*at].weight)).sum();
        let full =
            |at: &usize| i128::from(lack(shares, *at)) * weights <= whole * i128::from(claims[*at].weight);
        let (satisfied, left): (Vec<_>, Vec<_>) = hungry.iter().partition(|at| full(at));
        if satisfied.is_empty() {
            break (whole, weights);
        }
        for at in satisfied {
            let given = lack(shares, at);
            rest -= given;
            shares[at] += given;
        }
        hungry = left;
    };
    if hungry.is_empty() {
        return rest;
    }
    let mut order = Vec::new();
    for at in hungry {
        let exact = whole * i128::from(claims[at].weight);
        let given = (exact / weights) as i64 / unit * unit;
        order.push((Reverse(exact - i128::from(given) * weights), claims[at].created, claims[at].queue, at));
        rest -= given;
        shares[at] += given;
    }
    order.sort();
    while rest > 0 {
        for (.., at) in &order {
            let given = unit.min(rest).min(lack(shares, *at));
            rest -= given;
            shares[*at] += given;
        }
        if order.iter().all(|(.., at)| lack(shares, *at) == 0) {
            break;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProjectId;

    /// Name by position: rank, weight, quota, wants, share. Created in the order given, ids the other way round.
    fn check(what: &str, whole: i64, unit: i64, queues: &[(i32, u32, i64, i64, i64)]) {
        let queues_by_place = queues.iter().enumerate();
        let claims: Vec<_> = queues_by_place
            .map(|(at, (rank, weight, quota, wants, _))| Claim {
                queue: QueueId::Project(ProjectId(100 - at as u32)),
                rank: *rank,
                weight: *weight,
                created: Timestamp(at as i64 / 2),
                quota: *quota,
                wants: *wants,
            })
            .collect();
        let expected: Vec<_> = queues.iter().map(|(.., share)| *share).collect();
        assert_eq!(divide(whole, unit, &claims), expected, "{what}");
    }

    #[test]
    fn first_parts_are_not_cut() {
        check("all within quota", 10, 1, &[(1, 1, 4, 9, 5), (1, 1, 4, 9, 5)]);
        check("quotas exceed what there is", 10, 1, &[(1, 1, 8, 9, 8), (1, 1, 8, 9, 8)]);
        check("one quota alone exceeds it", 10, 1, &[(1, 1, 80, 90, 10), (1, 1, 0, 9, 0)]);
        check("unlimited", 10, 1, &[(1, 1, i64::MAX, 7, 7), (1, 1, 0, 9, 3)]);
        check("demand bounds", 10, 1, &[(1, 1, 8, 2, 2), (1, 1, 0, 9, 8)]);
    }

    #[test]
    fn the_rest_goes_by_rank_then_weight() {
        check("higher rank first", 10, 1, &[(1, 9, 0, 9, 3), (2, 1, 0, 7, 7)]);
        check("by weight", 12, 1, &[(1, 3, 0, 99, 9), (1, 1, 0, 99, 3)]);
        check(
            "whoever is satisfied gives to the others",
            12,
            1,
            &[(1, 1, 0, 2, 2), (1, 1, 0, 99, 5), (1, 1, 0, 99, 5)],
        );
        check("twice", 12, 1, &[(1, 1, 0, 2, 2), (1, 1, 0, 5, 5), (1, 1, 0, 99, 5)]);
        check("weight 0 gets nothing and forbids nothing", 10, 1, &[(2, 0, 3, 9, 3), (1, 1, 0, 99, 7)]);
    }

    #[test]
    fn units_go_to_the_largest_remainder_then_the_older_then_the_smaller_id() {
        // 10 by 3:2:2 is 4.28, 2.85, 2.85: the second and third have the larger remainder.
        check("remainder", 10, 1, &[(1, 3, 0, 99, 4), (1, 2, 0, 99, 3), (1, 2, 0, 99, 3)]);
        // Both created at 0; the second has the smaller id.
        check("id", 3, 1, &[(1, 1, 0, 99, 1), (1, 1, 0, 99, 2)]);
        check("older", 4, 1, &[(1, 1, 0, 99, 1), (1, 1, 0, 99, 2), (1, 1, 0, 99, 1)]);
        check("by devices", 3000, 1000, &[(1, 1, 0, 9000, 1000), (1, 1, 0, 9000, 2000)]);
        check("the last unit is a part", 2500, 1000, &[(1, 1, 0, 9000, 1000), (1, 1, 0, 9000, 1500)]);
        check("never more than is lacking", 3000, 1000, &[(1, 1, 0, 9000, 1400), (1, 1, 0, 1600, 1600)]);
    }
}
