//! What is watched, and as what it is told.

use super::{Feed, Followed, follow};
use crate::change::{Kind, Object};
use berth_api::group::Kind as Gang;
use berth_api::slim::{self, named, owners};
use kube::{Api, Client, Resource};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often it is looked at which kinds of others are served.
const DISCOVER_EVERY: Duration = Duration::from_secs(60);

/// Starts a follower of one kind.
macro_rules! follow {
    ($client:expr, $feed:expr, $type:ty, $kind:expr, $object:expr, $shared:expr, $optional:expr) => {
        tokio::spawn(follow(
            Followed::<$type> {
                api: Api::all($client.clone()),
                kind: $kind,
                object: $object,
                shared: $shared,
                optional: $optional,
            },
            $feed.clone(),
        ))
    };
}

/// Starts all followers; how many kinds are waited for.
pub(super) async fn start(client: Client, feed: Feed) -> Result<usize, kube::Error> {
    let mut started = 0;
    macro_rules! always {
        ($type:ty, $kind:expr, $object:expr) => {
            drop(follow!(client, feed, $type, $kind, $object, false, false));
            started += 1;
        };
    }
    always!(slim::Pod, Kind::Pod, Object::Pod);
    always!(slim::Node, Kind::Node, Object::Node);
    always!(slim::CsiNode, Kind::CsiNode, Object::CsiNode);
    always!(berth_api::objects::NodePool, Kind::NodePool, Object::NodePool);
    always!(berth_api::objects::Department, Kind::Department, Object::Department);
    always!(berth_api::objects::Project, Kind::Project, Object::Project);
    always!(slim::Namespace, Kind::Namespace, Object::Namespace);
    always!(slim::PriorityClass, Kind::PriorityClass, Object::PriorityClass);
    always!(slim::PersistentVolumeClaim, Kind::Claim, Object::Claim);
    always!(slim::PersistentVolume, Kind::Volume, Object::Volume);
    always!(slim::StorageClass, Kind::StorageClass, Object::StorageClass);
    always!(slim::PodDisruptionBudget, Kind::Budget, Object::Budget);
    always!(owners::Job, Kind::Owner(Gang::Job), Object::Job);
    let mut others = Others { client, feed, running: BTreeMap::new() };
    started += others.look().await?;
    tokio::spawn(others.keep_looking());
    Ok(started)
}

/// Kinds of others, followed while they are served.
struct Others {
    client: Client,
    feed: Feed,
    running: BTreeMap<&'static str, JoinHandle<()>>,
}

impl Others {
    async fn keep_looking(mut self) {
        loop {
            tokio::time::sleep(DISCOVER_EVERY).await;
            if self.feed.batches.is_closed() {
                return;
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the API server does not say which kinds it serves");
            }
        }
    }

    /// Starts followers of kinds that are served by now; how many were started.
    async fn look(&mut self) -> Result<usize, kube::Error> {
        self.running.retain(|_, follower| !follower.is_finished());
        let groups = self.client.list_api_groups().await?;
        let versions: Vec<String> =
            groups.groups.into_iter().flat_map(|group| group.versions).map(|it| it.group_version).collect();
        let mut started = 0;
        macro_rules! other {
            ($type:ty, $kind:expr, $object:expr, $shared:expr) => {
                let key = stringify!($type);
                if !self.running.contains_key(key) && self.serves::<$type>(&versions).await? {
                    let kind = $kind;
                    let it = follow!(self.client, self.feed, $type, kind, $object, $shared, true);
                    tracing::info!(kind = key, "followed");
                    self.running.insert(key, it);
                    started += 1;
                }
            };
        }
        other!(slim::ResourceSlice, Kind::Slice, Object::Slice, false);
        other!(slim::ResourceClaim, Kind::DeviceClaim, Object::DeviceClaim, false);
        other!(slim::DeviceClass, Kind::DeviceClass, Object::DeviceClass, false);
        other!(owners::JobSet, Kind::Owner(Gang::JobSet), Object::JobSet, false);
        other!(owners::LeaderWorkerSet, Kind::Owner(Gang::LeaderWorkerSet), Object::LeaderWorkerSet, false);
        other!(owners::RayCluster, Kind::Owner(Gang::RayCluster), Object::RayCluster, false);
        other!(owners::PodGroup, Kind::Owner(Gang::PodGroup), Object::PodGroup, false);
        other!(
            owners::PyTorchJob,
            Kind::Owner(Gang::TrainingJob),
            |job| training(*job, |job| job.spec),
            true
        );
        other!(owners::TFJob, Kind::Owner(Gang::TrainingJob), |job| training(*job, |job| job.spec), true);
        other!(owners::MPIJob, Kind::Owner(Gang::TrainingJob), |job| training(*job, |job| job.spec), true);
        other!(
            owners::XGBoostJob,
            Kind::Owner(Gang::TrainingJob),
            |job| training(*job, |job| job.spec),
            true
        );
        other!(owners::PaddleJob, Kind::Owner(Gang::TrainingJob), |job| training(*job, |job| job.spec), true);
        other!(owners::JAXJob, Kind::Owner(Gang::TrainingJob), |job| training(*job, |job| job.spec), true);
        Ok(started)
    }

    async fn serves<K: Resource<DynamicType = ()>>(&self, versions: &[String]) -> Result<bool, kube::Error> {
        let version = K::api_version(&());
        if !versions.iter().any(|it| *it == version) {
            return Ok(false);
        }
        let resources = self.client.list_api_group_resources(&version).await?;
        Ok(resources.resources.iter().any(|it| it.name == K::plural(&())))
    }
}

fn training<K: Resource<DynamicType = ()>>(job: K, spec: fn(K) -> owners::TrainingSpec) -> Object {
    let meta = job.meta();
    Object::TrainingJob {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        object: named(&job),
        spec: Box::new(spec(job)),
    }
}
