//! Parking groups under what would unblock them, and waking them when that has changed (S30).

use crate::Engine;
use crate::device::Devices;
use crate::ix::{GroupIx, NodeIx, PoolIx, QueueIx, ShapeIx};
use crate::node::{Free, slots};
use crate::org::{Shut, Triple, resource};
use crate::waiting::Said;
use crate::watch::{Watched, Watcher};
use berth_model::Reason;

/// A node, its pool then, and what was free on it then; none if it took no pods then.
type Noted = (NodeIx, Option<PoolIx>, Option<(Free, Devices)>);

/// Nodes that have changed since their watchers were last looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    nodes: Vec<Noted>,
    /// By node: it is in the list.
    noted: Vec<bool>,
    /// Pools that got or lost nodes, or whose nodes changed what they are.
    structure: Vec<PoolIx>,
    /// Pools in which what was counted before no longer compares, because nodes changed what they are.
    reshaped: Vec<PoolIx>,
    /// How many nodes were noted when the trial under way began.
    mark: usize,
}

impl Changed {
    /// A trial begins: what it changes is not noted if it is undone.
    pub(crate) fn begin(&mut self) {
        self.mark = self.nodes.len();
    }

    /// The trial is undone: the nodes it has changed are as they were before.
    pub(crate) fn undo(&mut self) {
        for (node, _, _) in self.nodes.drain(self.mark..) {
            self.noted[node.i()] = false;
        }
    }
}

/// What a parked group waits for in one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unblock {
    /// The queue's bounds or use in the pool.
    Queue(QueueIx, PoolIx, Triple),
    /// Room for this many more pods of a shape.
    Room(PoolIx, ShapeIx, i64),
    /// The pool's nodes.
    Structure(PoolIx),
    /// Any change of a node in the pool.
    Any(PoolIx),
    /// Any change of any node.
    Everywhere,
    /// A change of the workload itself, its project or department: those wake by name.
    Owner,
}

impl Engine {
    /// Notes a node before it changes, if anybody watches its pool.
    pub(crate) fn note_change(&mut self, ix: NodeIx) {
        let node = self.nodes.at(ix.0);
        let Some(pool) = node.pool else { return };
        if !self.watches.cares(pool) {
            return;
        }
        if self.changed.noted.len() <= ix.i() {
            self.changed.noted.resize(ix.i() + 1, false);
        }
        if !std::mem::replace(&mut self.changed.noted[ix.i()], true) {
            let was = node.usable().then(|| (node.free.clone(), node.devices.clone()));
            self.changed.nodes.push((ix, Some(pool), was));
        }
    }

    /// Notes a node that has come to its pool.
    pub(crate) fn note_arrival(&mut self, ix: NodeIx) {
        if self.changed.noted.len() <= ix.i() {
            self.changed.noted.resize(ix.i() + 1, false);
        }
        if !std::mem::replace(&mut self.changed.noted[ix.i()], true) {
            self.changed.nodes.push((ix, None, None));
        }
    }

    /// Notes that a pool got or lost nodes; `reshaped` if nodes it keeps changed what they are.
    pub(crate) fn note_structure(&mut self, pool: PoolIx, reshaped: bool) {
        self.pools.at_mut(pool).gains += 1;
        self.pools.shift(pool);
        self.mark_pool(pool);
        if !self.changed.structure.contains(&pool) {
            self.changed.structure.push(pool);
        }
        if reshaped && !self.changed.reshaped.contains(&pool) {
            self.changed.reshaped.push(pool);
        }
    }

    /// Forgets a node that is being removed; a later node may use its index.
    pub(crate) fn forget_change(&mut self, ix: NodeIx) {
        if self.changed.noted.get(ix.i()).copied().unwrap_or(false) {
            self.changed.noted[ix.i()] = false;
            self.changed.nodes.retain(|(n, _, _)| *n != ix);
        }
    }

    /// Parks a group with its verdicts, and enters what would unblock it.
    pub(crate) fn park(&mut self, group: GroupIx, said: Vec<Said>, dominant: usize, unblocks: &[Unblock]) {
        // Changes noted so far are older than this verdict: they concern the others only.
        self.look_at_changes();
        let workloads = &self.workloads;
        let untold = |w: crate::ix::WorkloadIx, kind| workloads.at(w.0).reported != kind as u8 + 1;
        self.waiting.park(group, said, dominant, untold);
        self.waiting.at_mut(group).tried = Some(self.cycle);
        self.second.rests.wake(group);
        let preemptible = self.templates.at(self.waiting.at(group).key.template).preemptible;
        for unblock in unblocks {
            let watcher = |ask| Watcher { group, ask, preemptible };
            match *unblock {
                Unblock::Queue(queue, pool, ask) => {
                    self.watches.add(Watched::Queue(queue, pool), watcher(ask))
                }
                Unblock::Room(pool, shape, lack) => self.watches.add_short(pool, shape, group, lack),
                Unblock::Structure(pool) => self.watches.add(Watched::Structure(pool), watcher([0; 3])),
                Unblock::Any(pool) => self.watches.add(Watched::Any(pool), watcher([0; 3])),
                Unblock::Everywhere => self.watches.add(Watched::Everywhere, watcher([0; 3])),
                Unblock::Owner => {}
            }
        }
    }

    /// Wakes a parked group. One that was tried in the cycle under way is not tried again before the next.
    pub(crate) fn wake(&mut self, group: GroupIx) {
        if self.waiting.at(group).verdict.is_none() {
            return;
        }
        self.watches.forget(group);
        let state = self.waiting.at(group);
        if self.deciding && state.tried == Some(self.cycle) {
            self.waiting.deferred.push(group);
            return;
        }
        self.waiting.wake(group);
        if self.deciding {
            self.next_turn(self.waiting.at(group).queue);
        }
    }

