//! Words into events.

use super::Stage;
use berth_model::{
    Bytes, DepartmentId, DepartmentSpec, DeviceHealth, DeviceIndex, DeviceSpec, DeviceStrategy, Effect,
    Event, GpuGrant, GpuMemoryMib, GpuRequest, GpuShare, MilliCpu, Millis, NodeId, NodeSpec, NodeTypeRule,
    PodId, PodOutcome, PodSpec, PodState, PoolId, PoolSelector, PoolSpec, Priority, ProjectId, ProjectSpec,
    QueueId, QueueQuota, Quota, ResourceQuota, Resources, RoleSpec, Strategy, Taint, Timestamp,
    TopologyRequest, WorkloadId, WorkloadSpec,
};
use std::sync::Arc;

const GIB: i64 = 1 << 30;

/// A line, cut into words.
pub struct Words<'a> {
    pub verb: &'a str,
    /// Words without `=`.
    pub args: Vec<&'a str>,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub fn new(line: &'a str) -> Self {
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

    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }

    fn has(&self, flag: &str) -> bool {
        self.args.contains(&flag)
    }

    pub fn int(&self, text: &str) -> i64 {
        text.parse().unwrap_or_else(|_| panic!("a number: {text}"))
    }

    fn number(&self, key: &str, default: i64) -> i64 {
        self.get(key).map_or(default, |text| self.int(text))
    }

    /// A decimal in thousandths or millionths.
    fn scaled(&self, text: &str, unit: i64) -> i64 {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits: i64 = if part.is_empty() { 0 } else { self.int(part) };
        self.int(whole) * unit + digits * unit / 10i64.pow(part.len() as u32)
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        self.get(key).map_or_else(Vec::new, |text| text.split(',').collect())
    }

    /// `n3` or `w3` as 3.
    fn id(&self, name: &str) -> u32 {
        self.int(&name[1..]) as u32
    }

    pub fn workload_id(&self, name: &str) -> WorkloadId {
        WorkloadId(self.id(name).into())
    }

    fn node_id(&self, name: &str) -> NodeId {
        NodeId(self.id(name))
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

    fn strategy(&self, key: &str) -> Strategy {
        if self.get(key) == Some("spread") { Strategy::Spread } else { Strategy::Binpack }
    }
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn named<T: serde::de::DeserializeOwned>(word: &str) -> T {
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
                pod: words.pod_id(arg(0)),
                node: words.node_id(arg(1)),
                gpus: match words.get("gpus") {
                    None => GpuGrant::None,
                    Some(_) => GpuGrant::Whole(
                        words.list("gpus").iter().map(|d| DeviceIndex(words.int(d) as u8)).collect(),
                    ),
                },
                since: Timestamp(self.now),
                leaving: None,
            }),
            "leaving" => Event::PodLeaving { pod: words.pod_id(arg(0)), until: Timestamp(self.now + 30_000) },
            "ended" => Event::PodEnded { pod: words.pod_id(arg(0)), outcome: named::<PodOutcome>(arg(1)) },
            "bindfailed" => Event::BindFailed { pod: words.pod_id(arg(0)), node: words.node_id(arg(1)) },
            other => panic!("what is `{other}`?"),
        }
    }

    fn rule(&mut self, words: &Words<'_>) -> Event {
        let name = words.args[0];
        match words.verb {
            "pool" => {
                let id = self.pools.iter().position(|p| p.name == name).unwrap_or(self.pools.len());
                let selector = words.get("label").and_then(|l| l.split_once(':'));
                let selector =
                    selector.map(|(key, value)| PoolSelector { key: key.into(), value: value.into() });
                let mut pool = PoolSpec::new(PoolId(id as u32), name, selector);
                (pool.gpu, pool.cpu) = (words.strategy("gpu"), words.strategy("cpu"));
                pool.device =
                    if words.get("device") == Some("spread") { DeviceStrategy::Spread } else { pool.device };
                self.pools.retain(|known| known.id != pool.id);
                self.pools.insert(id, pool.clone());
                Event::PoolSet(pool)
            }
            "department" => {
                let department = DepartmentSpec {
                    id: DepartmentId(self.departments.len() as u32),
                    name: name.to_owned(),
                    created: Timestamp(0),
                    rank: words.number("rank", 100) as i32,
                    quotas: Vec::new(),
                    node_types: None,
                };
                self.departments.push(department.clone());
                Event::DepartmentSet(department)
            }
            "project" => {
                let types = words.get("types").and_then(|t| t.split_once(':'));
                let values = |list: &str| list.split(',').map(str::to_owned).collect();
                let parent = words.get("in").unwrap_or("d");
                let known = self.projects.iter().position(|p| p.name == name);
                let project = ProjectSpec {
                    id: ProjectId(known.unwrap_or(self.projects.len()) as u32),
                    name: name.to_owned(),
                    department: self.departments.iter().find(|d| d.name == parent).expect("a department").id,
                    created: Timestamp(0),
                    rank: words.number("rank", 100) as i32,
                    quotas: vec![(PoolId(0), QueueQuota::unlimited())],
                    pools: words.list("pools").iter().map(|pool| self.pool(pool)).collect(),
                    node_types: types
                        .map(|(key, list)| NodeTypeRule { key: key.to_owned(), values: values(list) }),
                };
                self.projects.push(project.clone());
                Event::ProjectSet(project)
            }
            _ => Event::QuotaSet {
                queue: self.queue(name),
                pool: self.pool(words.get("pool").unwrap_or("default")),
                quota: quota(words),
            },
        }
    }

    fn pool(&self, name: &str) -> PoolId {
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
        let spec = WorkloadSpec {
            id,
            name: words.args[0].to_owned(),
            project,
            namespace: "open".to_owned(),
            priority: Priority(words.number("priority", 50) as i32),
            preemptible: !words.has("fixed"),
            submitted: Timestamp(words.number("at", 0)),
            grace: Millis(0),
            pools: words.list("pools").iter().map(|pool| self.pool(pool)).collect(),
            node_type: words.get("type").map(str::to_owned),
            topology: words.get("topology!").map(|key| topology(key, true)).or(preferred),
            expected_runtime: None,
            stale_grace: None,
            stale_since: None,
            roles: all.chain(more).collect(),
        };
        self.workloads.push(spec.clone());
        spec
    }
}

