//! What every queue uses in every pool, and the gates (S2, S6).
//!
//! Of what leaves and what is reserved whichever is more counts ([`Used::counted`]): so nothing that is placed later
//! exceeds a bound, now or when those that leave are gone and those that have room reserved have come.
//!
//! Invariant: every bill that is entered is taken back as it was entered. Costs: O(log queues) a bill or a gate.
//! Absent: fair shares (S7), see `fair`.

use super::violation::Findings;
use crate::{Amounts, Bytes, GpuShare, MilliCpu, PoolId, QueueId, QueueQuota, Quota, ResourceQuota};
use std::collections::BTreeMap;

/// One queue in one pool.
pub(super) type Account = (QueueId, PoolId);

/// What one pod is charged, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bill {
    /// The project and its department.
    pub(super) queues: [QueueId; 2],
    /// Where the pod's node belongs.
    pub(super) pool: PoolId,
    /// How much.
    pub(super) amounts: Amounts,
    /// Whether the workload is preemptible.
    pub(super) preemptible: bool,
    /// How the charge counts.
    pub(super) part: Part,
}

/// How a pod's charge counts (S6, S23).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// It has a node and stays.
    Staying,
    /// It leaves its node.
    Leaving,
    /// Room is reserved for it.
    Kept,
}

/// A sum over all pods, and over those of non-preemptible workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sum {
    pub(super) all: Amounts,
    non_preemptible: Amounts,
}

/// What a queue uses in a pool, by how it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Used {
    staying: Sum,
    leaving: Sum,
    kept: Sum,
}

impl Used {
    /// By the pods that are there.
    pub(super) fn now(self) -> Sum {
        self.staying.plus(self.leaving)
    }

    /// When those that leave are gone and those that have room reserved have come.
    pub(super) fn then(self) -> Sum {
        self.staying.plus(self.kept)
    }

    /// What counts for whoever comes next.
    pub(super) fn counted(self) -> Sum {
        self.staying.plus(self.leaving.most(self.kept))
    }

    /// Everything that is there or reserved.
    pub(super) fn ever(self) -> Sum {
        self.now().plus(self.kept)
    }
}

/// All accounts.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) used: BTreeMap<Account, Used>,
    pub(super) quotas: BTreeMap<Account, QueueQuota>,
    /// Accounts that an event, not a decision, left above a limit or quota.
    excused: std::collections::BTreeSet<Account>,
}

/// One of the three resources that queues manage.
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) of: fn(&Amounts) -> i64,
    pub(super) quota: fn(&QueueQuota) -> &ResourceQuota,
    pub(super) show: fn(i64) -> String,
    /// In what steps it is divided (S7).
    pub(super) unit: i64,
}

/// All three, in the order in which they are compared.
pub(super) const MEASURES: [Measure; 3] = [
    Measure {
        name: "gpu",
        of: |a| a.gpu.0,
        quota: |q| &q.gpu,
        show: |n| GpuShare(n).to_string(),
        unit: GpuShare::DEVICE.0,
    },
    Measure { name: "cpu", of: |a| a.cpu.0, quota: |q| &q.cpu, show: |n| MilliCpu(n).to_string(), unit: 1 },
    Measure {
        name: "memory",
        of: |a| a.memory.0,
        quota: |q| &q.memory,
        show: |n| Bytes(n).to_string(),
        unit: 1,
    },
];

/// An amount of each, in the order of [`MEASURES`].
pub(super) type Triple = [i64; 3];

/// The amounts as a triple.
pub(super) fn triple(amounts: &Amounts) -> Triple {
    [amounts.gpu.0, amounts.cpu.0, amounts.memory.0]
}

/// What a queue may not exceed, of one resource: what, how much, and for whom.
struct Bound {
    name: &'static str,
    at_most: i64,
    for_all: bool,
}

/// The bounds of a resource; one that is not managed has none (S2).
fn bounds(quota: &ResourceQuota) -> impl Iterator<Item = Bound> {
    let limit = quota.limit.map(|at_most| Bound { name: "limit", at_most, for_all: true });
    let quota = match quota.quota {
        Quota::Of(at_most) => Some(Bound { name: "quota", at_most, for_all: false }),
        Quota::Unmanaged | Quota::Unlimited => None,
    };
    limit.into_iter().chain(quota)
}

impl Sum {
    /// What counts against quotas only.
    pub(super) fn against_quotas(self) -> Self {
        Self { all: Amounts::default(), ..self }
    }

    /// Adds amounts (`sign` 1) or takes them away (`sign` -1).
    pub(super) fn add(&mut self, amounts: Amounts, preemptible: bool, sign: i64) {
        let change = |sum: &mut Amounts| if sign > 0 { *sum += amounts } else { *sum -= amounts };
        change(&mut self.all);
        if !preemptible {
            change(&mut self.non_preemptible);
        }
    }

    /// The larger of both, resource by resource.
    fn most(self, other: Self) -> Self {
        let most = |a: Amounts, b: Amounts| Amounts {
            gpu: a.gpu.max(b.gpu),
            cpu: a.cpu.max(b.cpu),
            memory: a.memory.max(b.memory),
        };
        Self {
            all: most(self.all, other.all),
            non_preemptible: most(self.non_preemptible, other.non_preemptible),
        }
    }

