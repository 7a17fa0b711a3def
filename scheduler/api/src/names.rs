//! Every label, annotation and finalizer that Berth reads or writes.
//!
//! Ours begin with `berth.dev/`. Where the same thing can be said in several ways, the first that is there counts and the
//! others are not looked at; the order is always: ours, KAI's, Run:ai's, Kubernetes'. Each constant says where it stands:
//! on pods unless said otherwise. A value that is malformed is an error that names the pod, and the pod waits; it is never
//! read as if it were absent.

/// The API group of Berth's objects.
pub const GROUP: &str = "berth.dev";
/// The version of the API.
pub const VERSION: &str = "v1alpha1";

/// What people write on pods.
pub mod pod {
    /// Label: the workload that the pod belongs to, unique in the namespace (S5). Without it the pod belongs to its
    /// controller's.
    pub const WORKLOAD: &str = "berth.dev/workload";
    /// Label: the role of the pod in its workload, for example `master` or `worker` (S5). Default: the role that its
    /// controller gives it, else `main`.
    pub const ROLE: &str = "berth.dev/role";
    /// Label or annotation: how many pods of this role must be placed for the workload to start, a whole number of 1 or
    /// more (S5). Default: what the controller's own object says, see [`crate::names::owner`].
    pub const MIN_MEMBERS: &str = "berth.dev/min-members";
    /// Annotation: a share of each device, a decimal of more than 0 and less than 1 with at most six digits after the
    /// point, as in `"0.25"` (S13).
    pub const GPU_FRACTION: &str = "berth.dev/gpu-fraction";
    /// Annotation: memory of each device, a quantity as in `10Gi`; a part of a MiB counts as a whole one (S13).
    pub const GPU_MEMORY: &str = "berth.dev/gpu-memory";
    /// Annotation: the most memory that may be used on each device, a quantity; at least the request. Default: the request
    /// (S14). Only beside [`GPU_MEMORY`].
    pub const GPU_MEMORY_LIMIT: &str = "berth.dev/gpu-memory-limit";
    /// Annotation: the most of each device that may be used, as a share from the request to 1. Default: the request (S14).
    /// Only beside [`GPU_FRACTION`].
    pub const GPU_FRACTION_LIMIT: &str = "berth.dev/gpu-fraction-limit";
    /// Annotation: on how many distinct devices of one node, 1 to 64. Default 1 (S13).
    pub const GPU_DEVICES: &str = "berth.dev/gpu-devices";
    /// Annotation: the container that gets the devices. Default: the first one.
    pub const GPU_CONTAINER: &str = "berth.dev/gpu-container";
    /// Annotation: how long the workload says that it will run, a duration as in `2h30m`.
    pub const EXPECTED_RUNTIME: &str = "berth.dev/expected-runtime";
    /// Annotation: how long its pods may take to end when evicted, 0s to 5m. Default 30s (S23).
    pub const GRACE: &str = "berth.dev/grace";
    /// Annotation: how long the gang may stay below its minimum before it is evicted; negative = for ever. Default: the
    /// pool's setting (S27).
    pub const STALE_GRACE: &str = "berth.dev/stale-grace";
    /// Annotation: how long the gang may take from its last binding until all minimums run, else it is requeued (S5).
    /// Default: no bound.
    pub const START_TIMEOUT: &str = "berth.dev/start-timeout";
    /// Label or annotation: `true` or `false`, whether the workload may be stopped for others (S28). Default: by priority
    /// (S4).
    pub const PREEMPTIBLE: &str = "berth.dev/preemptible";
    /// Label or annotation: one of `very-low`, `low`, `medium-low`, `medium`, `medium-high`, `high`, `very-high`, or a whole
    /// number (S4). Default: the pod's PriorityClass.
    pub const PRIORITY: &str = "berth.dev/priority";
    /// Annotation: names of node pools in the order of preference, separated by commas (S10). Default: the project's list.
    pub const POOLS: &str = "berth.dev/pools";
    /// Label or annotation: the node type, one of the values that the project's or department's rule allows (S11).
    pub const NODE_TYPE: &str = "berth.dev/node-type";
    /// Annotation: the node label whose value all minimums must share, for example a rack's (S31).
    pub const TOPOLOGY_REQUIRED: &str = "berth.dev/topology-required";
    /// Annotation: the node label whose value the minimums should share (S31).
    pub const TOPOLOGY_PREFERRED: &str = "berth.dev/topology-preferred";
}

