//! XID and other critical events of the devices.
//!
//! The driver keeps them in a queue per session; [`Events::drain`] empties it without waiting, so events cost no thread.
//! What happened before the session began, or between two sessions, is not in the queue.

use std::sync::Arc;

use nvml_wrapper::{Nvml, bitmasks::event::EventTypes};
use serde::Serialize;

use crate::{
    raw::{self, EventSet, RawEvent},
    reading::{Failure, Reading},
};

/// The kinds of events that say something about a device's health (S18).
const WANTED: [(u64, EventKind); 6] = [
    (1 << 3, EventKind::Xid),
    (1 << 1, EventKind::DoubleBitEcc),
    (1 << 11, EventKind::RowRemapFailure),
    (1 << 13, EventKind::FatalPoison),
    (1 << 14, EventKind::Unavailable),
    (1 << 15, EventKind::RecoveryAction),
];
/// More events than this in one drain are left for the next: a device that floods the queue must not hold the sampler.
const DRAIN_MAX: usize = 256;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// An XID error that the driver calls critical; the event's data is its number.
    Xid,
    /// A double-bit ECC error.
    DoubleBitEcc,
    /// A row of memory could not be replaced.
    RowRemapFailure,
    /// Poisoned data that could not be contained.
    FatalPoison,
    /// The device became unavailable.
    Unavailable,
    /// The device wants another action to recover than before.
    RecoveryAction,
}

/// An event of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceEvent {
    /// The device's index in this session; none for a device that the session does not know.
    pub index: Option<u32>,
    /// What happened; none for a kind that was not asked for.
    pub kind: Option<EventKind>,
    /// The driver's number for it, for [`EventKind::Xid`] the XID. When several XIDs came since the last drain, NVML
    /// gives the last one's number for each.
    pub data: u64,
}

/// The queue of events of one session.
#[derive(Debug)]
pub(crate) struct Events {
    set: Reading<EventSet>,
    /// Per device index: its key, and the kinds that it delivers.
    devices: Vec<(Option<usize>, Reading<Vec<EventKind>>)>,
}

impl Events {
    pub(crate) fn start(nvml: &Arc<Nvml>, device_count: u32) -> Self {
        let set: Reading<EventSet> = EventSet::create(Arc::clone(nvml)).into();
        let wanted = WANTED.iter().fold(0, |bits, (bit, _)| bits | bit);
        let devices = (0..device_count)
            .map(|index| {
                let device = match nvml.device_by_index(index) {
                    Ok(device) => device,
                    Err(error) => return (None, Reading::Failed(error.into())),
                };
                let kinds = match &set {
                    Reading::Known(set) => Reading::from(set.register(&device, wanted)).map(kinds_of),
                    Reading::Unsupported => Reading::Unsupported,
                    Reading::Failed(failure) => Reading::Failed(failure.clone()),
                };
                (Some(raw::device_key(&device)), kinds)
            })
            .collect();
        Self { set, devices }
    }

    /// The kinds of events that the device delivers.
    pub(crate) fn kinds(&self, index: u32) -> Reading<Vec<EventKind>> {
        match self.devices.get(index as usize) {
            Some((_, kinds)) => kinds.clone(),
            None => Reading::Failed(Failure::Lost),
        }
    }

    /// Takes out what waits.
    pub(crate) fn drain(&self) -> Result<Vec<DeviceEvent>, Failure> {
        let Reading::Known(set) = &self.set else {
            return Ok(Vec::new());
        };
        let mut events = Vec::new();
        while events.len() < DRAIN_MAX {
            match set.poll() {
                Ok(Some(event)) => events.push(self.name(event)),
                Ok(None) => break,
                // What was taken out must not be lost with the failure, which comes back at the next drain.
                Err(_) if !events.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(events)
    }

    fn name(&self, event: RawEvent) -> DeviceEvent {
        let index = self.devices.iter().position(|(key, _)| *key == Some(event.device_key));
        DeviceEvent {
            index: index.and_then(|index| u32::try_from(index).ok()),
            kind: kinds_of(event.kind).first().copied(),
            data: event.data,
        }
    }
}

fn kinds_of(bits: u64) -> Vec<EventKind> {
    debug_assert_eq!(WANTED[0].0, EventTypes::CRITICAL_XID_ERROR.bits());
    WANTED.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, kind)| *kind).collect()
}
