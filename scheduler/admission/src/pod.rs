//! What is changed of a pod.

use berth_api::asked::asked;
use berth_api::convert::{CLAIM, template_name};
use berth_api::names::node::GPU_RESOURCE;
use berth_api::quantity::quantity;
use berth_api::slim;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Changes as a JSON patch; none if the pod is to be left alone.
pub(crate) fn changes(object: &Value, schedulers: &BTreeSet<String>) -> Result<Vec<Value>, String> {
    let pod: slim::Pod =
        serde_json::from_value(object.clone()).map_err(|error| format!("no pod: {error}"))?;
    if !pod.spec.scheduler_name.as_ref().is_some_and(|name| schedulers.contains(name)) {
        return Ok(Vec::new());
    }
    let asked = asked(&pod).map_err(|bad| bad.to_string())?;
    let Some(template) = asked.gpu.and_then(template_name) else { return Ok(Vec::new()) };
    let whole = |container: &slim::Container| {
        let mut amounts = [&container.resources.requests, &container.resources.limits].into_iter();
        amounts.any(|amounts| amounts.get(GPU_RESOURCE).is_some_and(|amount| quantity(&amount.0, 1) != Ok(0)))
    };
    if let Some(container) = pod.spec.containers.iter().chain(&pod.spec.init_containers).find(|it| whole(it))
    {
        return Err(format!(
            "spec.containers[{}].resources: {GPU_RESOURCE}; allowed: either whole GPUs or a part by annotation, not both",
            container.name
        ));
    }
    match &pod.spec.resource_claims[..] {
        [] => {}
        [ours] if ours.name == CLAIM && ours.resource_claim_template_name.as_ref() == Some(&template) => {
            return Ok(Vec::new());
        }
        others => {
            let names: Vec<_> = others.iter().map(|used| used.name.as_str()).collect();
            return Err(format!(
                "spec.resourceClaims: \"{}\"; allowed: none beside a part of a GPU by annotation",
                names.join(", ")
            ));
        }
    }
    let claims = json!([{ "name": CLAIM, "resourceClaimTemplateName": template }]);
    Ok(vec![
        json!({ "op": "add", "path": "/spec/resourceClaims", "value": claims }),
        use_it(object, asked.gpu_container.as_deref()),
    ])
}

/// The container uses the claim.
fn use_it(object: &Value, container: Option<&str>) -> Value {
    let place = |list: &str| {
        let all = object["spec"][list].as_array()?;
        let at = container.map_or(Some(0), |name| all.iter().position(|it| it["name"] == name))?;
        Some((format!("/spec/{list}/{at}/resources"), &all.get(at)?["resources"]))
    };
    let first = ("/spec/containers/0/resources".to_owned(), &Value::Null);
    let (path, resources) = place("containers").or_else(|| place("initContainers")).unwrap_or(first);
    let used = json!({ "name": CLAIM });
    match (resources, &resources["claims"]) {
        (Value::Object(_), Value::Array(_)) => {
            json!({ "op": "add", "path": format!("{path}/claims/-"), "value": used })
        }
        (Value::Object(_), _) => json!({ "op": "add", "path": format!("{path}/claims"), "value": [used] }),
        _ => json!({ "op": "add", "path": path, "value": { "claims": [used] } }),
    }
}
