//! How many pods each role of a gang has and needs, from its controller's object or from its pods.
//!
//! Some controllers make pods only once others run: the later jobs of a JobSet in order, the workers of a LeaderWorkerSet that
//! waits for its leader, the launcher of an MPIJob that waits for its workers. Those cannot be needed for the start, which would
//! never come; they join a workload that runs.

use crate::error::{Bad, Malformed};
use crate::names::owner;
use crate::slim::owners::{Job, JobSet, JobSpec, LeaderWorkerSet, PodGroup, RayCluster, TrainingSpec};
use crate::slim::{self, named};

/// A role as its controller describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleShape {
    /// Its name.
    pub name: String,
    /// How many pods there will be.
    pub count: u32,
    /// How many must be placed for the workload to start.
    pub min: u32,
}

/// A gang as its controller describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Its roles, where they are known.
    pub roles: Vec<RoleShape>,
    /// How many pods must be placed in all, where only that is known.
    pub min: Option<u32>,
}

/// The most pods of one role.
const PODS_MAX: u32 = 1_000_000;

fn count(field: impl Into<String>, number: Option<i32>, default: u32) -> Result<u32, Bad> {
    match number {
        None => Ok(default),
        Some(number) => u32::try_from(number)
            .ok()
            .filter(|n| *n <= PODS_MAX)
            .ok_or_else(|| Bad::new(field, number, "0 to 1000000")),
    }
}

/// Pods that run at a time.
fn of_job(spec: &JobSpec) -> Result<u32, Bad> {
    let parallelism = count("parallelism", spec.parallelism, 1)?;
    Ok(parallelism.min(count("completions", spec.completions, u32::MAX)?))
}

