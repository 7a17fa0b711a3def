//! A node on which room is reserved (S23): pods that leave and pods that will come use the same room in turn.
//!
//! What stays placed is counted once; of what leaves and what is reserved only the larger counts, per resource and
//! device. So whatever is placed beside them fits now, and still fits when those that leave are gone and those that
//! wait have come. Few nodes have an [`Overlap`] at a time: each change counts its lists anew.

use crate::device::Devices;
use crate::ix::{PodIx, WorkloadIx};
use crate::node::Free;
use berth_model::{DeviceIndex, DeviceMask, GpuGrant, GpuMemoryMib};
use smallvec::SmallVec;

/// What one pod takes of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hold {
    pub(crate) pod: PodIx,
    pub(crate) takes: Free,
    pub(crate) gpus: GpuGrant,
}

/// Who leaves a node and who will come, beside what stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Overlap {
    free: Free,
    devices: Devices,
    leaving: Vec<Hold>,
    kept: Vec<Hold>,
}

/// What holds take together: resources, and per device whether it is whole or how many MiB.
#[derive(Default)]
struct Sum {
    takes: Free,
    whole: u64,
    shared: SmallVec<[i64; 8]>,
}

impl Sum {
    fn of(holds: &[Hold], devices: usize) -> Self {
        let mut sum = Self { shared: smallvec::smallvec![0; devices], ..Self::default() };
        for hold in holds {
            sum.takes.add(&hold.takes, 1);
            match hold.gpus {
                GpuGrant::None => {}
                GpuGrant::Whole(mask) => sum.whole |= mask.0,
                GpuGrant::Shared { devices, each, .. } => {
                    devices.iter().for_each(|d| sum.shared[d.index()] += each.0);
                }
            }
        }
        sum
    }
}

impl Overlap {
    /// The overlap of a node with this much free once `leaving` are gone.
    pub(crate) fn new(free: Free, devices: Devices, leaving: Vec<Hold>) -> Self {
        Self { free, devices, leaving, kept: Vec::new() }
    }

    /// A pod is placed here for good, or such a pod goes.
    pub(crate) fn change_staying(&mut self, takes: &Free, gpus: GpuGrant, come: bool) {
        self.free.add(takes, if come { -1 } else { 1 });
        if come { self.devices.take(gpus) } else { self.devices.give(gpus) }
    }

    /// A pod that leaves is here.
    pub(crate) fn add_leaving(&mut self, hold: Hold) {
        self.leaving.push(hold);
    }

    /// A pod that left is gone, or stays after all; false if it was not leaving.
    pub(crate) fn remove_leaving(&mut self, pod: PodIx) -> bool {
        remove(&mut self.leaving, pod)
    }

    /// Room is kept for a pod.
    pub(crate) fn add_kept(&mut self, hold: Hold) {
        self.kept.push(hold);
    }

    /// Room is not kept any more.
    pub(crate) fn remove_kept(&mut self, pod: PodIx) {
        remove(&mut self.kept, pod);
    }

    /// The pods for which room is kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = PodIx> + '_ {
        self.kept.iter().map(|hold| hold.pod)
    }

    /// What is free for others, now and later.
    pub(crate) fn free_for_others(&self) -> (Free, Devices) {
        let (leaving, kept) =
            (Sum::of(&self.leaving, self.devices.len()), Sum::of(&self.kept, self.devices.len()));
        let mut free = self.free.clone();
        free.add(&leaving.takes.larger(&kept.takes), -1);
        let mut devices = self.devices.clone();
        let whole = DeviceMask(leaving.whole | kept.whole);
        devices.take(GpuGrant::Whole(whole));
        for (at, (a, b)) in leaving.shared.iter().zip(&kept.shared).enumerate() {
            let (index, each) = (DeviceIndex(at as u8), GpuMemoryMib(*a.max(b)));
            if each.0 > 0 && !devices.get(index).whole() {
                devices.take(GpuGrant::Shared { devices: DeviceMask::one(index), each, limit: each });
            }
        }
        (free, devices)
    }

    /// True if what leaves holds nothing beyond what is kept, in any resource and on any device.
    pub(crate) fn leaving_is_kept(&self) -> bool {
        let (leaving, kept) =
            (Sum::of(&self.leaving, self.devices.len()), Sum::of(&self.kept, self.devices.len()));
        let whole = DeviceMask(kept.whole);
        let shared = |(at, (leaving, kept)): (usize, (&i64, &i64))| {
            leaving <= kept || whole.contains(DeviceIndex(at as u8))
        };
        kept.takes.larger(&leaving.takes) == kept.takes.larger(&kept.takes)
            && leaving.whole & !kept.whole == 0
            && leaving.shared.iter().zip(&kept.shared).enumerate().all(shared)
    }

    /// What is free beside those that stay and those that still leave.
    pub(crate) fn free_now(&self) -> (Free, Devices) {
        let (mut free, mut devices) = (self.free.clone(), self.devices.clone());
        for hold in &self.leaving {
            free.add(&hold.takes, -1);
            devices.take(hold.gpus);
        }
        (free, devices)
    }

    /// The devices as those that stay leave them, to change what they are.
    pub(crate) fn devices_mut(&mut self) -> &mut Devices {
        &mut self.devices
    }

    /// Pods follow their workload when its positions change.
    pub(crate) fn renumber(&mut self, workload: WorkloadIx, moves: &[(u32, u32)]) {
        for hold in self.leaving.iter_mut().chain(&mut self.kept).filter(|h| h.pod.workload == workload) {
            if let Some((_, after)) = moves.iter().find(|(before, _)| *before == hold.pod.pod) {
                hold.pod.pod = *after;
            }
        }
    }

    /// True if nothing is kept, so that the overlap is not needed.
    pub(crate) fn is_idle(&self) -> bool {
        self.kept.is_empty()
    }
}

fn remove(holds: &mut Vec<Hold>, pod: PodIx) -> bool {
    let at = holds.iter().position(|hold| hold.pod == pod);
    at.map(|at| holds.swap_remove(at)).is_some()
}
