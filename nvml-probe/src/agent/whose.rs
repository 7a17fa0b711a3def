//! Whose the memory of a device is: the pods', foreign (S17), or unknown.
//!
//! A process's owner is read from its cgroup when it is first seen on a device and again each [`LOOK_AGAIN`] ticks while it
//! stays, as a number may be given to another process. A process that was absent for one tick is new.
//!
//! Foreign is what the processes of no pod use, and what no process accounts for: `used` less all that is known to be a
//! process's. The latter is the least of the last [`STEADY`] samples, since memory and processes are not read at the same
//! instant and what a pod has just freed or taken would look like nobody's. Where the memory of a process is not known,
//! nothing can be said of the rest, and only the processes of no pod count.
//!
//! Memory whose owner cannot be told is neither: it must not look as if no pod used it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    Bytes, DeviceSample, Pid,
    agent::{DeviceName, PodIndex},
    proc::{Owner, ProcFs, cgroup::PodUid},
};

/// Ticks after which an owner is read again.
const LOOK_AGAIN: u64 = 10;
/// Ticks for which a container that the pods' statuses do not name yet is unknown; then it is foreign.
const CONTAINER_NAMED_WITHIN: u64 = 30;
/// Samples of which the least counts.
const STEADY: usize = 3;

/// Whose a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A pod's, by its uid in the API.
    Pod(PodUid),
    /// No pod's.
    Foreign,
    /// It cannot be told.
    Unknown,
}

/// A device's memory by owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// What each pod's processes use.
    pub pods: BTreeMap<PodUid, Bytes>,
    /// Pods of which some process does not say how much it uses.
    pub incomplete: Vec<PodUid>,
    /// What belongs to no pod; none if the device said nothing.
    pub foreign: Option<Bytes>,
    /// What processes use whose owner cannot be told.
    pub unknown: Bytes,
}

/// Owners of processes, from tick to tick.
#[derive(Debug)]
pub struct Owners {
    proc: ProcFs,
    known: HashMap<Pid, Known>,
    rest: BTreeMap<DeviceName, VecDeque<u64>>,
    tick: u64,
}

#[derive(Debug)]
struct Known {
    owner: Owner,
    first: u64,
    read: u64,
    seen: u64,
}

impl Owners {
    /// Nobody is known yet.
    pub fn new(proc: ProcFs) -> Self {
        Self { proc, known: HashMap::new(), rest: BTreeMap::new(), tick: 0 }
    }

    /// A tick begins: what was not seen in the last one is forgotten.
    pub fn begin(&mut self) {
        let last = self.tick;
        self.known.retain(|_, known| known.seen == last);
        self.tick += 1;
    }

    /// Divides a device's memory.
    pub fn divide(&mut self, name: &DeviceName, sample: &DeviceSample, index: &PodIndex) -> Shares {
        let mut shares = Shares::default();
        let (mut of_nobody, mut accounted, mut complete) = (0, 0, true);
        let processes = sample.processes.known().map_or(&[][..], |processes| &processes.list);
        for process in processes {
            let whose = self.whose(process.pid, index);
            let Some(used) = process.used.known() else {
                complete = false;
                if let Whose::Pod(pod) = whose {
                    shares.incomplete.push(pod);
                }
                continue;
            };
            accounted += used.0;
            match whose {
                Whose::Pod(pod) => shares.pods.entry(pod).or_insert(Bytes(0)).0 += used.0,
                Whose::Foreign => of_nobody += used.0,
                Whose::Unknown => shares.unknown.0 += used.0,
            }
        }
        complete &= sample.processes.known().is_some_and(|processes| processes.missing.is_empty());
        let rest = match sample.memory.known() {
            Some(memory) if complete => self.steady_rest(name, memory.used.0.saturating_sub(accounted)),
            _ => 0,
        };
        let said_something = sample.memory.known().is_some() && sample.processes.known().is_some();
        shares.foreign = said_something.then_some(Bytes(of_nobody + rest));
        shares.incomplete.sort();
        shares.incomplete.dedup();
        shares
    }

    /// What no process accounts for, as long as it lasts.
    fn steady_rest(&mut self, name: &DeviceName, rest: u64) -> u64 {
        let last = self.rest.entry(name.clone()).or_default();
        if last.len() == STEADY {
            last.pop_front();
        }
        last.push_back(rest);
        if last.len() < STEADY { 0 } else { last.iter().copied().min().unwrap_or(rest) }
    }

