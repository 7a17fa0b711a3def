//! Claims of Berth's devices: what pods were given, as the API says it, and what they are to be given (S13, S14, S33).
//!
//! A claim that is allocated and reserved for a pod takes its devices, whether the pod is bound or not: so what the engine
//! counts is never less than what the API says, and whoever begins to lead finds the devices of all that runs, and of the binds
//! that were begun, by the claims alone. Such a bind is carried on.
//!
//! Devices are numbers to the engine and names to everybody else.

use super::Mirror;
use super::nodes::Changed;
use super::pods::Entry;
use crate::action::{Action, Allocation, Bind, GivenDevice};
use crate::trace::Trace;
use crate::words;
use berth_api::asked::asked;
use berth_api::convert::{self, Claimed, open_claims};
use berth_api::names::node::SELECTED;
use berth_api::slim;
use berth_model::{
    DeviceIndex, DeviceMask, GpuGrant, GpuMemoryMib, Millis, NodeId, Placement, PodSpec, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// After how long a template is asked for again that a pod still waits for.
const ASKED_AGAIN: Millis = Millis::from_secs(30);

/// Templates that were asked for, by namespace and name, and when.
pub(super) type Templates = BTreeMap<(Arc<str>, String), Timestamp>;

/// What a pod was given, as its claim says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Given {
    pub(super) node: NodeId,
    /// None if a device is not published any more.
    pub(super) gpus: Option<GpuGrant>,
}

impl Mirror {
    /// Notes which devices the claims of a pod mean; whose they are is known with the next events.
    pub(super) fn note_selection(&mut self, ix: u32, pod: &slim::Pod) {
        let selection = convert::selection(pod, &self.around);
        self.pods.selects(ix, selection.label());
        self.nodes.select(&selection);
    }

    /// Forgets selections that no pod has any more.
    pub(super) fn sweep_selections(&mut self) {
        self.around.sweep();
        let selected = self.pods.iter().filter_map(|(_, entry)| entry.selected.as_deref().map(str::to_owned));
        self.nodes.retain_selections(&selected.collect());
    }

    /// Tells of nodes whose devices are meant by whom, until no pod that is read again changes that.
    pub(super) fn settle_selections(&mut self, nodes: &mut Changed) {
        self.look_at_selections();
        self.read_again();
        // Pods that were just read may select devices as nobody did before.
        while self.nodes.is_dirty() {
            nodes.set.extend(self.nodes.events().set);
            self.look_at_selections();
            self.read_again();
        }
    }

    /// Pods whose selections fail, or do no more, are read again.
    fn look_at_selections(&mut self) {
        if let Some(failing) = self.nodes.failures().filter(|failing| *failing != self.around.failing) {
            self.around.failing = failing;
            self.stale.device_classes = true;
        }
    }

    /// In words, whose devices a pod's selectors mean, if it has some.
    pub(super) fn selected(&self, pod: &PodSpec) -> Option<String> {
        let label = words::selection(pod)?;
        let counts = self.nodes.selected(label);
        let selectors = label.trim_start_matches(SELECTED);
        let mut words = format!(
            "the selectors of its claim, {selectors}, mean all devices of {} nodes and none of {}",
            counts.all, counts.none
        );
        if counts.some > 0 {
            let some = format!(
                "; of {} nodes they mean some, which are not offered: all or none is understood",
                counts.some
            );
            words.push_str(&some);
        }
        Some(words)
    }

