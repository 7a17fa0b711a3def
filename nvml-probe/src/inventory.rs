//! What changes rarely: which devices there are, what they are, where they sit, how they are linked, how they are split.
//!
//! An inventory costs many calls per device (18 NVLinks, up to 7 MIG instances, one call per pair of devices): it is
//! read when a session begins and when something changed, not each second.

use std::{collections::BTreeMap, fs, path::Path};

use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TopologyLevel, error::NvmlError};
use serde::Serialize;

use crate::{
    raw,
    reading::{Failure, Reading},
    sample::Memory,
    session::{Driver, Session},
    units::{Bytes, Milliwatts},
};

/// NVML's scope "node" of a memory affinity.
const SCOPE_NODE: u32 = 0;
/// Words of the mask of NUMA nodes that is asked for: 1,024 nodes, as many as Linux has at most.
const NUMA_MASK_WORDS: usize = 16;
/// More NVLinks than any device has.
const NVLINKS_MAX: u32 = 36;

/// The node's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// The opening of NVML it was read in.
    pub session: u64,
    /// The driver.
    pub driver: Driver,
    /// One for each index, in order.
    pub devices: Vec<DeviceInfo>,
    /// How each pair of devices is connected over PCIe; the first index is the smaller one.
    pub links: Vec<Link>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// Its index in this session; another session may count otherwise.
    pub index: u32,
    /// Its name for life.
    pub uuid: Reading<String>,
    /// Its product, such as `NVIDIA H100 80GB HBM3`.
    pub product: Reading<String>,
    /// The number of its file `/dev/nvidia<n>`, which may differ from its index.
    pub minor: Reading<u32>,
    /// Where it sits.
    pub pci: Reading<Pci>,
    /// The NUMA nodes next to it.
    pub numa_nodes: Reading<Vec<u32>>,
    /// Its memory, when the inventory was taken.
    pub memory: Reading<Memory>,
    /// Its compute capability, as `major.minor`.
    pub compute_capability: Reading<String>,
    /// The power it may draw.
    pub power_limit: Reading<Milliwatts>,
    /// Whether it is split.
    pub mig_mode: Reading<MigMode>,
    /// Its MIG instances, when it is split.
    pub mig_instances: Vec<MigInstance>,
    /// Its NVLinks.
    pub nvlinks: Reading<NvLinks>,
}

/// A place on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pci {
    /// As NVML and nvidia-smi write it, such as `00000000:1B:00.0`.
    pub bus_id: String,
    /// Vendor and device.
    pub device_id: u32,
    /// Vendor and device of the board.
    pub subsystem_id: Option<u32>,
}

/// Whether a device is split by MIG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MigMode {
    /// Now.
    pub enabled: bool,
    /// After the next reset.
    pub pending: bool,
}

/// An instance of a split device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigInstance {
    /// Its place among the instances.
    pub index: u32,
    /// Its name, which lasts as long as it does.
    pub uuid: Reading<String>,
    /// Its product, such as `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
    pub product: Reading<String>,
    /// The id of its GPU instance.
    pub gpu_instance: Reading<u32>,
    /// The id of its compute instance.
    pub compute_instance: Reading<u32>,
    /// Its memory.
    pub memory_total: Reading<Bytes>,
    /// Its part of the multiprocessors.
    pub multiprocessors: Reading<u32>,
}

/// A device's NVLinks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NvLinks {
    /// How many are active.
    pub active: u32,
    /// How many of those end at each bus id: another device, or a switch.
    pub remotes: BTreeMap<String, u32>,
    /// How many of those say not where they end.
    pub remote_unknown: u32,
}

/// How two devices are connected over PCIe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The indices.
    pub between: (u32, u32),
    /// What lies between them.
    pub path: Reading<PciPath>,
}

/// What lies between two devices, near ones first; in nvidia-smi's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum PciPath {
    /// They are on one board.
    #[serde(rename = "INT")]
    Internal,
    /// One PCIe switch.
    #[serde(rename = "PIX")]
    Single,
    /// Several PCIe switches.
    #[serde(rename = "PXB")]
    Multiple,
    /// A host bridge.
    #[serde(rename = "PHB")]
    HostBridge,
    /// A NUMA node.
    #[serde(rename = "NODE")]
    Node,
    /// The link between sockets.
    #[serde(rename = "SYS")]
    System,
}