    /// Wakes the groups that a change within the last cycle concerned.
    pub(crate) fn wake_deferred(&mut self) {
        for group in std::mem::take(&mut self.waiting.deferred) {
            self.wake(group);
        }
    }

    /// Wakes those who lack room in a pool: some of it will be free.
    pub(crate) fn wake_short(&mut self, pool: PoolIx) {
        let all = self.watches.short.get(pool.i()).map_or(&[][..], Vec::as_slice);
        let short: Vec<GroupIx> = all.iter().flat_map(|s| s.lacking.iter().map(|(g, _)| *g)).collect();
        for group in short {
            self.wake(group);
        }
        self.wake_all(Watched::Any(pool));
        self.wake_all(Watched::Everywhere);
    }

    /// Wakes those who could have room kept, or stop somebody, in a pool, because a pod of a workload leaves or room that
    /// was kept for it is kept no more.
    pub(crate) fn wake_for_later(&mut self, workload: crate::ix::WorkloadIx, pool: PoolIx) {
        self.wake_short(pool);
        self.second.rests.wake_pool(pool);
        let project = self.templates.at(self.workloads.at(workload.0).template).queue;
        for queue in self.org.at(project).path.clone() {
            self.wake_all(Watched::Queue(queue, pool));
        }
    }

    /// Wakes those whom placed pods keep from starting, or may let start, after more have been placed (S11).
    pub(crate) fn wake_neighbours(&mut self) {
        self.wake_all(Watched::Everywhere);
    }

    fn wake_all(&mut self, what: Watched) {
        let groups: Vec<GroupIx> = self.watches.of(what).iter().map(|w| w.group).collect();
        for group in groups {
            self.wake(group);
        }
    }

    /// Wakes every group whose blocking reason may have gone since it was parked.
    pub(crate) fn look_at_changes(&mut self) {
        for (queue, pool) in std::mem::take(&mut self.org.loosened) {
            self.org.in_pool_mut(queue, pool).loosened = false;
            self.look_at_queue(queue, pool);
        }
        for pool in std::mem::take(&mut self.changed.structure) {
            self.wake_all(Watched::Structure(pool));
            self.wake_all(Watched::Any(pool));
            self.wake_all(Watched::Everywhere);
        }
        for pool in std::mem::take(&mut self.changed.reshaped) {
            let short: Vec<GroupIx> = self.watches.short.get(pool.i()).map_or_else(Vec::new, |all| {
                all.iter().flat_map(|s| s.lacking.iter().map(|(g, _)| *g)).collect()
            });
            for group in short {
                self.wake(group);
            }
        }
        for (node, pool, was) in std::mem::take(&mut self.changed.nodes) {
            self.changed.noted[node.i()] = false;
            // A node that came from another pool brings all it has.
            let was = was.filter(|_| pool == self.nodes.at(node.0).pool);
            self.look_at_node(node, was.as_ref());
        }
    }

    fn look_at_queue(&mut self, queue: QueueIx, pool: PoolIx) {
        let watchers = self.watches.of(Watched::Queue(queue, pool)).to_vec();
        for Watcher { group, ask, preemptible } in watchers {
            let project = self.waiting.at(group).queue;
            let later = self.org.gate_later(project, pool, ask, preemptible);
            let now = self.org.gate(project, pool, ask, preemptible);
            if !self.is_shut_as_said(group, pool, later) || !self.is_shut_as_said(group, pool, now) {
                self.wake(group);
            }
        }
    }

    /// True if the gate is shut of which a parked group was told. Behind it there may be another: a limit, at which the second
    /// pass can help, where a quota was that nobody could give back (S20).
    fn is_shut_as_said(&self, group: GroupIx, pool: PoolIx, gate: Result<(), Shut>) -> bool {
        let Err(shut) = gate else { return false };
        let (pool, shut_queue) = (self.pools.spec(pool).id, self.org.at(shut.queue).id);
        let verdict = self.waiting.at(group).verdict.as_ref();
        let said = verdict.and_then(|(said, _)| said.iter().find(|said| said.pool == pool));
        let (limit, queue, at) = match said.map(|said| &said.reason) {
            Some(Reason::Limit { queue, resource, .. }) => (true, *queue, resource),
            Some(Reason::Quota { queue, resource, .. }) => (false, *queue, resource),
            _ => return false,
        };
        (shut.limit, shut_queue, &resource(shut.resource)) == (limit, Some(queue), at)
    }

    fn look_at_node(&mut self, ix: NodeIx, was: Option<&(Free, Devices)>) {
        let node = self.nodes.at(ix.0);
        let Some(pool) = node.pool else { return };
        let mut awake: Vec<GroupIx> = Vec::new();
        if let Some(in_pool) = self.watches.short.get_mut(pool.i()) {
            let strategy = self.pools.spec(pool).device;
            for short in in_pool {
                let shape = self.shapes.at(short.shape);
                self.classes.prepare(&self.shapes, short.shape, pool);
                let mut tiers = self.classes.tiers(short.shape, pool).iter();
                if !tiers.any(|tier| tier.classes.contains(&node.class)) {
                    continue;
                }
                let now = if node.usable() { slots(&node.free, &node.devices, shape, strategy) } else { 0 };
                let then = was.map_or(0, |(free, devices)| slots(free, devices, shape, strategy));
                if now == then {
                    continue;
                }
                for (group, lack) in &mut short.lacking {
                    *lack += then - now;
                    if *lack <= 0 {
                        awake.push(*group);
                    }
                }
            }
        }
        for group in awake {
            self.wake(group);
        }
        self.wake_all(Watched::Any(pool));
        self.wake_all(Watched::Everywhere);
    }
}
