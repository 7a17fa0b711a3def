//! Claims made real, and undone.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, stream};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::{Api, Client};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::{
    cdi::{Prepared, Specs},
    claim::{by_request, grants},
    wire::dra::{
        Claim, Device, NodePrepareResourceResponse, NodePrepareResourcesRequest,
        NodePrepareResourcesResponse, NodeUnprepareResourceResponse, NodeUnprepareResourcesRequest,
        NodeUnprepareResourcesResponse, dra_plugin_server::DraPlugin,
    },
};
use crate::agent::{Fitness, NodeState};

/// Claims that are asked for at a time.
const AT_ONCE: usize = 8;

/// Prepares claims on this node.
pub(super) struct Preparer {
    client: Client,
    node: String,
    state: watch::Receiver<Arc<NodeState>>,
    specs: Specs,
}

impl Preparer {
    pub(super) fn new(
        client: Client,
        node: String,
        state: watch::Receiver<Arc<NodeState>>,
        specs: Specs,
    ) -> Self {
        Self { client, node, state, specs }
    }

    /// Removes the files of claims that nobody has any more: a crash, or a kubelet that lost its memory, left them.
    pub(super) async fn clean(&self) {
        let (prepared, broken) = match self.specs.all() {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "CDI files cannot be listed");
                return;
            }
        };
        for uid in broken {
            tracing::warn!(uid, "a CDI file of ours says nothing, and is removed");
            self.removed(&uid);
        }
        for claim in prepared {
            match self.claim(&claim.namespace, &claim.name).await {
                Ok(found) if found.as_ref().is_some_and(|found| is_in_use(found, &claim.uid)) => {}
                Ok(_) => {
                    tracing::info!(claim = claim.name, uid = claim.uid, "what is left of a claim is removed");
                    self.removed(&claim.uid);
                }
                Err(error) => {
                    tracing::debug!(claim = claim.name, %error, "it is not known whether it is in use")
                }
            }
        }
    }

    fn removed(&self, uid: &str) {
        if let Err(error) = self.specs.remove(uid) {
            tracing::warn!(error, "a CDI file is not removed");
        }
    }

    async fn claim(&self, namespace: &str, name: &str) -> kube::Result<Option<ResourceClaim>> {
        Api::<ResourceClaim>::namespaced(self.client.clone(), namespace).get_opt(name).await
    }

    async fn prepare(&self, claim: &Claim) -> Result<Vec<Device>, String> {
        let prepared = match self.claim(&claim.namespace, &claim.name).await {
            Ok(Some(found)) => self.read(claim, &found)?,
            Ok(None) => return Err("it is not there".to_owned()),
            // The kubelet asks again after a restart: what is prepared stays so without the API server.
            Err(error) => match self.specs.read(&claim.uid) {
                Some(prepared) => prepared,
                None => return Err(format!("the API server cannot be asked: {error}")),
            },
        };
        self.specs.write(&prepared)?;
        Ok(devices(&prepared, &self.node))
    }

    fn read(&self, claim: &Claim, found: &ResourceClaim) -> Result<Prepared, String> {
        let uid = found.metadata.uid.as_deref().unwrap_or_default();
        if uid != claim.uid {
            return Err(format!(
                "metadata.uid: is {uid}, wanted: {}: there is another one of this name",
                claim.uid
            ));
        }
        let state = Arc::clone(&self.state.borrow());
        let grants = grants(found, &self.node, &state)?;
        let lost = |name: &str| state.device(name).is_none_or(|device| device.fitness == Fitness::Lost);
        if let Some(grant) = grants.iter().find(|grant| lost(&grant.device)) {
            return Err(format!("device: {} cannot be reached", grant.device));
        }
        let Claim { namespace, name, uid } = claim.clone();
        Ok(Prepared { namespace, name, uid, grants })
    }
}

/// A claim that is allocated, and that some pod has.
fn is_in_use(claim: &ResourceClaim, uid: &str) -> bool {
    let status = claim.status.as_ref();
    claim.metadata.uid.as_deref() == Some(uid)
        && status.is_some_and(|status| {
            status.allocation.is_some() && status.reserved_for.as_ref().is_some_and(|pods| !pods.is_empty())
        })
}

/// What the kubelet hands on: the first device of a request stands for all of it.
fn devices(prepared: &Prepared, node: &str) -> Vec<Device> {
    let mut devices = Vec::new();
    for (name, grants) in by_request(&prepared.grants) {
        for (at, grant) in grants.into_iter().enumerate() {
            devices.push(Device {
                request_names: vec![grant.request.split('/').next().unwrap_or_default().to_owned()],
                pool_name: node.to_owned(),
                device_name: grant.device.clone(),
                cdi_device_ids: if at == 0 { vec![prepared.cdi_id(&name)] } else { Vec::new() },
                share_id: grant.share_id.clone(),
            });
        }
    }
    devices
}

#[tonic::async_trait]
impl DraPlugin for Preparer {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let claims = stream::iter(request.into_inner().claims).map(|claim| async move {
            let answer = match self.prepare(&claim).await {
                Ok(devices) => {
                    tracing::info!(
                        namespace = claim.namespace,
                        claim = claim.name,
                        devices = devices.len(),
                        "prepared"
                    );
                    NodePrepareResourceResponse { devices, error: String::new() }
                }
                Err(error) => {
                    tracing::warn!(namespace = claim.namespace, claim = claim.name, error, "not prepared");
                    let error = format!("ResourceClaim {}/{}: {error}", claim.namespace, claim.name);
                    NodePrepareResourceResponse { devices: Vec::new(), error }
                }
            };
            (claim.uid, answer)
        });
        let claims: HashMap<_, _> = claims.buffer_unordered(AT_ONCE).collect().await;
        Ok(Response::new(NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let claims = request.into_inner().claims.into_iter().map(|claim| {
            let error = self.specs.remove(&claim.uid).err();
            match &error {
                None => tracing::info!(namespace = claim.namespace, claim = claim.name, "unprepared"),
                Some(error) => {
                    tracing::warn!(namespace = claim.namespace, claim = claim.name, error, "not unprepared");
                }
            }
            (claim.uid, NodeUnprepareResourceResponse { error: error.unwrap_or_default() })
        });
        Ok(Response::new(NodeUnprepareResourcesResponse { claims: claims.collect() }))
    }
}
