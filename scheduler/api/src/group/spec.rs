//! What a workload asks for as a whole: priority, preemptibility, grace, pools, and so on.

use super::minimum::{Minimums, RolePods};
use crate::asked::{Asked, AskedPriority};
use crate::convert::created;
use crate::error::{Bad, Malformed};
use crate::names;
use crate::objects::Project;
use crate::objects::amount::Span;
use crate::slim::{self, named};
use berth_model::{Labels, Millis, PodSpec, PoolId, Priority, ProjectId, RoleSpec, WorkloadId, WorkloadSpec};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Grace when nothing is said (S23).
const DEFAULT_GRACE: Millis = Millis::from_secs(30);

/// Priorities from here on are of Kubernetes' system classes; below it a pod of an unmanaged namespace may be stopped for one
/// of higher priority, as Kubernetes does (S3, S28).
pub const UNMANAGED_PREEMPTIBLE_BELOW: Priority = Priority(2_000_000_000);

/// Priority of an ordinary pod of a project that names none: a training's (S4).
const DEFAULT_PRIORITY: &str = "low";

/// Where a workload is.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The project that owns its namespace, with the identifier that the caller has given it; none = unmanaged (S3).
    pub project: Option<(ProjectId, &'a Project)>,
    /// The value of a PriorityClass.
    pub class: &'a dyn Fn(&str) -> Option<i32>,
    /// The identifier of a pool.
    pub pool: &'a dyn Fn(&str) -> Option<PoolId>,
}

/// What the caller knows of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The identifier that the caller has given it.
    pub id: WorkloadId,
    /// What it is called.
    pub name: String,
}

/// A workload as the model has it. What is said for the workload as a whole is read from `first`, its first pod: the oldest,
/// and of equally old ones the first by name. `roles` are the pods that are there, each with what it asks for, and `minimums`
/// come of them.
///
/// What is written for later (evictions, stale since) is left empty: it is the caller's, who writes it too.
///
/// # Errors
/// The pod names a project, a pool or a PriorityClass that is not there.
pub fn workload(
    identity: Identity,
    first: (&slim::Pod, &Asked),
    roles: Vec<(RolePods, Arc<Labels>, Arc<PodSpec>)>,
    minimums: &Minimums,
    context: Context<'_>,
) -> Result<WorkloadSpec, Malformed> {
    let (pod, asked) = first;
    let read = || {
        queue(pod, asked, context)?;
        let priority = priority(pod, asked, context)?;
        let defaults = context.project.and_then(|(_, project)| project.spec.workload_defaults.clone());
        let defaults = defaults.unwrap_or_default();
        let managed = context.project.is_some();
        Ok(WorkloadSpec {
            id: identity.id,
            name: identity.name,
            project: context.project.map(|(id, _)| id),
            namespace: pod.namespace().to_owned(),
            priority,
            preemptible: asked.preemptible.unwrap_or(if managed {
                priority.preemptible()
            } else {
                priority < UNMANAGED_PREEMPTIBLE_BELOW
            }),
            submitted: created(&pod.metadata),
            grace: asked.grace.or(span(&defaults.grace)).unwrap_or(DEFAULT_GRACE),
            pools: pools(asked, context)?,
            node_type: asked.node_type.clone(),
            topology: asked.topology.clone(),
            expected_runtime: asked.expected_runtime,
            start_timeout: asked.start_timeout.or(span(&defaults.start_timeout)),
            stale_grace: asked.stale_grace.or(span(&defaults.stale_grace)),
            stale_since: None,
            evictions: Vec::new(),
            roles: role_specs(roles, minimums),
        })
    };
    read().map_err(|bad: Bad| bad.of(named(pod)))
}

/// A span of a Project that has been read before.
fn span(value: &Option<Span>) -> Option<Millis> {
    value.as_ref().and_then(|value| value.read().ok())
}

/// Roles under their names; further pods of a role that ask for something else are `<role>.2` and so on.
fn role_specs(roles: Vec<(RolePods, Arc<Labels>, Arc<PodSpec>)>, minimums: &Minimums) -> Vec<RoleSpec> {
    let mut names = BTreeSet::new();
    let mut specs = Vec::with_capacity(roles.len());
    for (at, (role, labels, pod)) in roles.into_iter().enumerate() {
        let mut name = role.role.clone();
        let mut number = 1;
        while !names.insert(name.clone()) {
            number += 1;
            name = format!("{}.{number}", role.role);
        }
        specs.push(RoleSpec { name, count: role.pods, min: minimums.min[at], labels, pod });
    }
    specs
}

/// The queue that KAI's and Run:ai's labels name must be the project of the namespace: a pod cannot choose another's quota.
fn queue(pod: &slim::Pod, asked: &Asked, context: Context<'_>) -> Result<(), Bad> {
    let Some(queue) = &asked.queue else { return Ok(()) };
    let own = context.project.and_then(|(_, project)| project.metadata.name.as_deref());
    if own == Some(queue.as_str()) {
        return Ok(());
    }
    let labels = [names::kai::QUEUE, names::runai::QUEUE];
    let key = labels.into_iter().find(|key| pod.label(key).is_some()).unwrap_or(labels[0]);
    let allowed = match own {
        Some(own) => format!("{own}, the project that owns namespace {}", pod.namespace()),
        None => format!("none: namespace {} belongs to no project", pod.namespace()),
    };
    Err(Bad::new(format!("metadata.labels[{key}]"), queue, allowed))
}

fn priority(pod: &slim::Pod, asked: &Asked, context: Context<'_>) -> Result<Priority, Bad> {
    match &asked.priority {
        Some(AskedPriority::Value(priority)) => return Ok(*priority),
        Some(AskedPriority::Class(class)) => {
            let field = format!("metadata.labels[{}]", names::kai::PRIORITY);
            let value = (context.class)(class);
            return value.map(Priority).ok_or_else(|| Bad::new(field, class, "a PriorityClass that exists"));
        }
        None => {}
    }
    let named = pod.spec.priority_class_name.as_deref().is_some_and(|class| !class.is_empty());
    let own = Priority(pod.spec.priority.unwrap_or(0));
    let default = Priority::named(DEFAULT_PRIORITY).filter(|_| context.project.is_some());
    // Without a class admission writes 0, unless some class is the default of the cluster.
    Ok(if named || own.0 != 0 { own } else { default.unwrap_or(own) })
}

fn pools(asked: &Asked, context: Context<'_>) -> Result<Vec<PoolId>, Bad> {
    let find = |name: &String| {
        let field = format!("metadata.annotations[{}]", names::pod::POOLS);
        (context.pool)(name).ok_or_else(|| Bad::new(field, name, "a NodePool that exists"))
    };
    asked.pools.iter().map(find).collect()
}
