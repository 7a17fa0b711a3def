//! Manifests as `kubectl` applies them: files of objects, and the kustomizations of `deploy`.
//!
//! What is absent: everything of kustomize that ours do not use, which is refused, and the hash that it appends to the
//! names of the ConfigMaps that it generates.

use std::fs;
use std::path::Path;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    resources: Vec<String>,
    #[serde(default)]
    config_map_generator: Vec<Generated>,
    #[serde(default)]
    images: Vec<Renamed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generated {
    name: String,
    namespace: String,
    files: Vec<String>,
}

/// Under which tag an image is pulled.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Renamed {
    name: String,
    new_tag: String,
}

/// The objects of a file.
///
/// # Errors
/// If it cannot be read.
pub fn objects(file: &Path) -> Result<Vec<DynamicObject>> {
    read(file)?.split("\n---\n").map(|text| parse(file, text)).collect()
}

/// The objects that a folder's `kustomization.yaml` brings, in its order; what it generates comes before the first that
/// has pods.
///
/// # Errors
/// If a file cannot be read, or says what is not known here.
pub fn kustomized(folder: &Path) -> Result<Vec<DynamicObject>> {
    let path = folder.join("kustomization.yaml");
    let all: Kustomization = parse(&path, &read(&path)?)?;
    let mut found = Vec::new();
    for file in &all.resources {
        found.extend(objects(&folder.join(file))?);
    }
    for object in &mut found {
        for renamed in &all.images {
            retag(&mut object.data, renamed);
        }
    }
    let first = found.iter().position(|object| {
        object.types.as_ref().is_some_and(|types| types.kind == "Deployment" || types.kind == "DaemonSet")
    });
    for generated in &all.config_map_generator {
        let mut data = Map::new();
        for file in &generated.files {
            data.insert(file.clone(), read(&folder.join(file))?.into());
        }
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": { "name": generated.name, "namespace": generated.namespace },
        });
        found.insert(first.unwrap_or(found.len()), parse(&path, &object.to_string())?);
    }
    Ok(found)
}

/// Applies an object, and takes no unknown field.
///
/// # Errors
/// If the API server refuses it.
pub async fn apply(client: &Client, object: &DynamicObject) -> Result<()> {
    let types = object.types.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let what = format!("{} {name}", types.kind);
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let strict = ValidationDirective::Strict;
    let options = PatchParams { field_validation: Some(strict), ..PatchParams::apply("berth-testbed") };
    api.patch(&name, &options, &Patch::Apply(object)).await.map_err(Error::api(what)).map(drop)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))
}

fn parse<T: serde::de::DeserializeOwned>(file: &Path, text: &str) -> Result<T> {
    serde_saphyr::from_str(text).map_err(|error| Error::Unable(format!("{}: {error}", file.display())))
}

/// Names the tag wherever the image is used.
fn retag(value: &mut Value, to: &Renamed) {
    match value {
        Value::Object(fields) => {
            let image = fields.get("image").and_then(Value::as_str);
            let same = |image: &str| {
                image == to.name || image.strip_prefix(&to.name).is_some_and(|tag| tag.starts_with(':'))
            };
            if image.is_some_and(same) {
                fields.insert("image".to_owned(), format!("{}:{}", to.name, to.new_tag).into());
            }
            fields.values_mut().for_each(|value| retag(value, to));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| retag(value, to)),
        _ => {}
    }
}
