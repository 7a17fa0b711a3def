//! What is simulated: a cluster, a load, what happens to them, and how long.
//!
//! Every input (scenario, trace, generator) becomes a [`Case`]; the world and the planner know nothing else.
//! A case is read only and can be simulated many times, at once too. Identifiers are dense: the id of a
//! pool, department, project, node or workload is its index. Workloads of one case arrive in the order
//! of their submission, and those submitted at one instant in the order of their ids.

use crate::input::Synthetic;
use berth_model::words::Names;
use berth_model::{
    BudgetSpec, DepartmentId, DepartmentSpec, DeviceHealth, DeviceIndex, DeviceStrategy, GpuGrant,
    GpuMemoryMib, Millis, NodeId, NodeSpec, PodId, PodOutcome, PoolId, PoolSpec, ProjectId, ProjectSpec,
    QueueId, QueueQuota, ReasonKind, Strategy, Timestamp, WorkloadId, WorkloadSpec,
};

/// One simulation's whole input.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the scenario or trace.
    pub name: String,
    /// What there is.
    pub cluster: Cluster,
    /// What wants to run.
    pub load: Load,
    /// What else happens, in time order.
    pub happenings: Vec<(Timestamp, Happening)>,
    /// When it ends.
    pub until: Until,
    /// What must come of it; empty unless it is a test.
    pub expect: Vec<Expectation>,
}

impl Case {
    /// About how long it will last: to its end, or to the last submission.
    pub fn span(&self) -> Millis {
        match (self.until, &self.load) {
            (Until::Time(end), _) => Millis(end.0),
            (_, Load::Listed(list)) => Millis(list.last().map_or(0, |a| a.spec.submitted.0).max(0)),
            (_, Load::Synthetic(synthetic)) => synthetic.span(),
        }
    }

    /// Sets the strategy of every pool, for GPU pods and for others.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        for pool in &mut self.cluster.pools {
            (pool.gpu, pool.cpu) = (strategy, strategy);
            pool.device =
                if strategy == Strategy::Spread { DeviceStrategy::Spread } else { DeviceStrategy::Binpack };
        }
    }
}

/// What there is at the start.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Node pools; one is named `default`.
    pub pools: Vec<PoolSpec>,
    /// Departments, oldest first.
    pub departments: Vec<DepartmentSpec>,
    /// Projects, oldest first.
    pub projects: Vec<ProjectSpec>,
    /// Nodes.
    pub nodes: Vec<NodeSpec>,
    /// Disruption budgets; their numbers are counted as the simulation goes.
    pub budgets: Vec<DisruptionBudget>,
}

/// A disruption budget, as its owner wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DisruptionBudget {
    /// What the engine sees of it, apart from the number.
    pub spec: BudgetSpec,
    /// What must go on running.
    pub keeps: Keeps,
}

/// What a disruption budget demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// So many of its pods run.
    MinAvailable(PodCount),
    /// At most so many of its pods do not run.
    MaxUnavailable(PodCount),
}

/// A number of pods, or a part of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PodCount {
    /// So many.
    Pods(u32),
    /// Of all that should run, rounded up.
    Percent(u32),
}

impl PodCount {
    fn of(self, expected: u32) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => {
                (u64::from(expected) * u64::from(percent)).div_ceil(100).min(u64::from(u32::MAX)) as u32
            }
        }
    }
}

impl Keeps {
    /// How many pods may be evicted, of `expected` that should run and `healthy` that do.
    pub fn disruptions_allowed(self, expected: u32, healthy: u32) -> u32 {
        let desired = match self {
            Self::MinAvailable(count) => count.of(expected),
            Self::MaxUnavailable(count) => expected.saturating_sub(count.of(expected)),
        };
        healthy.saturating_sub(desired)
    }
}

impl Names for Cluster {
    fn pool(&self, id: PoolId) -> Option<&str> {
        self.pools.get(id.index()).map(|pool| &*pool.name)
    }

    fn node(&self, id: NodeId) -> Option<&str> {
        self.nodes.get(id.index()).map(|node| &*node.name)
    }

    fn department(&self, id: DepartmentId) -> Option<&str> {
        self.departments.get(id.index()).map(|department| &*department.name)
    }

    fn project(&self, id: ProjectId) -> Option<&str> {
        self.projects.get(id.index()).map(|project| &*project.name)
    }

    fn time(&self, at: Timestamp) -> String {
        Millis(at.0).to_string()
    }
}

/// The names of a cluster and of what wants to run there.
pub struct Called<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The workloads.
    pub workloads: &'a WorkloadNames<'a>,
}

impl Names for Called<'_> {
    fn pool(&self, id: PoolId) -> Option<&str> {
        self.cluster.pool(id)
    }

    fn node(&self, id: NodeId) -> Option<&str> {
        self.cluster.node(id)
    }

    fn department(&self, id: DepartmentId) -> Option<&str> {
        self.cluster.department(id)
    }

    fn project(&self, id: ProjectId) -> Option<&str> {
        self.cluster.project(id)
    }

    fn workload(&self, id: WorkloadId) -> Option<String> {
        Some(self.workloads.of(id))
    }

    fn time(&self, at: Timestamp) -> String {
        self.cluster.time(at)
    }
}