    /// Whose a process is that some device shows in this tick.
    fn whose(&mut self, pid: Pid, index: &PodIndex) -> Whose {
        let tick = self.tick;
        let proc = &self.proc;
        let known = self.known.entry(pid).or_insert_with(|| Known {
            owner: proc.owner(pid),
            first: tick,
            read: tick,
            seen: tick,
        });
        known.seen = tick;
        let unsure = matches!(known.owner, Owner::Unknown { .. });
        if tick - known.read >= LOOK_AGAIN || (unsure && tick != known.read) {
            (known.owner, known.read) = (proc.owner(pid), tick);
        }
        match &known.owner {
            Owner::Pod { pod, .. } => Whose::Pod(index.uid_of(pod)),
            Owner::Foreign => Whose::Foreign,
            Owner::Unknown { .. } => Whose::Unknown,
            Owner::Container { container } => match index.of_container(container) {
                Some(pod) => Whose::Pod(pod.clone()),
                None if index.complete && tick - known.first >= CONTAINER_NAMED_WITHIN => Whose::Foreign,
                None => Whose::Unknown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::{GpuProcess, Memory, ProcessKinds, Processes, Reading};

    const GIB: u64 = 1 << 30;
    const POD: &str = "0f3b1c2d-1111-2222-3333-444455556666";

    struct Host(TempDir);

    impl Host {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("2")).unwrap();
            fs::write(root.path().join("2/comm"), "kthreadd\n").unwrap();
            Self(root)
        }

        fn run(&self, pid: u32, cgroup: &str) {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        }

        fn owners(&self) -> Owners {
            Owners::new(ProcFs::new(self.0.path()))
        }
    }

    fn sample(used: u64, processes: &[(u32, Option<u64>)]) -> DeviceSample {
        let list = processes
            .iter()
            .map(|(pid, used)| GpuProcess {
                pid: Pid(*pid),
                kinds: ProcessKinds::default(),
                used: used.map_or(Reading::Unsupported, |used| Reading::Known(Bytes(used))),
                gpu_instance: None,
                compute_instance: None,
            })
            .collect();
        DeviceSample {
            index: 0,
            memory: Reading::Known(Memory {
                total: Bytes(80 * GIB),
                reserved: Bytes(0),
                used: Bytes(used),
                free: Bytes(80 * GIB - used),
            }),
            processes: Reading::Known(Processes { list, missing: Vec::new() }),
            utilisation: Reading::Unsupported,
            temperature: Reading::Unsupported,
            power: Reading::Unsupported,
        }
    }

    fn pods() -> String {
        format!("/kubepods/burstable/pod{POD}/{}", "a".repeat(64))
    }

    #[test]
    fn memory_is_the_pods_foreign_or_unknown() {
        let host = Host::new();
        host.run(10, &pods());
        host.run(11, "/system.slice/sshd.service");
        let mut owners = host.owners();
        let name = DeviceName::of_uuid("GPU-1");
        let now = sample(10 * GIB, &[(10, Some(4 * GIB)), (11, Some(3 * GIB)), (12, Some(2 * GIB))]);
        for tick in 0..4 {
            owners.begin();
            let shares = owners.divide(&name, &now, &PodIndex::default());
            assert_eq!(shares.pods[&PodUid::parse(POD).unwrap()], Bytes(4 * GIB));
            assert_eq!(shares.unknown, Bytes(2 * GIB), "process 12 shows no cgroup");
            // 1 GiB is nobody's, which is believed when it has lasted.
            assert_eq!(shares.foreign, Some(Bytes(if tick < 2 { 3 * GIB } else { 4 * GIB })));
        }
        // Between the two calls the pod took memory: nothing is foreign for that.
        owners.begin();
        let now = sample(10 * GIB, &[(10, Some(9 * GIB)), (11, Some(3 * GIB)), (12, Some(2 * GIB))]);
        assert_eq!(owners.divide(&name, &now, &PodIndex::default()).foreign, Some(Bytes(3 * GIB)));
    }

    #[test]
    fn a_process_that_does_not_say_what_it_uses_makes_nothing_foreign() {
        let host = Host::new();
        host.run(10, &pods());
        let mut owners = host.owners();
        let name = DeviceName::of_uuid("GPU-1");
        for _ in 0..5 {
            owners.begin();
            let shares = owners.divide(&name, &sample(10 * GIB, &[(10, None)]), &PodIndex::default());
            assert_eq!(shares.foreign, Some(Bytes(0)));
            assert_eq!(shares.incomplete, [PodUid::parse(POD).unwrap()]);
        }
    }

    #[test]
    fn a_number_that_another_process_got_is_read_again() {
        let host = Host::new();
        host.run(10, &pods());
        let mut owners = host.owners();
        let name = DeviceName::of_uuid("GPU-1");
        let divide = |owners: &mut Owners, processes: &[(u32, Option<u64>)]| {
            owners.begin();
            owners.divide(&name, &sample(GIB, processes), &PodIndex::default())
        };
        assert_eq!(divide(&mut owners, &[(10, Some(GIB))]).pods.len(), 1);
        host.run(10, "/system.slice/x.service");
        assert_eq!(divide(&mut owners, &[(10, Some(GIB))]).pods.len(), 1, "it is not read each time");
        for _ in 0..LOOK_AGAIN {
            divide(&mut owners, &[(10, Some(GIB))]);
        }
        assert_eq!(divide(&mut owners, &[(10, Some(GIB))]).pods.len(), 0, "but after a while");
        host.run(10, &pods());
        divide(&mut owners, &[]);
        assert_eq!(divide(&mut owners, &[(10, Some(GIB))]).pods.len(), 1, "and when it was away");
    }

    #[test]
    fn a_container_belongs_to_the_pod_whose_status_names_it() {
        let host = Host::new();
        let id = "b".repeat(64);
        host.run(10, &format!("/node-7/{id}"));
        let mut owners = host.owners();
        let name = DeviceName::of_uuid("GPU-1");
        let mut index = PodIndex::default();
        index.complete = true;
        for _ in 0..CONTAINER_NAMED_WITHIN {
            owners.begin();
            let shares = owners.divide(&name, &sample(GIB, &[(10, Some(GIB))]), &index);
            assert_eq!((shares.unknown, shares.foreign), (Bytes(GIB), Some(Bytes(0))), "not named yet");
        }
        owners.begin();
        owners.divide(&name, &sample(GIB, &[(10, Some(GIB))]), &index);
        owners.begin();
        let shares = owners.divide(&name, &sample(GIB, &[(10, Some(GIB))]), &index);
        assert_eq!(shares.foreign, Some(Bytes(GIB)), "nobody names it");
        index.name_container(&id, &PodUid::parse(POD).unwrap());
        owners.begin();
        assert_eq!(owners.divide(&name, &sample(GIB, &[(10, Some(GIB))]), &index).pods.len(), 1);
    }
}
