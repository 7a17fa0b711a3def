//! Words into events.

use super::Stage;
use super::objects::{node, quota, role};
use berth_model::{
    BudgetId, BudgetSpec, DepartmentId, DepartmentSpec, DeviceHealth, DeviceIndex, DeviceStrategy, Event,
    GpuGrant, GpuMemoryMib, LabelSelector, Millis, NodeId, NodeTypeRule, OverLimit, Placement, PodId,
    PodOutcome, PodState, PoolId, PoolSelector, PoolSpec, Priority, ProjectId, ProjectSpec, QueueId,
    QueueQuota, Strategy, Timestamp, TopologyRequest, WorkloadId, WorkloadSpec,
};

/// 1 GiB.
pub(super) const GIB: i64 = 1 << 30;

/// A line, cut into words.
pub(crate) struct Words<'a> {
    pub(crate) verb: &'a str,
    /// Words without `=`.
    pub(crate) args: Vec<&'a str>,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a verb");
        let mut cut = Self { verb, args: Vec::new(), pairs: Vec::new() };
        for word in words {
            match word.split_once('=') {
                Some(pair) => cut.pairs.push(pair),
                None => cut.args.push(word),
            }
        }
        cut
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.args.contains(&flag)
    }

    pub(crate) fn int(&self, text: &str) -> i64 {
        text.parse().unwrap_or_else(|_| panic!("a number: {text}"))
    }

    pub(super) fn number(&self, key: &str, default: i64) -> i64 {
        self.get(key).map_or(default, |text| self.int(text))
    }

    /// A decimal in thousandths or millionths.
    pub(super) fn scaled(&self, text: &str, unit: i64) -> i64 {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits: i64 = if part.is_empty() { 0 } else { self.int(part) };
        self.int(whole) * unit + digits * unit / 10i64.pow(part.len() as u32)
    }

    pub(super) fn list(&self, key: &str) -> Vec<&'a str> {
        self.get(key).map_or_else(Vec::new, |text| text.split(',').collect())
    }

    /// `n3` or `w3` as 3.
    fn id(&self, name: &str) -> u32 {
        self.int(&name[1..]) as u32
    }

    pub(crate) fn workload_id(&self, name: &str) -> WorkloadId {
        WorkloadId(self.id(name).into())
    }

    pub(super) fn node_id(&self, name: &str) -> NodeId {
        NodeId(self.id(name))
    }

    fn budget_id(&self, name: &str) -> BudgetId {
        BudgetId(self.id(name))
    }

    /// `w1/0/2`.
    fn pod_id(&self, name: &str) -> PodId {
        let parts: Vec<&str> = name.split('/').collect();
        let [workload, role, index] = parts[..] else { panic!("w/role/index: {name}") };
        PodId {
            workload: self.workload_id(workload),
            role: self.int(role) as u16,
            index: self.int(index) as u32,
        }
    }

    /// Seconds.
    fn time(&self, key: &str) -> Option<Timestamp> {
        self.get(key).map(|seconds| Timestamp(self.int(seconds) * 1000))
    }

    /// `gpus=0,1`, and `each=500` if they are shared.
    fn grant(&self) -> GpuGrant {
        let devices = self.list("gpus").iter().map(|d| DeviceIndex(self.int(d) as u8)).collect();
        let each = self.get("each").map(|mib| GpuMemoryMib(self.int(mib)));
        match (self.get("gpus"), each) {
            (None, _) => GpuGrant::None,
            (Some(_), None) => GpuGrant::Whole(devices),
            (Some(_), Some(each)) => GpuGrant::Shared { devices, each, limit: each },
        }
    }

    fn strategy(&self, key: &str) -> Strategy {
        if self.get(key) == Some("spread") { Strategy::Spread } else { Strategy::Binpack }
    }
}

/// JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A word that is a value of its own in JSON.
pub(super) fn named<T: serde::de::DeserializeOwned>(word: &str) -> T {
    json(&format!("\"{word}\""))
}