/// What wants to run.
#[derive(Clone, Debug)]
pub enum Load {
    /// Each workload on its own, in the order of submission.
    Listed(Vec<Arrival>),
    /// Made as they arrive, from a seed.
    Synthetic(Synthetic),
}

impl Load {
    /// The workloads in the order of submission.
    pub fn arrivals(&self) -> Box<dyn Iterator<Item = Arrival> + '_> {
        match self {
            Self::Listed(list) => Box::new(list.iter().cloned()),
            Self::Synthetic(synthetic) => Box::new(synthetic.arrivals()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Listed(list) => list.len(),
            Self::Synthetic(synthetic) => synthetic.jobs as usize,
        }
    }

    /// True if nothing wants to run.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the workloads.
    pub fn names(&self) -> WorkloadNames<'_> {
        match self {
            Self::Listed(list) => {
                let mut names = vec![""; list.len()];
                for arrival in list {
                    names[arrival.spec.id.index()] = arrival.spec.name.as_str();
                }
                WorkloadNames { listed: names }
            }
            Self::Synthetic(_) => WorkloadNames { listed: Vec::new() },
        }
    }
}

/// The names of workloads by id; one without a name is called by its id.
pub struct WorkloadNames<'a> {
    listed: Vec<&'a str>,
}

impl WorkloadNames<'_> {
    /// The name of a workload.
    pub fn of(&self, workload: WorkloadId) -> String {
        let name = self.listed.get(workload.index()).filter(|name| !name.is_empty());
        name.map_or_else(|| format!("job-{}", workload.0), |name| (*name).to_owned())
    }
}

/// A workload and what the engine does not see of it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The workload; it is submitted at `spec.submitted`, or at the start if that is earlier.
    pub spec: WorkloadSpec,
    /// How it goes on once it runs.
    pub life: Life,
    /// Its pods that are found running or ended at the start.
    pub found: Vec<Found>,
}

/// How a workload goes on; the engine does not see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// How long each pod runs; none = for ever.
    pub runtime: Option<Millis>,
    /// How long after a request to end its pods are gone, at most its grace; none = its grace.
    pub exits_after: Option<Millis>,
    /// It is dropped for good if it does not start in the cycle in which it arrives.
    pub impatient: bool,
}

/// A pod as it is found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The pod.
    pub pod: PodId,
    /// How it is found.
    pub state: FoundState,
}

/// How a pod is found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundState {
    /// It runs.
    Running {
        /// Where.
        node: NodeId,
        /// On which devices.
        gpus: GpuGrant,
        /// Since when.
        since: Timestamp,
        /// Its owner has deleted it, and it goes when its grace is over.
        leaving: bool,
    },
    /// It has ended.
    Ended(PodOutcome),
}

/// Something that happens by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A node fails, and its pods with it.
    NodeDown(NodeId),
    /// A node is ready again.
    NodeUp(NodeId),
    /// A node takes no new pods.
    Cordon(NodeId),
    /// A workload is deleted by its owner.
    Delete(WorkloadId),
    /// A queue's quota in a pool changes.
    Resize(QueueId, PoolId, QueueQuota),
    /// A device's health changes.
    Health(NodeId, DeviceIndex, DeviceHealth),
    /// Memory on a device that belongs to no pod, as measured.
    Foreign(NodeId, DeviceIndex, GpuMemoryMib),
    /// GPU memory of a pod, as measured on each of its devices.
    Uses(PodId, GpuMemoryMib),
}

impl Happening {
    /// It names a node, or a pod that was found on one.
    pub fn is_about_a_node(&self) -> bool {
        match self {
            Self::NodeDown(_)
            | Self::NodeUp(_)
            | Self::Cordon(_)
            | Self::Health(..)
            | Self::Foreign(..)
            | Self::Uses(..) => true,
            Self::Delete(_) | Self::Resize(..) => false,
        }
    }
}

/// When a simulation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At the first instant, all submissions and happenings past, with no pod leaving and nothing decided.
    Settled,
    /// At this time.
    Time(Timestamp),
    /// When nothing is left that could happen.
    Idle,
}

/// What must come of a test case. Every part that is stated must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// About workloads taken together.
    Workloads {
        /// Which.
        workloads: Vec<WorkloadId>,
        /// Pods that run.
        running: Option<u32>,
        /// Pods that should run and do not.
        pending: Option<u32>,
        /// Pods that run on each of these nodes.
        nodes: Vec<(NodeId, u32)>,
        /// Why each of those that pend does so.
        reason: Option<ReasonKind>,
    },
    /// These workloads have pods on one and the same device.
    Shared(Vec<WorkloadId>),
    /// No device has pods of two of these workloads.
    Apart(Vec<WorkloadId>),
    /// Pods evicted in all, moved ones included.
    Evictions(u64),
    /// The most pods that may be evicted.
    EvictionsMax(u64),
}
