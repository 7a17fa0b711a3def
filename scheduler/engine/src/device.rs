//! The GPU devices of one node and the choice among them (S13 to S18, S31).
//!
//! A device is in one of three states, kept as two bit sets on the node so that a placement looks at bits:
//! *free* (may be taken whole, or be shared), *shared* (may take further fractions), or neither.
//! Costs: one device changes in O(1); a choice looks at the devices of one node only, at most 64.

use berth_model::{
    DeviceHealth, DeviceIndex, DeviceMask, DeviceSpec, DeviceStrategy, GpuGrant, GpuMemoryMib, GpuRequest,
    GpuShare,
};
use smallvec::SmallVec;

/// The number of sharers of a device that is taken whole.
const WHOLE: u16 = u16::MAX;

/// One device. Memory in MiB. Sixteen bytes, so that eight are two cache lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Device {
    /// What can be given out at all (S13).
    pub(crate) total: u32,
    /// Used by processes of no pod (S17).
    pub(crate) foreign: u32,
    /// Given out to fractions.
    pub(crate) used: u32,
    /// Pods that share it, or [`WHOLE`].
    sharers: u16,
    /// Takes new pods (S18).
    pub(crate) healthy: bool,
    /// Devices of one group are linked best (S31).
    pub(crate) link_group: u8,
}

impl Device {
    fn new(spec: &DeviceSpec) -> Self {
        Self {
            total: mib(spec.memory),
            foreign: mib(spec.foreign),
            used: 0,
            sharers: 0,
            healthy: spec.health == DeviceHealth::Healthy,
            link_group: spec.link_group,
        }
    }

    /// True if it is taken whole.
    pub(crate) fn whole(&self) -> bool {
        self.sharers == WHOLE
    }

    /// True if nobody is on it.
    pub(crate) fn idle(&self) -> bool {
        self.sharers == 0
    }

    /// Memory that fractions can still get: foreign memory is not given out (S17).
    pub(crate) fn left(&self) -> u32 {
        self.total.saturating_sub(self.foreign).saturating_sub(self.used)
    }
}

fn mib(memory: GpuMemoryMib) -> u32 {
    u32::try_from(memory.0.max(0)).unwrap_or(u32::MAX)
}

/// What a request takes of one device with `total` MiB (S13): MiB, at least 1, a share rounded down.
pub(crate) fn need(request: GpuRequest, total: u32) -> u32 {
    match request {
        GpuRequest::Share { share, .. } => share_mib(share, total).max(1),
        GpuRequest::Memory { memory, .. } => mib(memory),
        GpuRequest::None | GpuRequest::Whole(_) => 0,
    }
}

fn share_mib(share: GpuShare, total: u32) -> u32 {
    (share.0.unsigned_abs() * u64::from(total) / GpuShare::DEVICE.0.unsigned_abs()) as u32
}

/// The most the pod may use of one device with `total` MiB (S14).
pub(crate) fn limit(request: GpuRequest, total: u32) -> u32 {
    let need = need(request, total);
    match request {
        GpuRequest::Share { limit: Some(limit), .. } => share_mib(limit, total).clamp(need, total.max(need)),
        GpuRequest::Memory { limit: Some(limit), .. } => mib(limit).clamp(need, total.max(need)),
        _ => need,
    }
}

/// What a request is charged for one device with `total` MiB (S13): a share as asked for, MiB rounded up.
pub(crate) fn charge(request: GpuRequest, total: u32) -> GpuShare {
    match request {
        GpuRequest::None => GpuShare::ZERO,
        GpuRequest::Whole(_) => GpuShare::DEVICE,
        GpuRequest::Share { share, .. } => share,
        GpuRequest::Memory { memory, .. } => {
            GpuShare((memory.0 * GpuShare::DEVICE.0 + i64::from(total) - 1) / i64::from(total.max(1)))
        }
    }
}

