//! The world as it is at the start.

use super::SimError;
use super::budgets::Counted;
use super::run::{Counts, Measured, OfProject, Options, World};
use super::sample::Sampler;
use super::state::State;
use crate::case::{Arrival, Case, Cluster};
use berth_engine::Engine;
use berth_model::{DeviceHealth, Event, GpuShare, NodeSpec, PoolId, QueueQuota, Timestamp};
use std::collections::BinaryHeap;

impl<'a> World<'a> {
    /// The cluster as it is at the start, before anything is submitted.
    pub fn new(case: &'a Case, options: Options<'a>) -> Result<Self, SimError> {
        let mut world = Self::unknown(case, options);
        world.build()?;
        Ok(world)
    }

    /// The cluster at the start; the engine knows nothing of it.
    pub(super) fn unknown(case: &'a Case, options: Options<'a>) -> Self {
        let Cluster { pools, projects, nodes, .. } = &case.cluster;
        let by_name = pools.iter().min_by_key(|pool| &pool.name).map_or(PoolId(0), |pool| pool.id);
        let arrivals: Box<dyn Iterator<Item = Arrival> + 'a> = case.load.arrivals();
        Self {
            engine: Engine::new(options.settings),
            options,
            now: Timestamp(0),
            state: State::new(case.load.len(), nodes),
            nodes: nodes.clone(),
            due: BinaryHeap::new(),
            last_due: None,
            arrivals: arrivals.peekable(),
            happened: 0,
            changed: false,
            impatient: Vec::new(),
            evicted: Vec::new(),
            budgets: case.cluster.budgets.iter().map(Counted::new).collect(),
            following: Default::default(),
            reports: Vec::new(),
            counts: Counts::default(),
            capacity: GpuShare::ZERO,
            allocated: GpuShare::ZERO,
            measured: Measured {
                projects: projects.iter().map(|_| OfProject::default()).collect(),
                waiting: vec![GpuShare::ZERO; pools.len()],
            },
            sampler: Sampler::new(pools.len(), projects.len(), case.span()),
            first_pool: by_name,
            case,
        }
    }

    /// Tells the engine what there is.
    fn build(&mut self) -> Result<(), SimError> {
        let Cluster { pools, departments, projects, nodes, .. } = &self.case.cluster;
        for pool in pools {
            self.apply(Event::PoolSet(pool.clone()))?;
        }
        for department in departments {
            self.apply(Event::DepartmentSet(department.clone()))?;
        }
        for project in projects {
            self.apply(Event::ProjectSet(project.clone()))?;
        }
        for node in nodes {
            self.apply(Event::NodeSet(node.clone()))?;
        }
        self.measure_capacity();
        Ok(())
    }

    /// Sums up the devices that can be given out.
    pub(super) fn measure_capacity(&mut self) {
        let healthy = |node: &&NodeSpec| node.ready && !node.unschedulable;
        let devices = self.nodes.iter().filter(healthy).flat_map(|node| &node.devices);
        let healthy = devices.filter(|d| d.health == DeviceHealth::Healthy).count();
        self.capacity = GpuShare::devices(healthy as u32);
    }

    /// The quota of a project in each pool, by the pool's name.
    pub(super) fn quotas(&self, project: usize) -> Vec<(String, QueueQuota)> {
        let pool_name = |pool: PoolId| self.case.cluster.pools[pool.index()].name.clone();
        self.case.cluster.projects[project]
            .quotas
            .iter()
            .map(|(pool, quota)| (pool_name(*pool), *quota))
            .collect()
    }
}
