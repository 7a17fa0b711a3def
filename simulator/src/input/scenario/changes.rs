//! Changes to a cluster that is there, in the words of a scenario: workloads, nodes, quotas.

use super::cluster;
use super::happening;
use super::names::unique;
use super::organisation::Organisation;
use super::workload::{self, Context};
use crate::case::{Arrival, Cluster};
use crate::input::error::InputError;
use crate::input::yaml::{At, Document};
use berth_model::{NodeId, NodeSpec, PoolId, QueueId, QueueQuota, Timestamp, WorkloadId};
use rustc_hash::FxHashMap;

/// Workloads that are submitted at `now`: one, or a list of them. `taken` are the names of those that are known; the first
/// new one has the id that follows on theirs.
pub fn submissions(
    file: &str,
    source: &str,
    cluster: &Cluster,
    taken: &[String],
    now: Timestamp,
) -> Result<Vec<Arrival>, InputError> {
    let document = Document::parse(file, source)?;
    let organisation = organisation(cluster);
    let mut context = Context::new(&cluster.pools, &cluster.nodes, &organisation);
    let mut seen: FxHashMap<String, ()> = taken.iter().map(|name| (name.clone(), ())).collect();
    let mut arrivals = Vec::new();
    for at in one_or_more(document.root())? {
        let fields = at.fields(workload::SUBMIT_FIELDS)?;
        let name = fields.need("name")?;
        let name = unique(&mut seen, "workload", name.name()?, name)?;
        let id = WorkloadId((taken.len() + arrivals.len()) as u64);
        let mut arrival = workload::workload(&fields, id, name, &mut context)?;
        if !arrival.found.is_empty() {
            let problem = "has pods that run or have ended";
            return Err(InputError { allowed: "only new pods".into(), ..at.problem(problem) });
        }
        arrival.spec.submitted = now;
        arrivals.push(arrival);
    }
    Ok(arrivals)
}

/// Nodes that are added, as in the list `nodes` of a scenario: one, or a list of them. Their ids follow on those there.
pub fn more_nodes(file: &str, source: &str, cluster: &Cluster) -> Result<Vec<NodeSpec>, InputError> {
    let document = Document::parse(file, source)?;
    let mut seen = cluster.nodes.iter().map(|node| (node.name.clone(), ())).collect();
    let first = NodeId(cluster.nodes.len() as u32);
    cluster::list(&one_or_more(document.root())?, &cluster.pools, &mut seen, first)
}

/// A quota that changes, as in `resize` of a scenario's events; the cluster has it from then on.
pub fn resize(
    file: &str,
    source: &str,
    cluster: &mut Cluster,
) -> Result<(QueueId, PoolId, QueueQuota), InputError> {
    let document = Document::parse(file, source)?;
    let mut organisation = organisation(cluster);
    let changed = happening::resized(&document.root(), &mut organisation, &cluster.pools)?;
    (cluster.departments, cluster.projects) = (organisation.departments, organisation.projects);
    Ok(changed)
}

fn organisation(cluster: &Cluster) -> Organisation {
    Organisation { departments: cluster.departments.clone(), projects: cluster.projects.clone() }
}

/// The items of a list, or the one thing that is there in place of a list.
fn one_or_more(at: At<'_>) -> Result<Vec<At<'_>>, InputError> {
    if at.is_list() { at.list() } else { Ok(vec![at]) }
}