/// The devices of one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Devices {
    each: SmallVec<[Device; 8]>,
    /// Those that may be taken whole.
    pub(crate) free: DeviceMask,
    /// Those with room for fractions that are not free.
    pub(crate) shared: DeviceMask,
    allowance: u32,
    /// All are linked equally well, the common case.
    uniform_links: bool,
    /// All are of one size, the common case.
    uniform_sizes: bool,
}

impl Devices {
    /// Devices that nobody uses. Foreign memory up to `allowance` does not keep whole-GPU pods away (S17).
    pub(crate) fn new(specs: &[DeviceSpec], allowance: GpuMemoryMib) -> Self {
        let each: SmallVec<[Device; 8]> = specs.iter().map(Device::new).collect();
        let uniform_links = each.windows(2).all(|w| w[0].link_group == w[1].link_group);
        let uniform_sizes = each.windows(2).all(|w| w[0].total == w[1].total);
        let allowance = mib(allowance);
        let mut devices = Self { each, allowance, uniform_links, uniform_sizes, ..Self::default() };
        for index in 0..devices.each.len() {
            devices.classify(index);
        }
        devices
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.each.len()
    }

    /// The device with this index.
    pub(crate) fn get(&self, index: DeviceIndex) -> &Device {
        &self.each[index.0 as usize]
    }

    /// The size of each device in MiB; none if they differ.
    pub(crate) fn even(&self) -> Option<u32> {
        self.uniform_sizes.then(|| self.each.first().map_or(0, |device| device.total))
    }

    /// The most that is left on a device which is free or shared.
    pub(crate) fn most_left(&self) -> u32 {
        let open = DeviceMask(self.free.0 | self.shared.0);
        open.iter().map(|index| self.get(index).left()).max().unwrap_or(0)
    }