/// KAI's labels and annotations on pods, which are understood after ours.
pub mod kai {
    /// Label: the queue, which must be the pod's project or its namespace's.
    pub const QUEUE: &str = "kai.scheduler/queue";
    /// Label: `preemptible` or `non-preemptible`.
    pub const PREEMPTIBILITY: &str = "kai.scheduler/preemptibility";
    /// Label: the name of a PriorityClass, or of one of our priorities.
    pub const PRIORITY: &str = "priorityClassName";
    /// Label: the one pool.
    pub const NODE_POOL: &str = "kai.scheduler/node-pool";
    /// Annotation: the PodGroup that the pod belongs to.
    pub const POD_GROUP: &str = "pod-group-name";
    /// Label: the subgroup of the PodGroup, which is the role.
    pub const SUBGROUP: &str = "kai.scheduler/subgroup-name";
    /// Annotation: a share of each device, as [`super::pod::GPU_FRACTION`]. Run:ai's too.
    pub const GPU_FRACTION: &str = "gpu-fraction";
    /// Annotation: memory of each device in MiB, a whole number. Run:ai's too.
    pub const GPU_MEMORY: &str = "gpu-memory";
    /// Annotation: on how many devices, as [`super::pod::GPU_DEVICES`]. Run:ai's too.
    pub const GPU_DEVICES: &str = "gpu-fraction-num-devices";
    /// Annotation: the container that gets the devices, as [`super::pod::GPU_CONTAINER`].
    pub const GPU_CONTAINER: &str = "gpu-fraction-container-name";
    /// Annotation: the node label whose value all minimums must share.
    pub const TOPOLOGY_REQUIRED: &str = "kai.scheduler/topology-required-placement";
    /// Annotation: the node label whose value the minimums should share.
    pub const TOPOLOGY_PREFERRED: &str = "kai.scheduler/topology-preferred-placement";
}

/// Run:ai's labels on pods and namespaces, which are understood after KAI's.
pub mod runai {
    /// Label of a namespace or a pod: the queue, that is the project.
    pub const QUEUE: &str = "runai/queue";
    /// Label: the one pool.
    pub const NODE_POOL: &str = "runai/node-pool";
}

/// How controllers of others mark their pods.
pub mod owner {
    /// Label: the JobSet.
    pub const JOBSET: &str = "jobset.sigs.k8s.io/jobset-name";
    /// Label: the replicated job of the JobSet, which is the role.
    pub const JOBSET_REPLICATED_JOB: &str = "jobset.sigs.k8s.io/replicatedjob-name";
    /// Label: the job of Kubeflow's training operator.
    pub const KUBEFLOW_JOB: &str = "training.kubeflow.org/job-name";
    /// Label: the type of replica there, `master`, `worker`, `launcher`, `ps`, which is the role.
    pub const KUBEFLOW_REPLICA_TYPE: &str = "training.kubeflow.org/replica-type";
    /// Label: the role as MPIJobs write it.
    pub const KUBEFLOW_JOB_ROLE: &str = "training.kubeflow.org/job-role";
    /// Label: the RayCluster.
    pub const RAY_CLUSTER: &str = "ray.io/cluster";
    /// Label: the group of the RayCluster, `headgroup` or a worker group's name, which is the role.
    pub const RAY_GROUP: &str = "ray.io/group";
    /// Label: the LeaderWorkerSet.
    pub const LWS: &str = "leaderworkerset.sigs.k8s.io/name";
    /// Label: which group of the LeaderWorkerSet; each is a gang of its own.
    pub const LWS_GROUP_INDEX: &str = "leaderworkerset.sigs.k8s.io/group-index";
    /// Label: which pod of the group; 0 is the leader.
    pub const LWS_WORKER_INDEX: &str = "leaderworkerset.sigs.k8s.io/worker-index";
    /// Annotation: how many pods a group has.
    pub const LWS_SIZE: &str = "leaderworkerset.sigs.k8s.io/size";
}

