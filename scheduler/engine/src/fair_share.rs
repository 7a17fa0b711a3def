//! Fair share (S7): what every queue is entitled to in a pool, kept up to date as demand and capacity change.
//!
//! Demand of a project = what it is charged plus what its waiting pods ask for; of a department, the sum. Marks say
//! which projects' demand may have changed since, in which pool; a question about a pool looks at those only, divides
//! the pool among departments if a department's demand or the capacity did change, and a department's share among its
//! projects if that share or one of their demands did. The definition is in
//! docs/decisions/0002-fair-share-and-taking-back.md.
//! Costs: O(marks) plus O(departments) plus O(projects of the departments concerned), a few nanoseconds each; a
//! placement that turns waiting into charged changes no demand and divides nothing.

use crate::Engine;
use crate::ix::{PoolIx, QueueIx};
use crate::org::{Triple, add};
use berth_model::{GpuShare, QueueId, Quota, Timestamp};
use std::cmp::Reverse;

/// The unit of each resource in which the rest is given out: a device, a milli-CPU, a byte.
const UNITS: Triple = [GpuShare::DEVICE.0, 1, 1];

/// What one pool divided last, and what may have changed since.
#[derive(Clone, Debug, Default)]
struct PoolShares {
    capacity: Triple,
    /// Projects whose demand may have changed, and departments whose gates may have.
    marked: Vec<QueueIx>,
    /// Quotas, weights, ranks or the set of queues may have changed: everything is divided anew.
    all: bool,
}

/// The shares of all pools; the amounts themselves are kept with the queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    pools: Vec<PoolShares>,
    /// Grows whenever a share changes.
    pub(crate) version: u64,
}

impl Shares {
    fn at(&mut self, pool: PoolIx) -> &mut PoolShares {
        if self.pools.len() <= pool.i() {
            self.pools.resize_with(pool.i() + 1, || PoolShares { all: true, ..PoolShares::default() });
        }
        &mut self.pools[pool.i()]
    }

    /// What queues are, or which there are, has changed.
    pub(crate) fn mark_all(&mut self) {
        self.pools.iter_mut().for_each(|pool| pool.all = true);
    }
}

/// A queue that takes part in a division, for one resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Claim {
    /// The first part: at most its quota.
    first: i64,
    /// Where it is satisfied.
    most: i64,
    weight: i64,
    rank: i32,
    created: Timestamp,
    id: Option<QueueId>,
    share: i64,
}

impl Engine {
    /// A project's demand in a pool may have changed, or the use of a department.
    pub(crate) fn mark_demand(&mut self, queue: QueueIx, pool: PoolIx) {
        let here = self.org.in_pool_mut(queue, pool);
        if !std::mem::replace(&mut here.marked, true) {
            self.shares.at(pool).marked.push(queue);
        }
    }

    /// The use of a project, and so of its department, has changed in a pool.
    pub(crate) fn mark_use(&mut self, project: QueueIx, pool: PoolIx) {
        for at in 0..self.org.at(project).path.len() {
            self.mark_demand(self.org.at(project).path[at], pool);
        }
    }

    /// The demand of every queue in a pool may have changed.
    pub(crate) fn mark_pool(&mut self, pool: PoolIx) {
        self.shares.at(pool).all = true;
    }