    /// All devices by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Device> {
        self.each.iter()
    }

    /// Devices that are healthy, taken or not: the capacity for S7.
    pub(crate) fn healthy(&self) -> u32 {
        self.each.iter().filter(|d| d.healthy).count() as u32
    }

    fn classify(&mut self, index: usize) {
        let device = &self.each[index];
        let open = device.healthy && !device.whole();
        let free = open && device.idle() && device.foreign <= self.allowance;
        let shared = open && !free && device.left() > 0;
        let bit = 1u64 << index;
        self.free.0 = if free { self.free.0 | bit } else { self.free.0 & !bit };
        self.shared.0 = if shared { self.shared.0 | bit } else { self.shared.0 & !bit };
    }

    /// Sets the health of a device (S18).
    pub(crate) fn set_health(&mut self, index: DeviceIndex, health: DeviceHealth) {
        self.each[index.0 as usize].healthy = health == DeviceHealth::Healthy;
        self.classify(index.0 as usize);
    }

    /// Sets the foreign memory of a device (S17).
    pub(crate) fn set_foreign(&mut self, index: DeviceIndex, memory: GpuMemoryMib) {
        self.each[index.0 as usize].foreign = mib(memory);
        self.classify(index.0 as usize);
    }

    /// Takes what is granted.
    pub(crate) fn take(&mut self, grant: GpuGrant) {
        match grant {
            GpuGrant::None => {}
            GpuGrant::Whole(mask) => {
                for index in mask.iter() {
                    self.each[index.0 as usize].sharers = WHOLE;
                    self.classify(index.0 as usize);
                }
            }
            GpuGrant::Shared { devices, each, .. } => {
                for index in devices.iter() {
                    let device = &mut self.each[index.0 as usize];
                    device.used += mib(each);
                    device.sharers += 1;
                    self.classify(index.0 as usize);
                }
            }
        }
    }

    /// Gives back what was granted.
    pub(crate) fn give(&mut self, grant: GpuGrant) {
        match grant {
            GpuGrant::None => {}
            GpuGrant::Whole(mask) => {
                for index in mask.iter() {
                    self.each[index.0 as usize].sharers = 0;
                    self.classify(index.0 as usize);
                }
            }
            GpuGrant::Shared { devices, each, .. } => {
                for index in devices.iter() {
                    let device = &mut self.each[index.0 as usize];
                    device.used -= mib(each);
                    device.sharers -= 1;
                    self.classify(index.0 as usize);
                }
            }
        }
    }

    /// True if the grant is what the request comes to on its devices (S13, S14).
    pub(crate) fn comes_to(&self, request: GpuRequest, grant: GpuGrant) -> bool {
        let mask = grant.devices();
        let there = self.each.len() == 64 || mask.0 >> self.each.len() == 0;
        there
            && mask.count() == request.devices()
            && match grant {
                GpuGrant::None => request == GpuRequest::None,
                GpuGrant::Whole(_) => !request.is_fraction(),
                GpuGrant::Shared { each, limit: most, .. } => {
                    let right =
                        |total: u32| mib(each) == need(request, total) && mib(most) == limit(request, total);
                    request.is_fraction() && mask.iter().all(|d| right(self.get(d).total))
                }
            }
    }

    /// True if exactly these devices can be taken now.
    pub(crate) fn can_take(&self, grant: GpuGrant) -> bool {
        match grant {
            GpuGrant::None => true,
            GpuGrant::Whole(mask) => mask.0 & !self.free.0 == 0,
            GpuGrant::Shared { devices, each, .. } => {
                let open = DeviceMask(self.free.0 | self.shared.0);
                devices.iter().all(|d| open.contains(d) && self.get(d).left() >= mib(each))
            }
        }
    }

    /// The charge of a grant for a request (S13).
    pub(crate) fn charge(&self, request: GpuRequest, grant: GpuGrant) -> GpuShare {
        match request {
            GpuRequest::None => GpuShare::ZERO,
            GpuRequest::Whole(_) => GpuShare::devices(grant.devices().count()),
            GpuRequest::Share { share, .. } => GpuShare(share.0 * i64::from(grant.devices().count())),
            GpuRequest::Memory { .. } => {
                GpuShare(grant.devices().iter().map(|d| charge(request, self.get(d).total).0).sum())
            }
        }
    }

    /// The devices the request would get here, or none if they do not suffice (S15, S16, S31).
    pub(crate) fn choose(&self, request: GpuRequest, strategy: DeviceStrategy) -> Option<GpuGrant> {
        match request {
            GpuRequest::None => Some(GpuGrant::None),
            GpuRequest::Whole(count) => self.choose_whole(count).map(GpuGrant::Whole),
            GpuRequest::Share { devices: 1, .. } | GpuRequest::Memory { devices: 1, .. } => {
                let index = self.choose_shared(request, strategy, DeviceMask::default())?;
                Some(self.shared_grant(request, DeviceMask::one(index)))
            }
            GpuRequest::Share { devices, .. } | GpuRequest::Memory { devices, .. } => {
                self.choose_several(request, devices, strategy).map(|mask| self.shared_grant(request, mask))
            }
        }
    }

    /// Several devices for a fraction, all of one size, so that one amount is right on each (S13).
    fn choose_several(
        &self,
        request: GpuRequest,
        count: u32,
        strategy: DeviceStrategy,
    ) -> Option<DeviceMask> {
        let mut sizes: SmallVec<[u32; 8]> = self.each.iter().map(|d| d.total).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes.into_iter().find_map(|size| {
            let others = (0..self.each.len() as u8).map(DeviceIndex).filter(|d| self.get(*d).total != size);
            let mut except: DeviceMask = others.collect();
            let mut mask = DeviceMask::default();
            for _ in 0..count {
                let next = self.choose_shared(request, strategy, except)?;
                (mask, except) = (mask.with(next), except.with(next));
            }
            Some(mask)
        })
    }

    /// The grant on these devices, which are of one size.
    fn shared_grant(&self, request: GpuRequest, devices: DeviceMask) -> GpuGrant {
        let total = devices.iter().next().map_or(0, |d| self.get(d).total);
        let (each, limit) = (need(request, total).into(), limit(request, total).into());
        GpuGrant::Shared { devices, each: GpuMemoryMib(each), limit: GpuMemoryMib(limit) }
    }

    fn choose_whole(&self, count: u32) -> Option<DeviceMask> {
        if self.free.count() < count {
            return None;
        }
        if self.uniform_links {
            return Some(lowest(self.free, count));
        }
        let mut groups: SmallVec<[(u8, DeviceMask); 8]> = SmallVec::new();
        for index in self.free.iter() {
            let group = self.get(index).link_group;
            match groups.iter_mut().find(|(g, _)| *g == group) {
                Some((_, mask)) => *mask = mask.with(index),
                None => groups.push((group, DeviceMask::one(index))),
            }
        }
        // The smallest group that suffices; without one, the fewest groups: largest first.
        groups.sort_by_key(|(group, mask)| (mask.count(), *group));
        if let Some((_, mask)) = groups.iter().find(|(_, mask)| mask.count() >= count) {
            return Some(lowest(*mask, count));
        }
        let mut chosen = DeviceMask::default();
        for (_, mask) in groups.iter().rev() {
            chosen.0 |= lowest(*mask, count - chosen.count()).0;
        }
        Some(chosen)
    }

    fn choose_shared(
        &self,
        request: GpuRequest,
        strategy: DeviceStrategy,
        except: DeviceMask,
    ) -> Option<DeviceIndex> {
        let fits = |mask: u64| {
            DeviceMask(mask & !except.0).iter().filter_map(|index| {
                let device = self.get(index);
                let left = device.left();
                (left >= need(request, device.total).max(1)).then_some((left, index))
            })
        };
        match strategy {
            DeviceStrategy::Binpack => {
                fits(self.shared.0).min().or_else(|| fits(self.free.0).min()).map(|(_, index)| index)
            }
            DeviceStrategy::Spread => fits(self.shared.0 | self.free.0)
                .max_by_key(|(left, index)| (*left, std::cmp::Reverse(*index)))
                .map(|(_, index)| index),
        }
    }

    /// True if some device takes the fraction.
    pub(crate) fn fits_one(&self, request: GpuRequest) -> bool {
        let fits = |index: DeviceIndex| {
            let device = self.get(index);
            device.left() >= need(request, device.total).max(1)
        };
        self.free.iter().any(fits) || self.shared.iter().any(fits)
    }

    /// How many such requests would fit one after the other, at most `most`.
    pub(crate) fn slots(&self, request: GpuRequest, strategy: DeviceStrategy, most: i64) -> i64 {
        match request {
            GpuRequest::None => most,
            GpuRequest::Whole(count) => i64::from(self.free.count() / count.max(1)),
            GpuRequest::Share { devices: 1, .. } | GpuRequest::Memory { devices: 1, .. } => {
                let open = DeviceMask(self.free.0 | self.shared.0);
                let each = open.iter().map(|d| self.get(d)).map(|d| d.left() / need(request, d.total).max(1));
                each.map(i64::from).sum()
            }
            // On several devices: what the choice would really do, one by one.
            _ => {
                let (mut devices, mut count) = (self.clone(), 0);
                while count < most
                    && let Some(grant) = devices.choose(request, strategy)
                {
                    devices.take(grant);
                    count += 1;
                }
                count
            }
        }
    }

    /// Any grant for a pod that is found running without its devices being known.
    pub(crate) fn any(&self, request: GpuRequest) -> Option<GpuGrant> {
        self.choose(request, DeviceStrategy::Binpack)
    }
}