/// Reads the inventory. The error is one that ends the session.
pub(crate) fn read(session: &Session, sys_root: &Path) -> Result<Inventory, Failure> {
    let handles: Vec<_> = session.devices().collect();
    let gone = handles
        .iter()
        .filter_map(|(_, device)| device.as_ref().err())
        .find(|failure| failure.is_session_gone());
    if let Some(failure) = gone {
        return Err(failure.clone());
    }
    let devices = handles
        .iter()
        .map(|(index, device)| match device {
            Ok(device) => DeviceInfo::read(&session.nvml, *index, device, sys_root),
            Err(failure) => DeviceInfo::failed(*index, failure),
        })
        .collect();
    Ok(Inventory { session: session.number, driver: session.driver.clone(), devices, links: links(session) })
}

impl DeviceInfo {
    fn read(nvml: &Nvml, index: u32, device: &Device<'_>, sys_root: &Path) -> Self {
        let pci = Reading::from(device.pci_info()).map(|pci| Pci {
            bus_id: pci.bus_id,
            device_id: pci.pci_device_id,
            subsystem_id: pci.pci_sub_system_id,
        });
        let mig_mode = Reading::from(device.mig_mode())
            .map(|mode| MigMode { enabled: mode.current == 1, pending: mode.pending == 1 });
        let is_split = mig_mode.known().is_some_and(|mode| mode.enabled);
        Self {
            index,
            uuid: device.uuid().into(),
            product: device.name().into(),
            minor: device.minor_number().into(),
            numa_nodes: numa_nodes(device, pci.known(), sys_root),
            pci,
            memory: Reading::from(device.memory_info()).map(Memory::from),
            compute_capability: Reading::from(device.cuda_compute_capability())
                .map(|capability| format!("{}.{}", capability.major, capability.minor)),
            power_limit: Reading::from(device.enforced_power_limit()).map(Milliwatts),
            mig_mode,
            mig_instances: if is_split { mig_instances(nvml, device) } else { Vec::new() },
            nvlinks: nvlinks(device),
        }
    }

    pub(crate) fn failed(index: u32, failure: &Failure) -> Self {
        Self {
            index,
            uuid: Reading::Failed(failure.clone()),
            product: Reading::Failed(failure.clone()),
            minor: Reading::Failed(failure.clone()),
            pci: Reading::Failed(failure.clone()),
            numa_nodes: Reading::Failed(failure.clone()),
            memory: Reading::Failed(failure.clone()),
            compute_capability: Reading::Failed(failure.clone()),
            power_limit: Reading::Failed(failure.clone()),
            mig_mode: Reading::Failed(failure.clone()),
            mig_instances: Vec::new(),
            nvlinks: Reading::Failed(failure.clone()),
        }
    }
}

/// The NUMA nodes next to a device: what NVML says, or else what the kernel says of its place on the bus.
fn numa_nodes(device: &Device<'_>, pci: Option<&Pci>, sys_root: &Path) -> Reading<Vec<u32>> {
    let affinity = match device.memory_affinity(NUMA_MASK_WORDS, SCOPE_NODE) {
        Ok(mask) if mask.iter().all(|word| *word == 0) => {
            Reading::Failed(Failure::Other("no node is named".to_owned()))
        }
        other => Reading::from(other).map(|mask| nodes_in(&mask)),
    };
    affinity.or_else(|| match pci {
        Some(pci) => sysfs_numa_node(&pci.bus_id, sys_root).map(|node| vec![node]),
        None => Reading::Unsupported,
    })
}

fn nodes_in(mask: &[u64]) -> Vec<u32> {
    let words = (0_u32..).step_by(64).zip(mask);
    words
        .flat_map(|(first, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit))
        .collect()
}

/// `/sys/bus/pci/devices/<domain>:<bus>:<device>.<function>/numa_node`; -1 means that the kernel does not know.
fn sysfs_numa_node(bus_id: &str, sys_root: &Path) -> Reading<u32> {
    let path = sys_root.join("bus/pci/devices").join(kernels_bus_id(bus_id)).join("numa_node");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(node) => Reading::Known(node),
            Err(_) => Reading::Unsupported,
        },
        Err(error) => Reading::Failed(Failure::Other(format!("{}: {error}", path.display()))),
    }
}