    fn plus(mut self, other: Self) -> Self {
        self.all += other.all;
        self.non_preemptible += other.non_preemptible;
        self
    }

    fn of(&self, bound: &Bound) -> &Amounts {
        if bound.for_all { &self.all } else { &self.non_preemptible }
    }
}

/// Enters a bill (`sign` 1) or takes it back (`sign` -1).
pub(super) fn enter(used: &mut BTreeMap<Account, Used>, bill: &Bill, sign: i64) {
    for queue in bill.queues {
        let account = used.entry((queue, bill.pool)).or_default();
        let sum = match bill.part {
            Part::Staying => &mut account.staying,
            Part::Leaving => &mut account.leaving,
            Part::Kept => &mut account.kept,
        };
        sum.add(bill.amounts, bill.preemptible, sign);
    }
}

impl Ledger {
    /// Replaces everything that is said about a queue.
    pub(super) fn set_quotas(&mut self, queue: QueueId, quotas: &[(PoolId, QueueQuota)]) {
        self.quotas.retain(|(of, _), _| *of != queue);
        self.quotas.extend(quotas.iter().map(|(pool, quota)| ((queue, *pool), *quota)));
        let pools: Vec<_> = self.used.keys().filter(|(of, _)| *of == queue).map(|(_, pool)| *pool).collect();
        pools.into_iter().for_each(|pool| self.excuse((queue, pool)));
    }

    /// Sets one quota.
    pub(super) fn set_quota(&mut self, account: Account, quota: QueueQuota) {
        self.quotas.insert(account, quota);
        self.excuse(account);
    }

    /// What an event left above a bound is no decision's fault.
    pub(super) fn excuse(&mut self, account: Account) {
        let mut over = Vec::new();
        self.exceeds(account, &mut Findings::new(&"", &mut over));
        if over.is_empty() {
            self.excused.remove(&account);
        } else {
            self.excused.insert(account);
        }
    }

    /// What is said about a queue in a pool.
    pub(super) fn quota(&self, account: Account) -> QueueQuota {
        self.quotas.get(&account).copied().unwrap_or_default()
    }

    /// S6: whether a pod passes the gates of its project and department, by this count of what is used.
    pub(super) fn gates(&self, bill: &Bill, count: fn(Used) -> Sum, f: &mut Findings<'_>) {
        for queue in bill.queues {
            self.gate(bill, queue, count(self.used((queue, bill.pool))), f);
        }
    }

    /// S6: whether it would pass, by another count of what is used.
    pub(super) fn would_pass(&self, bill: &Bill, count: impl Fn(Account) -> Sum) -> bool {
        let mut out = Vec::new();
        let mut f = Findings::new(&"", &mut out);
        bill.queues.iter().for_each(|q| self.gate(bill, *q, count((*q, bill.pool)), &mut f));
        out.is_empty()
    }

    /// What a queue uses in a pool.
    pub(super) fn used(&self, account: Account) -> Used {
        self.used.get(&account).copied().unwrap_or_default()
    }

    fn gate(&self, bill: &Bill, queue: QueueId, used: Sum, f: &mut Findings<'_>) {
        let account = (queue, bill.pool);
        let quota = self.quota(account);
        for measure in &MEASURES {
            let asked = (measure.of)(&bill.amounts);
            let applies = |b: &Bound| asked > 0 && (b.for_all || !bill.preemptible);
            for bound in bounds((measure.quota)(&quota)).filter(applies) {
                let used = (measure.of)(used.of(&bound));
                f.want(used + asked <= bound.at_most, "S6", || {
                    let [used, asked, most] = [used, asked, bound.at_most].map(measure.show);
                    let (what, name) = (measure.name, bound.name);
                    format!("{what} of {}: {used} + {asked} exceed the {name} {most}", owner(account))
                });
            }
        }
    }

    /// S6: all accounts that decisions brought above a limit or a quota.
    pub(super) fn all_exceeding(&self, f: &mut Findings<'_>) {
        self.used.keys().filter(|account| !self.excused.contains(*account)).for_each(|a| self.exceeds(*a, f));
    }

    fn exceeds(&self, account: Account, f: &mut Findings<'_>) {
        let used = self.used(account).counted();
        let quota = self.quota(account);
        for measure in &MEASURES {
            for bound in bounds((measure.quota)(&quota)) {
                let used = (measure.of)(used.of(&bound));
                f.want(used == 0 || used <= bound.at_most, "S6", || {
                    let [used, most] = [used, bound.at_most].map(measure.show);
                    format!("{} of {}: {used} exceed the {} {most}", measure.name, owner(account), bound.name)
                });
            }
        }
    }
}

/// The queue and the pool.
pub(super) fn owner((queue, pool): Account) -> String {
    match queue {
        QueueId::Department(id) => format!("{id} in {pool}"),
        QueueId::Project(id) => format!("{id} in {pool}"),
    }
}
