//! Admission of pods: one that asks for a part of a GPU by annotation gets a claim for it.
//!
//! Pure and without state: what the API server asks goes in as bytes, and what it is to be answered comes out. A pod that is for
//! another scheduler, or asks for no part of a GPU, is admitted as it is. One whose annotations are malformed is refused in words,
//! for nothing would ever become of it. The claim is made from a template whose name says what was asked for; the scheduler
//! keeps the templates.
//!
//! Absent: checks of anything else, and answers to anything but the creation of pods.

mod pod;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is asked.
#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    object: Value,
}

/// Answers an AdmissionReview about a pod; `schedulers` are the names under which pods ask for Berth.
///
/// # Errors
/// It is no AdmissionReview.
pub fn review(asked: &[u8], schedulers: &BTreeSet<String>) -> Result<Value, String> {
    let Review { request } =
        serde_json::from_slice(asked).map_err(|error| format!("no AdmissionReview: {error}"))?;
    let mut response = json!({ "uid": request.uid, "allowed": true });
    match pod::changes(&request.object, schedulers) {
        Ok(changes) if changes.is_empty() => {}
        Ok(changes) => {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(Value::from(changes).to_string()));
        }
        Err(why) => {
            response["allowed"] = json!(false);
            response["status"] = json!({ "code": 422, "reason": "Invalid", "message": why });
        }
    }
    Ok(json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(object: Value) -> Value {
        let asked = json!({ "request": { "uid": "u", "object": object } });
        let schedulers = BTreeSet::from(["berth".to_owned()]);
        review(asked.to_string().as_bytes(), &schedulers).expect("an answer")["response"].take()
    }

    fn pod(annotations: Value, container: Value) -> Value {
        json!({
            "metadata": { "namespace": "team-a", "generateName": "p-", "annotations": annotations },
            "spec": { "schedulerName": "berth", "containers": [{ "name": "side" }, container] },
        })
    }

    fn patch(response: &Value) -> Value {
        let bytes = STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn a_pod_that_asks_for_a_part_gets_a_claim_and_its_container_uses_it() {
        let annotations = json!({ "berth.dev/gpu-memory": "10Gi", "berth.dev/gpu-container": "main" });
        let response = ask(pod(
            annotations,
            json!({ "name": "main", "resources": { "requests": { "cpu": "1", "nvidia.com/gpu": "0" } } }),
        ));
        assert_eq!((&response["allowed"], &response["uid"]), (&json!(true), &json!("u")));
        let expected = json!([
            { "op": "add", "path": "/spec/resourceClaims", "value": [
                { "name": "berth-gpu", "resourceClaimTemplateName": "berth-gpu-1x10240mi" },
            ] },
            { "op": "add", "path": "/spec/containers/1/resources/claims", "value": [{ "name": "berth-gpu" }] },
        ]);
        assert_eq!(patch(&response), expected);
    }

    #[test]
    fn without_a_word_the_first_container_gets_it() {
        let response = ask(pod(json!({ "gpu-fraction": "0.25" }), json!({ "name": "main" })));
        let expected = json!({
            "op": "add", "path": "/spec/containers/0/resources", "value": { "claims": [{ "name": "berth-gpu" }] },
        });
        assert_eq!(patch(&response)[1], expected);
    }

    #[test]
    fn what_asks_for_nothing_or_is_for_others_or_has_its_claim_is_left_alone() {
        assert_eq!(ask(pod(json!({}), json!({ "name": "main" }))), json!({ "uid": "u", "allowed": true }));
        let mut other = pod(json!({ "gpu-fraction": "0.25" }), json!({ "name": "main" }));
        other["spec"]["schedulerName"] = json!("kai-scheduler");
        assert_eq!(ask(other), json!({ "uid": "u", "allowed": true }));
        let mut again = pod(json!({ "gpu-fraction": "0.25" }), json!({ "name": "main" }));
        again["spec"]["resourceClaims"] =
            json!([{ "name": "berth-gpu", "resourceClaimTemplateName": "berth-gpu-1x250000ppm" }]);
        assert_eq!(ask(again), json!({ "uid": "u", "allowed": true }));
    }

    #[test]
    fn what_can_never_be_is_refused_in_words() {
        let refused = |object: Value, words: &str| {
            let response = ask(object);
            assert_eq!(response["allowed"], json!(false));
            let message = response["status"]["message"].as_str().expect("words");
            assert!(message.contains(words), "{message}");
        };
        let main = || json!({ "name": "main" });
        refused(
            pod(json!({ "berth.dev/gpu-fraction": "2" }), main()),
            "metadata.annotations[berth.dev/gpu-fraction]",
        );
        let mut claims = pod(json!({ "berth.dev/gpu-fraction": "0.5" }), main());
        claims["spec"]["resourceClaims"] = json!([{ "name": "x", "resourceClaimName": "y" }]);
        refused(claims, "spec.resourceClaims");
        let whole = json!({ "name": "main", "resources": { "limits": { "nvidia.com/gpu": 1 } } });
        refused(pod(json!({ "berth.dev/gpu-fraction": "0.5" }), whole), "nvidia.com/gpu");
        assert!(review(b"{}", &BTreeSet::new()).is_err());
    }
}