impl Shape {
    /// A gang of all the pods of a Job; for Jobs of which a minimum is stated.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn job(job: &Job) -> Result<Self, Malformed> {
        let pods = of_job(&job.spec).map_err(|bad| bad.under("spec").of(named(job)))?;
        Ok(Self { roles: vec![RoleShape { name: "main".into(), count: pods, min: 1.min(pods) }], min: None })
    }

    /// All pods of all replicated jobs, or of the first if they are made in order.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn job_set(set: &JobSet) -> Result<Self, Malformed> {
        let role = |job: &slim::owners::ReplicatedJob| {
            let field = format!("spec.replicatedJobs[{}]", job.name);
            let read = || {
                let each = of_job(&job.template.spec).map_err(|bad| bad.under("template.spec"))?;
                let replicas = count("replicas", job.replicas, 1)?;
                let pods = each.saturating_mul(replicas);
                if pods > PODS_MAX {
                    return Err(Bad::new("replicas", replicas, "at most 1000000 pods in all"));
                }
                Ok(RoleShape { name: job.name.clone(), count: pods, min: pods })
            };
            read().map_err(|bad| bad.under(field).of(named(set)))
        };
        let mut roles: Vec<_> = set.spec.replicated_jobs.iter().map(role).collect::<Result<_, _>>()?;
        let policy =
            set.spec.startup_policy.as_ref().and_then(|policy| policy.startup_policy_order.as_deref());
        if policy == Some("InOrder") {
            roles.iter_mut().skip(1).for_each(|role| role.min = 0);
        }
        Ok(Self { roles, min: None })
    }

    /// The head, and of each group of workers its minimum, or all of it if it has none.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn ray_cluster(cluster: &RayCluster) -> Result<Self, Malformed> {
        let mut roles = vec![RoleShape { name: "headgroup".into(), count: 1, min: 1 }];
        for group in &cluster.spec.worker_group_specs {
            let read = || {
                let hosts = count("numOfHosts", group.num_of_hosts, 1)?;
                let least = count("minReplicas", group.min_replicas, 0)?;
                let replicas = count("replicas", group.replicas, least)?.max(least);
                let (replicas, least) = if group.suspend == Some(true) { (0, 0) } else { (replicas, least) };
                let min = if least > 0 { least } else { replicas };
                Ok(RoleShape {
                    name: group.group_name.clone(),
                    count: replicas.saturating_mul(hosts),
                    min: min.saturating_mul(hosts),
                })
            };
            let field = format!("spec.workerGroupSpecs[{}]", group.group_name);
            roles.push(read().map_err(|bad: Bad| bad.under(field).of(named(cluster)))?);
        }
        Ok(Self { roles, min: None })
    }

    /// The minimum of a PodGroup, or of its subgroups.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn pod_group(group: &PodGroup) -> Result<Self, Malformed> {
        let read = || {
            let mut roles = Vec::new();
            for sub in &group.spec.sub_groups {
                let field = format!("subGroups[{}].minMember", sub.name);
                let min = count(field, sub.min_member, 1)?;
                roles.push(RoleShape { name: sub.name.clone(), count: min, min });
            }
            let min = roles.is_empty().then(|| count("minMember", group.spec.min_member, 1)).transpose()?;
            Ok(Self { roles, min })
        };
        read().map_err(|bad: Bad| bad.under("spec").of(named(group)))
    }

    /// All replicas of a training job; of its workers its elastic minimum if there is one; or so many pods in all.
    ///
    /// `object` names the job in errors: [`slim::named`].
    ///
    /// # Errors
    /// A number is out of range.
    pub fn training_job(object: &str, spec: &TrainingSpec) -> Result<Self, Malformed> {
        let read = || {
            let policy = spec.run_policy.as_ref().and_then(|policy| policy.scheduling_policy.as_ref());
            let in_all = policy.and_then(|policy| policy.min_available);
            let elastic = spec.elastic_policy.as_ref().and_then(|policy| policy.min_replicas);
            let mut roles = Vec::new();
            for (name, replicas) in &spec.replica_specs {
                let name = name.to_lowercase();
                let count_of = count(format!("replicaSpecs[{name}].replicas"), replicas.replicas, 1)?;
                let least = if name == "worker" { elastic } else { None };
                let later = name == "launcher"
                    && spec.launcher_creation_policy.as_deref() == Some("WaitForWorkersReady");
                let min = count("elasticPolicy.minReplicas", least, count_of)?.min(count_of);
                let min = if later { 0 } else { min };
                roles.push(RoleShape { name, count: count_of, min });
            }
            let field = "runPolicy.schedulingPolicy.minAvailable";
            let min = in_all.map(|number| count(field, Some(number), 1)).transpose()?;
            Ok(Self { roles, min })
        };
        read().map_err(|bad: Bad| bad.under("spec").of(object))
    }

    /// A group of a LeaderWorkerSet, from any of its pods: a leader and the rest. Without the set's own object it is taken to
    /// make all pods of a group at once, as it does by default.
    ///
    /// # Errors
    /// The annotation with the size of the group is missing or malformed.
    pub fn leader_worker_set(pod: &slim::Pod, set: Option<&LeaderWorkerSet>) -> Result<Self, Malformed> {
        let text = pod.annotation(owner::LWS_SIZE).unwrap_or_default();
        let size: u32 = text.parse().ok().filter(|size| (1..=PODS_MAX).contains(size)).ok_or_else(|| {
            let field = format!("metadata.annotations[{}]", owner::LWS_SIZE);
            Bad::new(field, text, "the number of pods of the group, 1 or more").of(named(pod))
        })?;
        let all = |name: &str, count| RoleShape { name: name.to_owned(), count, min: count };
        let mut roles = vec![all("leader", 1)];
        if size > 1 {
            let waits = set.and_then(|set| set.spec.startup_policy.as_deref()) == Some("LeaderReady");
            let workers = all("worker", size - 1);
            roles.push(RoleShape { min: if waits { 0 } else { workers.min }, ..workers });
        }
        Ok(Self { roles, min: None })
    }
}