impl Stage {
    /// The event that a line stands for.
    pub(super) fn event(&mut self, words: &Words<'_>, roles: &[&str]) -> Event {
        let arg = |at: usize| words.args[at];
        match words.verb {
            "pool" | "department" | "project" | "quota" => self.rule(words),
            "node" => Event::NodeSet(node(words)),
            "gone" => Event::NodeRemoved(words.node_id(arg(0))),
            "condition" => Event::NodeCondition {
                node: words.node_id(arg(0)),
                ready: !words.has("notready"),
                unschedulable: words.has("cordoned"),
            },
            "health" => Event::DeviceHealth {
                node: words.node_id(arg(0)),
                device: DeviceIndex(words.int(arg(1)) as u8),
                health: named::<DeviceHealth>(arg(2)),
            },
            "foreign" => Event::DeviceForeign {
                node: words.node_id(arg(0)),
                device: DeviceIndex(words.int(arg(1)) as u8),
                memory: GpuMemoryMib(words.int(arg(2))),
            },
            "workload" => Event::WorkloadSet(self.workload(words, roles)),
            "remove" => Event::WorkloadRemoved(words.workload_id(arg(0))),
            "running" => Event::PodRunning(PodState {
                starting: words.has("starting"),
                ..PodState::new(
                    words.pod_id(arg(0)),
                    words.node_id(arg(1)),
                    words.grant(),
                    words.time("since").unwrap_or(Timestamp(self.now)),
                )
            }),
            "leaving" => Event::PodLeaving {
                pod: words.pod_id(arg(0)),
                until: words.time("until").unwrap_or(Timestamp(self.now + 30_000)),
            },
            "budget" => Event::BudgetSet(BudgetSpec {
                id: words.budget_id(arg(0)),
                name: arg(0).to_owned(),
                namespace: words.get("namespace").unwrap_or("p").to_owned(),
                selector: (!words.has("nobody")).then(|| LabelSelector {
                    match_labels: words
                        .get("app")
                        .map(|app| ("app".into(), app.into()))
                        .into_iter()
                        .collect(),
                    ..LabelSelector::default()
                }),
                disruptions_allowed: words.number("allowed", 0) as u32,
            }),
            "evictions" => Event::EvictionsFrom { at: Timestamp(words.number("from", 0) * 1000) },
            "nobudget" => Event::BudgetRemoved(words.budget_id(arg(0))),
            "reserved" => Event::PodReserved {
                pod: words.pod_id(arg(0)),
                at: Placement { node: words.node_id(arg(1)), gpus: words.grant() },
                until: words.time("until").unwrap_or_default(),
            },
            "evictfailed" => Event::EvictFailed { pod: words.pod_id(arg(0)) },
            "memory" => Event::PodMemory {
                pod: words.pod_id(arg(0)),
                device: DeviceIndex(words.int(arg(1)) as u8),
                memory: GpuMemoryMib(words.int(arg(2))),
            },
            "ended" => Event::PodEnded { pod: words.pod_id(arg(0)), outcome: named::<PodOutcome>(arg(1)) },
            "wanted" => Event::PodWanted { pod: words.pod_id(arg(0)) },
            "bindfailed" => Event::BindFailed { pod: words.pod_id(arg(0)), node: words.node_id(arg(1)) },
            other => panic!("what is `{other}`?"),
        }
    }

    fn rule(&mut self, words: &Words<'_>) -> Event {
        let name = words.args[0];
        match words.verb {
            "pool" => Event::PoolSet(self.set_pool(words, name)),
            "department" => {
                let department = DepartmentSpec {
                    id: DepartmentId(self.departments.len() as u32),
                    name: name.to_owned(),
                    created: words.time("created").unwrap_or_default(),
                    rank: words.number("rank", 100) as i32,
                    quotas: Vec::new(),
                    node_types: None,
                };
                self.departments.push(department.clone());
                Event::DepartmentSet(department)
            }
            "project" => Event::ProjectSet(self.set_project(words, name)),
            _ => Event::QuotaSet {
                queue: self.queue(name),
                pool: self.pool(words.get("pool").unwrap_or("default")),
                quota: quota(words),
            },
        }
    }

