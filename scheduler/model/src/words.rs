//! Reasons and changes in words, with names instead of identifiers (S29).

use crate::{
    Bytes, Change, Constraint, DepartmentId, GpuMemoryMib, GpuShare, MilliCpu, Missing, NodeId, PolicyReason,
    PoolId, PoolState, ProjectId, QueueId, Reason, Resource, Timestamp, WorkloadId,
};

/// Whoever knows what the objects of a cluster are called.
pub trait Names {
    /// A pool's name.
    fn pool(&self, id: PoolId) -> Option<&str>;
    /// A node's name.
    fn node(&self, id: NodeId) -> Option<&str>;
    /// A department's name.
    fn department(&self, id: DepartmentId) -> Option<&str>;
    /// A project's name.
    fn project(&self, id: ProjectId) -> Option<&str>;
    /// A workload's name.
    fn workload(&self, _: WorkloadId) -> Option<String> {
        None
    }
    /// A point in time, as people in front of the cluster read it.
    fn time(&self, at: Timestamp) -> String;
}

/// Speaks of one cluster.
pub struct Words<'a> {
    names: &'a dyn Names,
}

impl<'a> Words<'a> {
    /// For reasons about this cluster.
    pub fn new(names: &'a dyn Names) -> Self {
        Self { names }
    }

    /// Why a workload waits.
    pub fn reason(&self, reason: &Reason) -> String {
        match reason {
            Reason::Quota { queue, pool, resource, quota, used, asked } => format!(
                "{} may use {} without preemption in pool {}, uses {}, and {} more is asked for",
                self.queue(*queue),
                amount(resource, *quota),
                self.pool(*pool),
                amount(resource, *used),
                amount(resource, *asked)
            ),
            Reason::Limit { queue, pool, resource, limit, used, asked } => format!(
                "{} is limited to {} in pool {}, uses {}, and {} more is asked for",
                self.queue(*queue),
                amount(resource, *limit),
                self.pool(*pool),
                amount(resource, *used),
                amount(resource, *asked)
            ),
            Reason::Policy(policy) => policy_words(policy),
            Reason::Pool { pool: None, .. } => "none of its pools exists".to_owned(),
            Reason::Pool { pool: Some(pool), state: PoolState::Empty } => {
                format!("pool {} has no nodes", self.pool(*pool))
            }
            Reason::Pool { pool: Some(pool), state: PoolState::NotReady } => {
                format!("no node of pool {} is ready and schedulable", self.pool(*pool))
            }
            Reason::Feasibility { pool, nodes, failed, .. } => self.infeasible(*pool, *nodes, failed),
            Reason::Capacity { pool, placed, wanted, closest, missing, .. } => {
                self.short(*pool, (*placed, *wanted), *closest, missing)
            }
            Reason::Holding { pool, nodes, until } => format!(
                "room is held for it on {} of pool {}{}",
                count(nodes.len() as u64, "node"),
                self.pool(*pool),
                until.map_or_else(
                    || ", where not all have said for how long they run".to_owned(),
                    |until| format!(
                        "; all that is in the way is expected to be done by {}",
                        self.names.time(until)
                    )
                )
            ),
            Reason::Held { pool, workload, nodes, until } => format!(
                "the room on {} of pool {} is held for {}{}",
                count(u64::from(*nodes), "node"),
                self.pool(*pool),
                self.workload(*workload),
                until.map_or_else(String::new, |until| format!(", until {}", self.names.time(until)))
            ),
            Reason::Waiting { pool, leaving, until } => format!(
                "room is kept in pool {}; {} must leave first, by {}",
                self.pool(*pool),
                count(leaving.len() as u64, "pod"),
                self.names.time(*until)
            ),
        }
    }

    /// What would start it.
    pub fn change(&self, change: &Change) -> String {
        match change {
            Change::Raise { queue, pool, resource, by } => format!(
                "{} had {} more in pool {}",
                self.queue(*queue),
                amount(resource, *by),
                self.pool(*pool)
            ),
            Change::Free { pool, node, missing, pods } => {
                let each = if *pods > 1 { format!(" for each of {pods} pods") } else { String::new() };
                format!(
                    "{} became free on a node such as {} of pool {}{each}",
                    list(missing.iter().map(missing_words)),
                    self.node(*node),
                    self.pool(*pool)
                )
            }
            Change::Nodes { pool, constraint: Some(constraint) } => format!(
                "pool {} had nodes that meet its constraints; most fail at {}",
                self.pool(*pool),
                constraint_words(constraint)
            ),
            Change::Nodes { pool, constraint: None } => format!("pool {} had ready nodes", self.pool(*pool)),
            Change::Choose { allowed } => format!("it chose one of {}", allowed.join(", ")),
            Change::Ungate { gates } => format!("the gates {} were removed", gates.join(", ")),
            Change::Declare { runtime } => format!("it declared to run for at most {runtime}"),
            Change::After { workload } => format!("{} started, or waited no more", self.workload(*workload)),
            Change::Wait { until } => {
                format!("nothing is needed; it starts by {}", self.names.time(*until))
            }
        }
    }

