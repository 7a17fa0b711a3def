//! NodePools, Departments and Projects: status and finalizers; namespaces of Projects; templates of claims.
//!
//! Everything is written over exactly the version that was looked at; if the object has changed since, the next look says what
//! is to be written then. So nothing is tried again here, but for templates, which are asked for once.

use super::Shared;
use super::queue::OnObject;
use crate::answer::{Answer, ask};
use crate::change::Outcome;
use crate::mirror::Status;
use crate::pause::Pause;
use berth_api::names::written;
use berth_api::objects::Project;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;

/// How often a template is tried to be made before that is left to the next pod that asks for it.
const TEMPLATE_TRIES: usize = 10;

impl Shared {
    pub(super) async fn object(&self, it: OnObject) {
        match it {
            OnObject::Status(Status::NodePool(it)) => self.replace_status(&*it).await,
            OnObject::Status(Status::Department(it)) => self.replace_status(&*it).await,
            OnObject::Status(Status::Project(it)) => self.replace_status(&*it).await,
            OnObject::Template(template) => self.template(template).await,
            OnObject::Namespace { name, project } => self.namespace(name, &project).await,
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

    /// Makes a template of claims; one that is there is what it should be, since its name says what it is.
    async fn template(&self, template: Value) {
        let template: ResourceClaimTemplate = match serde_json::from_value(template) {
            Ok(template) => template,
            Err(error) => return tracing::error!(%error, "a template of claims is malformed"),
        };
        let namespace = template.metadata.namespace.clone().unwrap_or_default();
        let templates: Api<ResourceClaimTemplate> = Api::namespaced(self.client.clone(), &namespace);
        let name = template.metadata.name.clone().unwrap_or_default();
        let mut pause = Pause::new(Duration::from_millis(200), Duration::from_secs(5));
        for _ in 0..TEMPLATE_TRIES {
            if !self.lease.allows().await {
                return;
            }
            let options = PostParams::default();
            let sent = async { templates.create(&options, &template).await.map(drop) };
            let answer = ask(self.settings.timeout, sent).await;
            self.say_of_object("template", &name, &answer);
            if !matches!(answer, Answer::Busy(_) | Answer::Lost(_)) {
                return;
            }
            pause.wait().await;
        }
    }

    /// Makes a namespace. One that is there, made by whomever, is not touched: the watch shows whose it is. Whatever else comes
    /// of it is said in the project's status, and tried again by the next look.
    async fn namespace(&self, name: Box<str>, project: &str) {
        let labels = [(written::PROJECT, project), (written::MANAGED_BY, "berth")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let metadata =
            ObjectMeta { name: Some(name.to_string()), labels: Some(labels.into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let options = PostParams::default();
        let sent = async { namespaces.create(&options, &namespace).await.map(drop) };
        let answer = ask(self.settings.timeout, sent).await;
        self.say_of_object("namespace", &name, &answer);
        let why = match answer {
            Answer::Done(()) | Answer::Refused(409, _) => return,
            Answer::Refused(_, why) | Answer::Lost(why) => why,
            Answer::Busy(_) => "the API server is busy".to_owned(),
            Answer::Absent => "the API server knows no namespaces".to_owned(),
        };
        // Nobody takes outcomes any more when the process ends.
        let _ = self.outcomes.send(Outcome::NamespaceNotMade(name, why)).await;
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