/// The `count` lowest devices of the set.
fn lowest(mask: DeviceMask, count: u32) -> DeviceMask {
    let mut rest = mask.0;
    for _ in 0..count {
        rest &= rest.wrapping_sub(1);
    }
    DeviceMask(mask.0 & !rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(memory: &[i64]) -> Devices {
        let specs: Vec<_> = memory.iter().map(|m| DeviceSpec::new(GpuMemoryMib(*m), "x")).collect();
        Devices::new(&specs, GpuMemoryMib(512))
    }

    fn share(millionths: i64, devices: u32) -> GpuRequest {
        GpuRequest::Share { share: GpuShare(millionths), devices, limit: None }
    }

    fn take(devices: &mut Devices, request: GpuRequest) -> Option<DeviceMask> {
        let grant = devices.choose(request, DeviceStrategy::Binpack)?;
        devices.take(grant);
        Some(grant.devices())
    }

    #[test]
    fn s13_n_shares_of_one_nth_always_fit_and_one_more_never() {
        for n in 1..=40 {
            for memory in [7, 1000, 16_384, 46_068, 81_559] {
                let mut devices = node(&[memory]);
                let request = share(1_000_000 / n, 1);
                for _ in 0..n.min(memory) {
                    assert!(take(&mut devices, request).is_some(), "{n} of {memory}");
                }
                assert!(devices.get(DeviceIndex(0)).used as i64 <= memory);
            }
        }
    }

    #[test]
    fn s13_mib_is_charged_rounded_up() {
        let request = GpuRequest::Memory { memory: GpuMemoryMib(1), devices: 1, limit: None };
        assert_eq!(charge(request, 3), GpuShare(333_334));
        assert_eq!(charge(share(250_000, 1), 3), GpuShare(250_000));
    }

    #[test]
    fn s15_binpack_takes_the_fullest_shared_device_and_spread_the_emptiest() {
        let mut devices = node(&[1000, 1000, 1000]);
        assert_eq!(take(&mut devices, share(600_000, 1)), Some(DeviceMask(0b001)));
        assert_eq!(take(&mut devices, share(500_000, 1)), Some(DeviceMask(0b010)));
        assert_eq!(take(&mut devices, share(300_000, 1)), Some(DeviceMask(0b001)));
        let spread = devices.choose(share(100_000, 1), DeviceStrategy::Spread).unwrap();
        assert_eq!(spread.devices(), DeviceMask(0b100));
    }

    #[test]
    fn s16_whole_and_shared_never_mix() {
        let mut devices = node(&[1000, 1000]);
        assert!(take(&mut devices, share(100_000, 1)).is_some());
        assert_eq!(devices.choose(GpuRequest::Whole(2), DeviceStrategy::Binpack), None);
        assert_eq!(take(&mut devices, GpuRequest::Whole(1)), Some(DeviceMask(0b10)));
        assert_eq!(take(&mut devices, share(950_000, 1)), None);
        assert_eq!(take(&mut devices, share(500_000, 2)), None);
    }

    #[test]
    fn s17_foreign_memory_is_not_given_out() {
        let mut devices = node(&[1000, 1000]);
        devices.set_foreign(DeviceIndex(0), GpuMemoryMib(512));
        assert_eq!(devices.free, DeviceMask(0b11));
        devices.set_foreign(DeviceIndex(0), GpuMemoryMib(513));
        assert_eq!((devices.free, devices.shared), (DeviceMask(0b10), DeviceMask(0b01)));
        assert_eq!(take(&mut devices, share(487_000, 1)), Some(DeviceMask(0b01)));
    }

    #[test]
    fn s31_several_devices_come_from_the_best_linked_group() {
        let specs: Vec<_> = [0, 0, 1, 1, 1, 2]
            .iter()
            .map(|g| DeviceSpec { link_group: *g, ..DeviceSpec::new(GpuMemoryMib(1000), "x") })
            .collect();
        let devices = Devices::new(&specs, GpuMemoryMib(0));
        assert_eq!(devices.choose_whole(1), Some(DeviceMask(0b100000)));
        assert_eq!(devices.choose_whole(2), Some(DeviceMask(0b000011)));
        assert_eq!(devices.choose_whole(3), Some(DeviceMask(0b011100)));
        assert_eq!(devices.choose_whole(4), Some(DeviceMask(0b011101)));
    }
}