    fn workload(&self, workload: WorkloadId) -> String {
        self.names.workload(workload).unwrap_or_else(|| workload.to_string())
    }

    fn infeasible(&self, pool: PoolId, nodes: u32, failed: &[(Constraint, u32)]) -> String {
        let failed =
            failed.iter().map(|(constraint, n)| format!("{n} fail at {}", constraint_words(constraint)));
        format!(
            "none of {} of pool {} can ever take it: {}",
            count(nodes.into(), "node"),
            self.pool(pool),
            list(failed)
        )
    }

    fn short(
        &self,
        pool: PoolId,
        (placed, wanted): (u32, u32),
        closest: Option<NodeId>,
        missing: &[Missing],
    ) -> String {
        let mut words =
            format!("pool {} has room for {placed} of {}", self.pool(pool), count(wanted.into(), "pod"));
        if let Some(node) = closest {
            let missing = list(missing.iter().map(missing_words));
            words.push_str(&format!("; {missing} missing on {}, the closest node", self.node(node)));
        }
        words
    }

    fn pool(&self, pool: PoolId) -> String {
        self.names.pool(pool).map_or_else(|| pool.to_string(), str::to_owned)
    }

    fn node(&self, node: NodeId) -> String {
        self.names.node(node).map_or_else(|| node.to_string(), str::to_owned)
    }

    /// A department or project by its name.
    pub fn queue(&self, queue: QueueId) -> String {
        match queue {
            QueueId::Department(id) => {
                self.names.department(id).map_or_else(|| id.to_string(), |name| format!("department {name}"))
            }
            QueueId::Project(id) => {
                self.names.project(id).map_or_else(|| id.to_string(), |name| format!("project {name}"))
            }
        }
    }
}

/// An amount of a resource with its unit.
fn amount(resource: &Resource, amount: i64) -> String {
    match resource {
        Resource::Gpu => format!("{} GPU", GpuShare(amount)),
        Resource::GpuMemory => format!("{} of GPU memory", GpuMemoryMib(amount)),
        Resource::Cpu => format!("{} CPU", MilliCpu(amount)),
        Resource::Memory => format!("{} of memory", Bytes(amount)),
        Resource::Ephemeral => format!("{} of ephemeral storage", Bytes(amount)),
        Resource::Pods => count(amount.unsigned_abs(), "pod"),
        Resource::Extended(name) => format!("{amount} {name}"),
        Resource::Volumes(driver) => format!("{amount} more volumes of {driver}"),
    }
}

fn missing_words(missing: &Missing) -> String {
    amount(&missing.resource, missing.amount)
}

fn constraint_words(constraint: &Constraint) -> String {
    match constraint {
        Constraint::NotReady => "being ready".to_owned(),
        Constraint::Unschedulable => "being schedulable".to_owned(),
        Constraint::Taint(taint) => format!("the taint {taint}"),
        Constraint::NodeAffinity => "node selector or affinity".to_owned(),
        Constraint::Volume => "reaching a volume".to_owned(),
        Constraint::TooSmall => "their size, even when empty".to_owned(),
        Constraint::HostPort => "a host port".to_owned(),
        Constraint::PodAffinity => "pod affinity".to_owned(),
        Constraint::PodAntiAffinity => "pod anti-affinity".to_owned(),
        Constraint::TopologySpread => "topology spread".to_owned(),
        Constraint::Topology => "the required topology".to_owned(),
    }
}

fn policy_words(policy: &PolicyReason) -> String {
    match policy {
        PolicyReason::NodeTypeMissing { key, allowed } => {
            format!("a node type ({key}) must be chosen: {}", allowed.join(", "))
        }
        PolicyReason::NodeTypeRefused { key, value, allowed } => {
            format!("the node type {value} ({key}) is not allowed; allowed: {}", allowed.join(", "))
        }
        PolicyReason::Gated { gates } => format!("held by scheduling gates: {}", gates.join(", ")),
    }
}

fn list(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