fn quota(words: &Words<'_>) -> QueueQuota {
    let bound = |key: &str, limit: &str, unit: i64, unset: Quota| ResourceQuota {
        quota: words.get(key).map_or(unset, |text| Quota::Of(words.scaled(text, unit))),
        limit: words.get(limit).map(|text| words.scaled(text, unit)),
    };
    QueueQuota {
        gpu: bound("gpu", "gpu-limit", 1_000_000, Quota::Unlimited),
        cpu: bound("cpu", "cpu-limit", 1000, Quota::Unmanaged),
        memory: bound("mem", "mem-limit", GIB, Quota::Unmanaged),
        weight: None,
    }
}

fn resources(words: &Words<'_>, cpu: &str, memory: i64, pods: u32) -> Resources {
    Resources {
        cpu: MilliCpu(words.scaled(words.get("cpu").unwrap_or(cpu), 1000)),
        memory: Bytes(words.number("mem", memory) * GIB),
        ephemeral: Bytes(words.number("disk", 0) * GIB),
        pods,
        extended: words
            .get("nic")
            .map(|n| ("example.com/nic".to_owned(), words.int(n)))
            .into_iter()
            .collect(),
    }
}

fn node(words: &Words<'_>) -> NodeSpec {
    let links = words.list("links");
    let devices = words.get("gpus").map_or_else(Vec::new, |text| text.split('+').collect());
    let sizes = devices.into_iter().flat_map(|text| {
        let (count, size) = text.split_once('x').unwrap_or(("1", text));
        std::iter::repeat_n(words.int(size), words.int(count) as usize)
    });
    let device = |(at, memory): (usize, i64)| DeviceSpec {
        link_group: links.get(at).map_or(0, |group| words.int(group) as u8),
        ..DeviceSpec::new(GpuMemoryMib(memory), "")
    };
    let taint = words.get("taint").and_then(|t| t.split_once(':'));
    NodeSpec {
        id: words.node_id(words.args[0]),
        name: words.args[0].to_owned(),
        labels: words
            .args
            .iter()
            .filter_map(|w| w.split_once(':'))
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        taints: taint
            .map(|(key, effect)| Taint {
                key: key.into(),
                value: String::new(),
                effect: named::<Effect>(effect),
            })
            .into_iter()
            .collect(),
        allocatable: resources(words, "8", 32, words.number("pods", 110) as u32),
        devices: sizes.enumerate().map(device).collect(),
        volume_limits: words
            .get("attach")
            .map(|n| ("csi".to_owned(), words.int(n) as u32))
            .into_iter()
            .collect(),
        ready: !words.has("notready"),
        unschedulable: words.has("cordoned"),
    }
}

fn role(words: &Words<'_>, at: usize) -> RoleSpec {
    let count = words.number("n", 1) as u32;
    let mut pod: PodSpec = words.get("pod").map(json).unwrap_or_default();
    pod.requests = resources(words, "0", 0, 0);
    let devices = words.number("devices", 1) as u32;
    let share = |text| GpuShare(words.scaled(text, 1_000_000));
    if let Some(whole) = words.get("gpus") {
        pod.gpu = GpuRequest::Whole(words.int(whole) as u32);
    } else if let Some(part) = words.get("share") {
        pod.gpu = GpuRequest::Share { share: share(part), devices, limit: words.get("limit").map(share) };
    } else if let Some(part) = words.get("mib") {
        let mib = |text| GpuMemoryMib(words.int(text));
        pod.gpu = GpuRequest::Memory { memory: mib(part), devices, limit: words.get("limit").map(mib) };
    }
    RoleSpec {
        name: format!("role{at}"),
        count,
        min: words.number("min", count.into()) as u32,
        labels: words.get("app").map(|app| ("app".to_owned(), app.to_owned())).into_iter().collect(),
        pod: Arc::new(pod),
    }
}
