//! Events in. Every handler checks everything first and changes the state only when nothing can fail any more.

use crate::Engine;
use crate::ix::{NodeIx, QueueIx, WorkloadIx};
use berth_model::{Event, EventError, NodeId, PoolId, QueueId, WorkloadId};

/// What a handler returns.
pub(crate) type Applied = Result<(), EventError>;

/// An object that does not exist.
pub(crate) fn unknown(event: &'static str, object: impl ToString) -> EventError {
    EventError::Unknown { event, object: object.to_string() }
}

/// A value that is not allowed.
pub(crate) fn invalid(
    object: impl ToString,
    field: &'static str,
    value: impl ToString,
    allowed: impl ToString,
) -> EventError {
    EventError::Invalid {
        object: object.to_string(),
        field,
        value: value.to_string(),
        allowed: allowed.to_string(),
    }
}

/// An event that does not fit the object's state.
pub(crate) fn conflict(object: impl ToString, why: impl ToString) -> EventError {
    EventError::Conflict { object: object.to_string(), why: why.to_string() }
}

impl Engine {
    /// Takes in one event. A bad one is refused and changes nothing.
    ///
    /// # Errors
    /// [`EventError`] names the object, the field, the value and what is allowed.
    pub fn apply(&mut self, event: Event) -> Applied {
        self.second.stamp += 1;
        match event {
            Event::PoolSet(spec) => self.set_pool(spec),
            Event::PoolRemoved(pool) => self.remove_pool(pool),
            Event::DepartmentSet(spec) => self.set_department(spec),
            Event::DepartmentRemoved(id) => self.remove_queue("departmentRemoved", QueueId::Department(id)),
            Event::ProjectSet(spec) => self.set_project(spec),
            Event::ProjectRemoved(id) => self.remove_queue("projectRemoved", QueueId::Project(id)),
            Event::QuotaSet { queue, pool, quota } => self.set_quota(queue, pool, quota),
            Event::NodeSet(spec) => self.set_node(spec),
            Event::NodeRemoved(node) => self.remove_node(node),
            Event::NodeCondition { node, ready, unschedulable } => {
                self.set_condition(node, ready, unschedulable)
            }
            Event::DeviceHealth { node, device, health } => self.set_health(node, device, health),
            Event::DeviceForeign { node, device, memory } => self.set_foreign(node, device, memory),
            Event::PodMemory { pod, device, memory } => {
                let pod = self.find_pod("podMemory", pod)?;
                self.measure(pod, device, memory);
                self.measure_excess(pod, device, memory);
                Ok(())
            }
            Event::BudgetSet(spec) => self.set_budget(spec),
            Event::BudgetRemoved(id) => self.remove_budget(id),
            Event::EvictionsFrom { at } => {
                self.evictions_from = at;
                Ok(())
            }
            Event::PodReserved { pod, at, until } => self.pod_reserved(pod, at, until),
            Event::EvictFailed { pod } => self.evict_failed(pod),
            Event::WorkloadSet(spec) => self.set_workload(spec),
            Event::WorkloadRemoved(workload) => self.remove_workload(workload),
            Event::PodRunning(state) => self.pod_running(state),
            Event::PodLeaving { pod, until } => self.pod_leaving(pod, until),
            Event::PodEnded { pod, outcome } => self.pod_ended(pod, outcome),
            Event::PodWanted { pod } => self.pod_wanted(pod),
            Event::BindFailed { pod, node } => self.bind_failed(pod, node),
        }
    }

    pub(crate) fn find_node(&self, event: &'static str, id: NodeId) -> Result<NodeIx, EventError> {
        self.node_ids.get(&id).copied().ok_or_else(|| unknown(event, id))
    }

    pub(crate) fn find_workload(
        &self,
        event: &'static str,
        id: WorkloadId,
    ) -> Result<WorkloadIx, EventError> {
        self.workload_ids.get(&id).copied().ok_or_else(|| unknown(event, id))
    }

    pub(crate) fn find_queue(&self, event: &'static str, id: QueueId) -> Result<QueueIx, EventError> {
        self.org.find(id).ok_or_else(|| unknown(event, queue_name(id)))
    }

    pub(crate) fn find_pool(&self, event: &'static str, id: PoolId) -> Result<crate::ix::PoolIx, EventError> {
        self.pools.find(id).ok_or_else(|| unknown(event, id))
    }
}

/// A queue for an error message.
pub(crate) fn queue_name(id: QueueId) -> String {
    match id {
        QueueId::Department(id) => id.to_string(),
        QueueId::Project(id) => id.to_string(),
    }
}