    fn claimed(&self, entry: &Entry) -> Option<Claimed<'_>> {
        if entry.device_claims.is_empty() {
            return None;
        }
        convert::claimed(&entry.kept.restore(), &self.around).ok().flatten()
    }

    /// What a pod was given; none if nothing was, or the node is not known.
    pub(super) fn given(&self, entry: &Entry) -> Option<Given> {
        let Claimed { claim, gpu, .. } = self.claimed(entry)?;
        let ours = claim.status.reserved_for.iter().any(|user| *user.uid == *entry.kept.uid);
        let parts = convert::parts(claim);
        let node = self.nodes.id(parts.first().filter(|_| ours)?.node)?;
        let number = |part: &convert::Part<'_>| self.nodes.device(node, part.device);
        let Some(numbers) = parts.iter().map(number).collect::<Option<Vec<DeviceIndex>>>() else {
            return Some(Given { node, gpus: None });
        };
        let devices: DeviceMask = numbers.into_iter().collect();
        let most = |of: fn(&convert::Part<'_>) -> Option<GpuMemoryMib>| parts.iter().filter_map(of).max();
        let gpus = if gpu.is_fraction() {
            let whole = || self.nodes.published(node).nth(usize::from(devices.iter().next()?.0));
            let each = most(|part| part.memory).or_else(|| whole().map(|(_, spec)| spec.memory))?;
            let limit = most(|part| part.limit).unwrap_or(each).max(each);
            GpuGrant::Shared { devices, each, limit }
        } else {
            GpuGrant::Whole(devices)
        };
        Some(Given { node, gpus: Some(gpus) })
    }

    /// True if a pod was given devices of a known node that are not published any more.
    pub(super) fn has_lost_devices(&self, entry: &Entry) -> bool {
        self.given(entry).is_some_and(|given| given.gpus.is_none())
    }

    /// What is to be written on the claim of a pod that gets this place; none if it has no claim.
    pub(super) fn allocation(&self, entry: &Entry, at: Placement) -> Option<Box<Allocation>> {
        let Claimed { claim, requests, .. } = self.claimed(entry)?;
        let mut requests =
            requests.iter().flat_map(|(name, devices)| std::iter::repeat_n(*name, *devices as usize));
        let published: Vec<_> = self.nodes.published(at.node).collect();
        let each = |device: DeviceIndex| {
            let request = requests.next()?.into();
            let (name, spec) = published.get(usize::from(device.0))?;
            let memory = match at.gpus {
                GpuGrant::Shared { each, .. } => each,
                GpuGrant::Whole(_) | GpuGrant::None => spec.memory,
            };
            Some(GivenDevice { request, name: (*name).into(), memory })
        };
        let limit = match at.gpus {
            GpuGrant::Shared { limit, .. } => Some(limit),
            GpuGrant::Whole(_) | GpuGrant::None => None,
        };
        Some(Box::new(Allocation {
            claim: claim.metadata.name.as_deref()?.into(),
            uid: claim.metadata.uid.as_deref()?.into(),
            devices: at.gpus.devices().iter().map(each).collect::<Option<_>>()?,
            limit,
        }))
    }

    /// A bind of a pod to this place, with what its open claims become there; the error says which cannot be had.
    pub(super) fn bind_of(&mut self, ix: u32, at: Placement) -> Option<Result<Bind, String>> {
        let entry = self.pods.get(ix)?;
        let (pod, claims) = (entry.reference(), entry.claims.to_vec());
        let allocation = self.allocation(entry, at);
        if allocation.is_none() && !entry.device_claims.is_empty() {
            return Some(Err("its claim of devices has gone".to_owned()));
        }
        let node = self.nodes.name(at.node)?.clone();
        let labels = &self.nodes.spec(at.node)?.labels;
        let open = match open_claims(&pod.namespace, &claims, (&node, labels), &self.around) {
            Ok(open) => open,
            Err(why) => return Some(Err(why)),
        };
        if !open.is_empty() {
            self.around.assume(&pod.namespace, &open, &node);
            self.stale.volumes = true;
        }
        Some(Ok(Bind { pod, node, allocation, claims, open, trace: Trace::default() }))
    }

    /// Has the template made from which the claim of a pod that asks by annotation is made, if it is not there: Kubernetes'
    /// controller makes claims of templates that exist.
    pub(super) fn keep_template(&mut self, ix: u32, pod: &slim::Pod) {
        let Some(entry) = self.pods.get(ix) else { return };
        let open = entry.kept.node.is_none() && entry.device_claims.is_empty();
        let [used] = &pod.spec.resource_claims[..] else { return };
        let Some(wanted) = used.resource_claim_template_name.as_ref().filter(|_| open) else { return };
        let asked = asked(pod).ok().and_then(|asked| asked.gpu);
        let Some(gpu) = asked.filter(|gpu| convert::template_name(*gpu).as_ref() == Some(wanted)) else {
            return;
        };
        if !entry.is_for(&self.settings.schedulers) {
            return;
        }
        let namespace = entry.kept.namespace.clone();
        let now = self.now;
        self.templates.retain(|_, at| at.plus(ASKED_AGAIN) > now);
        if self.templates.insert((namespace.clone(), wanted.clone()), now).is_none() {
            self.waiting_actions.push(Action::Template { namespace, gpu });
        }
    }

    /// Who begins to lead carries on the binds that were begun: their claims are written, and the pods are not bound.
    pub(super) fn find_begun_binds(&mut self) {
        // What was asked for before was not done.
        self.templates.clear();
        self.waiting_actions.retain(|action| !matches!(action, Action::Template { .. }));
        let claimless = |entry: &Entry| {
            entry.device_claims.is_empty() && !entry.kept.template.spec.resource_claims.is_empty()
        };
        let waiting: Vec<u32> =
            self.pods.iter().filter(|(_, entry)| claimless(entry)).map(|(ix, _)| ix).collect();
        waiting.into_iter().for_each(|ix| self.reseat(ix));
        let begun = |(ix, entry): (u32, &Entry)| {
            let open = entry.kept.node.is_none() && entry.kept.deleted.is_none() && entry.binding.is_none();
            if !open || !entry.is_for(&self.settings.schedulers) || entry.device_claims.is_empty() {
                return None;
            }
            let Given { node, gpus } = self.given(entry)?;
            Some((ix, Placement { node, gpus: gpus? }))
        };
        let found: Vec<(u32, Placement)> = self.pods.iter().filter_map(begun).collect();
        for (ix, at) in found {
            let Some(Ok(bind)) = self.bind_of(ix, at) else { continue };
            tracing::info!(pod = %bind.pod, node = %bind.node, "its bind was begun, and is carried on");
            if let Some(entry) = self.pods.get_mut(ix) {
                entry.binding = Some(bind.node.clone());
            }
            self.waiting_actions.push(Action::Bind(vec![bind]));
        }
    }
}