/// What Berth writes.
pub mod written {
    /// Finalizer of a Project: it is not gone while workloads or volumes are left in its namespace.
    pub const PROJECT_FINALIZER: &str = "berth.dev/project";
    /// Label of a namespace: the Project that owns it. On those that Berth makes; people may put it on others.
    pub const PROJECT: &str = "berth.dev/project";
    /// Label of a namespace that Berth made, as tools expect it: by whom.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Annotation of a pod: where room is kept for it, and until when (S23, S33).
    pub const RESERVATION: &str = "berth.dev/reservation";
    /// Annotation of a pod: for whom and when its workload was last evicted (S25, S33).
    pub const EVICTED: &str = "berth.dev/evicted";
    /// Annotation of a pod: since when its gang has been below its minimum (S27, S33).
    pub const STALE_SINCE: &str = "berth.dev/stale-since";
    /// Label of a node: its pool, in clusters that Berth's simulator makes.
    pub const POOL: &str = "berth.dev/pool";
}

/// What nodes publish.
pub mod node {
    /// Extended resource: whole GPUs as the device plugin counts them.
    pub const GPU_RESOURCE: &str = "nvidia.com/gpu";
    /// Label: the product of the node's GPUs, as GPU feature discovery writes it.
    pub const GPU_PRODUCT: &str = "nvidia.com/gpu.product";
    /// Label: memory of one of them in MiB.
    pub const GPU_MEMORY: &str = "nvidia.com/gpu.memory";
    /// A label that is only in Berth's own picture of a node, never in the API: its devices are handed out by Berth's driver, so
    /// that they can be shared. A pod that asks for a fraction needs it.
    pub const FRACTIONS: &str = "gpu.berth.dev/fractions";
    /// The beginning of a label that is only in that picture, too: all devices of the node that Berth's driver hands out are
    /// meant by the selectors that follow. Nobody else can write it, for names of labels have no spaces.
    pub const SELECTED: &str = "gpu.berth.dev/selected by ";
    /// Label: the node's name as the kubelet knows it.
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    /// Label: the failure zone.
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    /// Label: the region.
    pub const REGION: &str = "topology.kubernetes.io/region";
}

/// What Berth's driver for GPUs (DRA) and its users say to each other.
pub mod driver {
    /// The driver, the domain of its attributes, and its DeviceClass.
    pub const NAME: &str = "gpu.berth.dev";
    /// Capacity of a device: the memory that can be given out (S13). A claim asks for a part of it.
    pub const MEMORY: &str = "memory";
    /// Attribute of a device: NVML's name for it.
    pub const UUID: &str = "uuid";
    /// Attribute: the product, as NVML names it.
    pub const PRODUCT: &str = "productName";
    /// Attribute: MiB that the driver keeps for itself, at discovery.
    pub const RESERVED_MIB: &str = "memoryReservedMiB";
    /// Attribute: the NUMA node next to it; absent where there are several, or none is known.
    pub const NUMA_NODE: &str = "numaNode";
    /// Attribute: the version of NVIDIA's driver.
    pub const DRIVER_VERSION: &str = "driverVersion";
    /// Attribute: the version of CUDA that the driver brings.
    pub const CUDA_VERSION: &str = "cudaDriverVersion";
    /// Attribute: the compute capability.
    pub const COMPUTE_CAPABILITY: &str = "cudaComputeCapability";
    /// Attribute that drivers of all makers have: the place on the PCI bus.
    pub const PCI_BUS_ID: &str = "resource.kubernetes.io/pciBusID";
    /// Taint of a device that takes no new pods (S18); its value says why.
    pub const UNHEALTHY: &str = "gpu.berth.dev/unhealthy";
    /// Taint of a device that is split by MIG: Berth does not give out its parts.
    pub const MIG: &str = "gpu.berth.dev/mig";
    /// `apiVersion` of the driver's parameters in a claim or a DeviceClass.
    pub const PARAMETERS_VERSION: &str = "gpu.berth.dev/v1alpha1";
    /// `kind` of them: `limit` is the most memory that may be used on each device, a quantity from the request to the whole
    /// device (S14). Default: the request. In place of an amount a claim may have `fraction` and `fractionLimit`, shares of a
    /// device as in annotations (S13).
    pub const PARAMETERS_KIND: &str = "DeviceMemory";
    /// Condition of a node: `True` where the driver holds pods to their limits of GPU memory, `False` where going over is
    /// only watched and reported (S14, S19).
    pub const LIMITS_ENFORCED: &str = "GpuMemoryLimitsEnforced";
}