    /// Brings the shares of a pool up to date.
    pub(crate) fn refresh_shares(&mut self, pool: PoolIx) {
        let all = std::mem::take(&mut self.shares.at(pool).all);
        let marked = std::mem::take(&mut self.shares.at(pool).marked);
        let capacity = self.pools.at(pool).capacity();
        let resized = capacity != std::mem::replace(&mut self.shares.at(pool).capacity, capacity);
        if !all && !resized && marked.is_empty() {
            return;
        }
        let mut projects: Vec<QueueIx> = Vec::new();
        for queue in &marked {
            self.org.in_pool_mut(*queue, pool).marked = false;
            if self.org.at(*queue).path.len() > 1 {
                projects.push(*queue);
            } else if !all && self.gates_may_shut(*queue, pool) {
                let waiting = |project: &QueueIx| self.waiting.groups_of(*project).next().is_some();
                projects.extend(self.org.children(*queue).filter(waiting));
            }
        }
        if all {
            projects = self.org.projects().collect();
            for department in self.org.departments().to_vec() {
                self.org.in_pool_mut(department, pool).demand = [0; 3];
            }
            for project in &projects {
                self.org.in_pool_mut(*project, pool).demand = [0; 3];
            }
        }
        projects.sort_unstable();
        projects.dedup();
        let mut touched: Vec<QueueIx> = Vec::new();
        for project in projects {
            let mut demand = self.pending_demand(project, pool);
            add(&mut demand, self.org.in_pool(project, pool).used(), 1);
            let before = std::mem::replace(&mut self.org.in_pool_mut(project, pool).demand, demand);
            if (before != demand || all)
                && let Some(department) = self.org.parent(project)
            {
                let above = &mut self.org.in_pool_mut(department, pool).demand;
                add(above, demand, 1);
                add(above, before, -1);
                touched.push(department);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        if all || resized || !touched.is_empty() {
            let departments = self.org.departments().to_vec();
            let changed = self.divide(pool, &departments, capacity);
            for (department, changed) in departments.into_iter().zip(changed) {
                if all || changed || touched.binary_search(&department).is_ok() {
                    let divided = self.org.in_pool(department, pool).share;
                    let children: Vec<QueueIx> = self.org.children(department).collect();
                    self.divide(pool, &children, divided);
                }
            }
        }
    }

    /// True if whether a project's waiting work counts may depend on what others of the department use: its quota
    /// keeps non-preemptible work out.
    fn gates_may_shut(&self, department: QueueIx, pool: PoolIx) -> bool {
        let bounds = self.org.in_pool(department, pool).bounds();
        bounds.iter().any(|bound| matches!(bound.quota, Quota::Of(_)))
    }

    /// What waiting pods of a project ask for that may run in a pool (S7).
    fn pending_demand(&mut self, project: QueueIx, pool: PoolIx) -> Triple {
        let mut demand = [0; 3];
        let groups: Vec<_> = self.waiting.groups_of(project).collect();
        for ix in groups {
            if !self.pools_of(ix).any(|p| p == pool) {
                continue;
            }
            let group = self.waiting.at(ix);
            let (template, waits) = (group.key.template, group.waits.clone());
            let shapes: Vec<_> = self.templates.at(template).roles.iter().map(|role| role.shape).collect();
            let feasible = shapes.iter().zip(&waits).filter(|(_, waits)| **waits > 0).all(|(shape, _)| {
                self.classes.prepare(&self.shapes, *shape, pool);
                let mut tiers = self.classes.tiers(*shape, pool).iter().flat_map(|tier| &tier.classes);
                tiers.any(|class| !self.classes.at(*class).nodes.is_empty())
            });
            let template = self.templates.at(template);
            if !feasible || self.policy(template).is_some() {
                continue;
            }
            let ask = self.ask(template, &self.waiting.at(ix).key.want, pool);
            if self.org.gate_alone(project, pool, ask, template.preemptible).is_ok() {
                add(&mut demand, self.ask_of(template, waits.iter().copied(), pool), 1);
            }
        }
        demand
    }

    /// Divides an amount among queues; says for each whether its share has changed.
    fn divide(&mut self, pool: PoolIx, queues: &[QueueIx], amount: Triple) -> Vec<bool> {
        let mut changed = vec![false; queues.len()];
        for (resource, unit) in UNITS.into_iter().enumerate() {
            let claims = queues.iter().map(|queue| self.claim_of(*queue, pool, resource, amount[resource]));
            let mut claims: Vec<Option<Claim>> = claims.collect();
            let mut taking: Vec<&mut Claim> = claims.iter_mut().flatten().collect();
            share_out(amount[resource], unit, &mut taking);
            for ((queue, claim), changed) in queues.iter().zip(&claims).zip(&mut changed) {
                // Where a resource is not managed, what was divided is divided again below.
                let share = claim.map_or(amount[resource], |claim| claim.share);
                let known = &mut self.org.in_pool_mut(*queue, pool).share[resource];
                if std::mem::replace(known, share) != share {
                    *changed = true;
                    self.shares.version += 1;
                    self.pools.stir(pool);
                }
            }
        }
        changed
    }

    /// What a queue claims of a resource; none if it does not manage it.
    fn claim_of(&self, queue: QueueIx, pool: PoolIx, resource: usize, divided: i64) -> Option<Claim> {
        let here = self.org.in_pool(queue, pool);
        let bound = here.bounds()[resource];
        let quota = match bound.quota {
            Quota::Unmanaged if !bound.managed() => return None,
            Quota::Of(quota) => quota,
            Quota::Unmanaged | Quota::Unlimited => i64::MAX,
        };
        let most = here.demand[resource].min(bound.limit.unwrap_or(i64::MAX)).max(0);
        let first = most.min(quota).min(divided);
        let (state, weight) = (self.org.at(queue), here.quota.over_quota_weight());
        let (rank, created, id) = (state.rank, state.created, state.id);
        Some(Claim { first, most, weight, rank, created, id, share: first })
    }
}

/// Gives every claim its share of `amount`: the first parts, then the rest by rank and weight.
fn share_out(amount: i64, unit: i64, claims: &mut [&mut Claim]) {
    let given: i128 = claims.iter().map(|claim| i128::from(claim.first)).sum();
    let mut rest = i64::try_from(i128::from(amount) - given).unwrap_or(0).max(0);
    claims.sort_unstable_by_key(|claim| (Reverse(claim.rank), claim.created, claim.id));
    for of_rank in claims.chunk_by_mut(|a, b| a.rank == b.rank) {
        let mut lacking: Vec<&mut Claim> = of_rank.iter_mut().map(|claim| &mut **claim).collect();
        lacking.retain(|claim| claim.share < claim.most && claim.weight > 0);
        let unsatisfied = of_rank_unsatisfied(&mut rest, lacking, unit);
        if unsatisfied {
            return;
        }
    }
}

/// Gives one rank its part of the rest. True if somebody remains who wants more.
fn of_rank_unsatisfied(rest: &mut i64, mut lacking: Vec<&mut Claim>, unit: i64) -> bool {
    // Whoever lacks no more than its part is out, all judged by the same rest.
    loop {
        let weights: i128 = lacking.iter().map(|claim| i128::from(claim.weight)).sum();
        let (before, count) = (*rest, lacking.len());
        lacking.retain_mut(|claim| {
            let lacks = claim.most - claim.share;
            let out = i128::from(lacks) * weights <= i128::from(before) * i128::from(claim.weight);
            if out {
                claim.share = claim.most;
                *rest -= lacks;
            }
            !out
        });
        if lacking.is_empty() {
            return false;
        }
        if lacking.len() == count {
            break;
        }
    }
    let weights: i128 = lacking.iter().map(|claim| i128::from(claim.weight)).sum();
    let before = *rest;
    let mut by_remainder: Vec<(Reverse<i128>, usize)> = Vec::with_capacity(lacking.len());
    for (at, claim) in lacking.iter_mut().enumerate() {
        let part = i128::from(before) * i128::from(claim.weight);
        let whole = (part / weights) as i64 / unit * unit;
        by_remainder.push((Reverse(part - i128::from(whole) * weights), at));
        claim.share += whole;
        *rest -= whole;
    }
    // The older queue, then the smaller id, come first among equals: that is the order they are in.
    by_remainder.sort_unstable();
    while *rest > 0 {
        for (_, at) in &by_remainder {
            let claim = &mut lacking[*at];
            let more = unit.min(claim.most - claim.share).min(*rest);
            claim.share += more;
            *rest -= more;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_model::ProjectId;

    fn shares(amount: i64, unit: i64, claims: &[(i64, i64, i64, i32)]) -> Vec<i64> {
        let mut all: Vec<Claim> = claims
            .iter()
            .enumerate()
            .map(|(at, (first, most, weight, rank))| Claim {
                first: *first,
                most: *most,
                weight: *weight,
                rank: *rank,
                created: Timestamp(0),
                id: Some(QueueId::Project(ProjectId(at as u32))),
                share: *first,
            })
            .collect();
        share_out(amount, unit, &mut all.iter_mut().collect::<Vec<_>>());
        all.iter().map(|claim| claim.share).collect()
    }

    #[test]
    fn s7_first_parts_then_weights() {
        assert_eq!(shares(10, 1, &[(2, 10, 1, 100), (2, 10, 2, 100)]), [4, 6]);
        assert_eq!(shares(10, 1, &[(2, 3, 1, 100), (2, 10, 1, 100)]), [3, 7]);
    }

    #[test]
    fn s7_first_parts_may_exceed_what_there_is() {
        assert_eq!(shares(5, 1, &[(4, 10, 1, 100), (4, 10, 1, 100)]), [4, 4]);
    }

    #[test]
    fn s7_higher_ranks_are_satisfied_first() {
        assert_eq!(shares(10, 1, &[(0, 6, 1, 100), (0, 8, 1, 200)]), [2, 8]);
        assert_eq!(shares(10, 1, &[(0, 6, 1, 100), (0, 20, 1, 200)]), [0, 10]);
    }

    #[test]
    fn s7_weight_0_gets_nothing_of_the_rest_and_holds_nobody_up() {
        assert_eq!(shares(10, 1, &[(1, 6, 0, 200), (0, 6, 1, 100)]), [1, 6]);
    }

    #[test]
    fn s7_the_largest_remainder_then_the_older_gets_the_unit() {
        assert_eq!(shares(10, 1, &[(0, 9, 1, 100), (0, 9, 1, 100), (0, 9, 1, 100)]), [4, 3, 3]);
        assert_eq!(shares(5_500, 1_000, &[(0, 9_000, 1, 100), (0, 9_000, 3, 100)]), [1_500, 4_000]);
    }
}
