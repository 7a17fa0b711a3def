//! NodePools, Departments and Projects: status and finalizers.
//!
//! Everything is written over exactly the version that was looked at; if the object has changed since, the next look says what
//! is to be written then. So nothing is tried again here.

use super::Shared;
use super::queue::OnObject;
use crate::answer::{Answer, ask};
use crate::mirror::Status;
use berth_api::objects::Project;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

impl Shared {
    pub(super) async fn object(&self, it: OnObject) {
        match it {
            OnObject::Status(Status::NodePool(it)) => self.replace_status(&*it).await,
            OnObject::Status(Status::Department(it)) => self.replace_status(&*it).await,
            OnObject::Status(Status::Project(it)) => self.replace_status(&*it).await,
            OnObject::Finalizers { project, version, finalizers } => {
                let projects: Api<Project> = Api::all(self.client.clone());
                let patch = json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } });
                let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
                let sent = async { projects.patch(&project.name, &options, &patch).await.map(drop) };
                let answer = ask(self.settings.timeout, sent).await;
                self.say_of_object("finalizers", &project.name, &answer);
            }
        }
    }

    async fn replace_status<K>(&self, object: &K)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let (all, options): (Api<K>, _) = (Api::all(self.client.clone()), PostParams::default());
        let sent = async { all.replace_status(&name, &options, object).await.map(drop) };
        let answer = ask(self.settings.timeout, sent).await;
        self.say_of_object("object_status", &name, &answer);
    }

    fn say_of_object(&self, request: &str, name: &str, answer: &Answer<()>) {
        self.metrics.answer(request, answer);
        match answer {
            Answer::Done(()) | Answer::Absent | Answer::Refused(409, _) => {}
            other => tracing::warn!(name, request, answer = ?other, "an object was not written"),
        }
    }
}