/// A bus id as the kernel writes it: NVML writes a domain of eight digits, the kernel one of at least four.
pub(crate) fn kernels_bus_id(nvmls: &str) -> String {
    let lower = nvmls.to_ascii_lowercase();
    lower.strip_prefix("0000").filter(|rest| rest.find(':') == Some(4)).unwrap_or(&lower).to_owned()
}

fn mig_instances(nvml: &Nvml, device: &Device<'_>) -> Vec<MigInstance> {
    let places = device.mig_device_count().unwrap_or(0);
    // Places without an instance are "not found", and stay out.
    let instances = (0..places).filter_map(|index| Some((index, device.mig_device_by_index(index).ok()?)));
    instances
        .map(|(index, instance)| {
            let ids = Reading::from(raw::mig_instance_ids(nvml, &instance));
            MigInstance {
                index,
                uuid: instance.uuid().into(),
                product: instance.name().into(),
                gpu_instance: ids.clone().map(|(gpu, _)| gpu),
                compute_instance: ids.map(|(_, compute)| compute),
                memory_total: Reading::from(instance.memory_info()).map(|memory| Bytes(memory.total)),
                multiprocessors: Reading::from(instance.attributes())
                    .map(|attributes| attributes.multiprocessor_count),
            }
        })
        .collect()
}

/// The device's links. The first that is not there ends the count; a device that has none does not support the call.
fn nvlinks(device: &Device<'_>) -> Reading<NvLinks> {
    let mut links = NvLinks { active: 0, remotes: BTreeMap::new(), remote_unknown: 0 };
    for number in 0..NVLINKS_MAX {
        let link = device.link_wrapper_for(number);
        match link.is_active() {
            Ok(true) => {
                links.active += 1;
                match link.remote_pci_info() {
                    Ok(remote) => *links.remotes.entry(remote.bus_id).or_insert(0) += 1,
                    Err(_) => links.remote_unknown += 1,
                }
            }
            Ok(false) => {}
            Err(NvmlError::InvalidArg | NvmlError::NotSupported) if number > 0 => break,
            Err(error) => return Err(error).into(),
        }
    }
    Reading::Known(links)
}

fn links(session: &Session) -> Vec<Link> {
    let mut links = Vec::new();
    for (first, device) in session.devices() {
        for (second, other) in session.devices().skip(first as usize + 1) {
            let path = match (&device, other) {
                (Ok(device), Ok(other)) => {
                    Reading::from(device.topology_common_ancestor(other)).map(PciPath::from)
                }
                (Err(failure), _) => Reading::Failed(failure.clone()),
                (_, Err(failure)) => Reading::Failed(failure),
            };
            links.push(Link { between: (first, second), path });
        }
    }
    links
}

impl From<TopologyLevel> for PciPath {
    fn from(level: TopologyLevel) -> Self {
        match level {
            TopologyLevel::Internal => Self::Internal,
            TopologyLevel::Single => Self::Single,
            TopologyLevel::Multiple => Self::Multiple,
            TopologyLevel::HostBridge => Self::HostBridge,
            TopologyLevel::Node => Self::Node,
            TopologyLevel::System => Self::System,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numa_node_is_found_by_nvmls_bus_id() {
        let sys = tempfile::tempdir().unwrap();
        let place = sys.path().join("bus/pci/devices/0000:1b:00.0");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("numa_node"), "1\n").unwrap();
        assert_eq!(sysfs_numa_node("00000000:1B:00.0", sys.path()), Reading::Known(1));
        fs::write(place.join("numa_node"), "-1\n").unwrap();
        assert_eq!(sysfs_numa_node("00000000:1B:00.0", sys.path()), Reading::Unsupported);
        assert!(matches!(sysfs_numa_node("00010000:1B:00.0", sys.path()), Reading::Failed(_)));
    }

    #[test]
    fn a_place_on_the_bus_is_written_as_the_kernel_does() {
        assert_eq!(kernels_bus_id("00000000:1B:00.0"), "0000:1b:00.0");
        assert_eq!(kernels_bus_id("00010000:1B:00.0"), "00010000:1b:00.0");
    }

    #[test]
    fn nodes_of_a_mask() {
        assert_eq!(nodes_in(&[0b101, 0, 1]), [0, 2, 128]);
    }
}
