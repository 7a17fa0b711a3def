//! `berth-sim plan`: the cheapest cluster for which goals hold.

use super::source::Source;
use super::{Ended, Stopped};
use crate::case::{Case, Load};
use crate::input::node;
use crate::outcome::Outcome;
use crate::plan::{self, Args, Kind, KindIndex};
use crate::world::{Options, simulate};
use berth_model::NodeId;

/// Find the smallest number of nodes of given kinds for which goals hold
///
/// The input says what wants to run; its own nodes, and what happens to them, are left out. Exit code 1: no
/// number of nodes within the limits meets the goals.
#[derive(clap::Args)]
pub(super) struct Plan {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    args: Args,
}

impl Plan {
    pub(super) fn run(&self) -> Result<Ended, Stopped> {
        let kinds = self.args.kinds()?;
        let base = without_nodes(self.source.case()?);
        for kind in &kinds {
            known_pool(kind, &base)?;
        }
        let simulate = |counts: &[(KindIndex, u32)]| -> Result<Outcome, String> {
            let mut case = base.clone();
            for (kind, count) in counts {
                add_nodes(&mut case, &kinds[*kind], *count);
            }
            simulate(&case, Options::default()).map_err(|error| error.to_string())
        };
        let plan = plan::run(&self.args, &kinds, simulate, &mut std::io::stdout().lock())?;
        Ok(if plan.is_met() { Ended::Well } else { Ended::Failed })
    }
}

/// The case without its nodes, and without all that refers to them.
fn without_nodes(mut case: Case) -> Case {
    case.cluster.nodes.clear();
    case.expect.clear();
    case.happenings.retain(|(_, happening)| !happening.is_about_a_node());
    if let Load::Listed(arrivals) = &mut case.load {
        arrivals.iter_mut().for_each(|arrival| arrival.found.clear());
    }
    case
}

fn known_pool(kind: &Kind, case: &Case) -> Result<(), Stopped> {
    let pools = &case.cluster.pools;
    let Some(pool) = kind.pool.as_ref().filter(|pool| pools.iter().all(|p| p.name != **pool)) else {
        return Ok(());
    };
    let known: Vec<_> = pools.iter().map(|p| p.name.as_str()).collect();
    let known = known.join(", ");
    Err(Stopped(format!("kind {:?}: pool: is `{pool}`; allowed: {known}", kind.name)))
}

fn add_nodes(case: &mut Case, kind: &Kind, count: u32) {
    let pattern = node::Pattern {
        cpu: kind.cpu,
        memory: kind.memory,
        pods: kind.pods,
        gpus: kind.gpus as usize,
        gpu_memory: kind.gpu_memory,
        model: &kind.model,
        pool: kind.pool.as_deref(),
        labels: &kind.labels,
    };
    for index in 0..count {
        let id = NodeId(case.cluster.nodes.len() as u32);
        case.cluster.nodes.push(pattern.node(id, format!("{}-{index}", kind.name)));
    }
}
