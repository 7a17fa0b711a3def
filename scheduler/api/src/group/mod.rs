//! Which pods are one workload (S5), and what it asks for as a whole.
//!
//! 1. [`member`]: the workload and the role of a pod, from the pod alone.
//! 2. [`Shape`]: how many pods each role has and needs, from the object of the controller.
//! 3. [`minimums`]: with the pods that are there, how many of each role must be placed, and whether enough exist.
//! 4. [`workload`]: everything else that the model wants to know.
//!
//! | the pods of | are | minimum |
//! |---|---|---|
//! | label `berth.dev/workload` | one workload per value | as stated, else one in all |
//! | KAI PodGroup (annotation) | one workload per PodGroup | its `minMember`, or its subgroups' |
//! | JobSet, TrainJob (through its JobSet) | one workload per JobSet | all pods of all replicated jobs |
//! | PyTorchJob, TFJob, MPIJob, XGBoostJob, PaddleJob, JAXJob | one per job | all replicas, or `minReplicas`, `minAvailable` |
//! | RayCluster (RayJob, RayService) | one per cluster | the head, and `minReplicas`, else `replicas`, of each group |
//! | LeaderWorkerSet | one per group of it | all pods of the group |
//! | Job | one per Job | 1: its pods run one by one unless a minimum is stated |
//! | ReplicaSet, ReplicationController | one per ReplicaSet | 1 |
//! | StatefulSet, DaemonSet, anything else, nobody | one per pod | 1 |
//!
//! `berth.dev/min-members` on pods goes before all of it, role by role. A Deployment's ReplicaSets are workloads of their own,
//! since each has one template; so are the Jobs of a CronJob. Pods of StatefulSets and DaemonSets differ from each other by
//! their volumes and nodes, and do not need each other to start.

mod member;
mod minimum;
mod shape;
mod spec;

pub use member::{Key, Kind, Member, member};
pub use minimum::{Minimums, RolePods, Short, minimums};
pub use shape::{RoleShape, Shape};
pub use spec::{Context, Identity, UNMANAGED_PREEMPTIBLE_BELOW, workload};