    fn set_pool(&mut self, words: &Words<'_>, name: &str) -> PoolSpec {
        let id = self.pools.iter().position(|p| p.name == name).unwrap_or(self.pools.len());
        let selector = words.get("label").and_then(|l| l.split_once(':'));
        let selector = selector.map(|(key, value)| PoolSelector { key: key.into(), value: value.into() });
        let mut pool = PoolSpec::new(PoolId(id as u32), name, selector);
        (pool.gpu, pool.cpu) = (words.strategy("gpu"), words.strategy("cpu"));
        if words.get("device") == Some("spread") {
            pool.device = DeviceStrategy::Spread;
        }
        pool.min_runtime = Millis::from_secs(words.number("min-runtime", 0));
        pool.stale_grace = Millis::from_secs(words.number("stale", 60));
        pool.consolidation = !words.has("still");
        pool.over_limit = words.get("over").map(named::<OverLimit>).unwrap_or_default();
        pool.max_moves = words.number("moves", 16) as u32;
        self.pools.retain(|known| known.id != pool.id);
        self.pools.insert(id, pool.clone());
        pool
    }

    fn set_project(&mut self, words: &Words<'_>, name: &str) -> ProjectSpec {
        let types = words.get("types").and_then(|t| t.split_once(':'));
        let values = |list: &str| list.split(',').map(str::to_owned).collect();
        let parent = words.get("in").unwrap_or("d");
        let id = self.projects.iter().position(|p| p.name == name).unwrap_or(self.projects.len());
        let project = ProjectSpec {
            hold_after: words.get("hold-after").map(|seconds| Millis::from_secs(words.int(seconds))),
            id: ProjectId(id as u32),
            name: name.to_owned(),
            department: self.departments.iter().find(|d| d.name == parent).expect("a department").id,
            created: words.time("created").unwrap_or_default(),
            rank: words.number("rank", 100) as i32,
            quotas: vec![(PoolId(0), QueueQuota::unlimited())],
            pools: words.list("pools").iter().map(|pool| self.pool(pool)).collect(),
            node_types: types.map(|(key, list)| NodeTypeRule { key: key.to_owned(), values: values(list) }),
        };
        self.projects.retain(|known| known.id != project.id);
        self.projects.insert(id, project.clone());
        project
    }

    /// A pool by name.
    pub(super) fn pool(&self, name: &str) -> PoolId {
        self.pools.iter().find(|p| p.name == name).map_or(PoolId(99), |pool| pool.id)
    }

    /// A queue by name.
    pub(super) fn queue(&self, name: &str) -> QueueId {
        let department = self.departments.iter().find(|d| d.name == name).map(|d| QueueId::Department(d.id));
        let project = || self.projects.iter().find(|p| p.name == name).map(|p| QueueId::Project(p.id));
        department.or_else(project).expect("a queue")
    }

    fn workload(&mut self, words: &Words<'_>, roles: &[&str]) -> WorkloadSpec {
        let id = words.workload_id(words.args[0]);
        let project = match words.get("project").unwrap_or("p") {
            "none" => None,
            name => Some(self.projects.iter().find(|p| p.name == name).expect("a project").id),
        };
        let topology = |key: &str, required| TopologyRequest { key: key.to_owned(), required };
        let preferred = words.get("topology").map(|key| topology(key, false));
        let all = std::iter::once(role(words, 0));
        let more = roles.iter().enumerate().map(|(at, line)| role(&Words::new(line), at + 1));
        let submitted = Timestamp(words.number("at", 0));
        let spec = WorkloadSpec {
            name: words.args[0].to_owned(),
            namespace: "open".to_owned(),
            priority: Priority(words.number("priority", 50) as i32),
            preemptible: !words.has("fixed"),
            grace: Millis::from_secs(words.number("grace", 0)),
            stale_grace: words.get("stale").map(|seconds| Millis::from_secs(words.int(seconds))),
            stale_since: words.time("stale-since"),
            start_timeout: words.get("start").map(|seconds| Millis::from_secs(words.int(seconds))),
            expected_runtime: words.get("runtime").map(|seconds| Millis::from_secs(words.int(seconds))),
            pools: words.list("pools").iter().map(|pool| self.pool(pool)).collect(),
            node_type: words.get("type").map(str::to_owned),
            topology: words.get("topology!").map(|key| topology(key, true)).or(preferred),
            ..WorkloadSpec::new(id, project, submitted, all.chain(more).collect())
        };
        self.workloads.push(spec.clone());
        spec
    }
}
