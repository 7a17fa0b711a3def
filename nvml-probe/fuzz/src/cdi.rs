//! CDI files: whatever a claim says, there is one file in the folder and none outside, and it says back what was written.

use arbitrary::{Arbitrary, Result, Unstructured};
use nvml_probe::agent::fuzz::{Claim, Given, Written, write_and_remove};
use serde_json::Value;

const NAMES: [&str; 12] = [
    "gpu",
    "a/b",
    "/",
    "..",
    "../../x",
    "\0",
    "\n",
    "\"",
    "\\",
    "=",
    "1-2-3",
    "5f0c6b1e-7c1b-4d6e-9a57-aa0d1f0c9d11",
];

pub(crate) fn run(from: &mut Unstructured<'_>) -> Result<()> {
    let mut given = Vec::new();
    let (namespace, name, uid) =
        (super::text(from, &NAMES)?, super::text(from, &NAMES)?, super::text(from, &NAMES)?);
    for _ in 0..from.int_in_range(0..=4)? {
        given.push(Given {
            request: super::text(from, &NAMES)?,
            device: super::text(from, &NAMES)?,
            share_id: if from.ratio(1, 2)? { Some(super::text(from, &NAMES)?) } else { None },
            uuid: super::text(from, &NAMES)?,
            // There are files for two of them.
            minor: from.int_in_range(0..=2)?,
            request_mib: u64::arbitrary(from)?,
            limit_mib: u64::arbitrary(from)?,
        });
    }
    let claim = Claim { namespace, name, uid, given };
    match write_and_remove(&claim) {
        Ok(written) => judge(&claim, &written),
        Err(why) => {
            let is_uid = (1..=63).contains(&claim.uid.len())
                && claim.uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let has_files = claim.given.iter().all(|given| given.minor < 2);
            assert!(!is_uid || !has_files, "{claim:?} is refused: {why}");
        }
    }
    Ok(())
}

fn judge(claim: &Claim, written: &Written) {
    assert_eq!(written.outside, Vec::<String>::new(), "files outside of the folder");
    assert_eq!(written.names, [format!("gpu.berth.dev-claim-{}.json", claim.uid)]);
    assert_eq!(written.read_back.as_ref(), Some(claim));
    assert_eq!(written.left, Vec::<String>::new(), "files that were not removed");
    let file: Value = serde_json::from_str(&written.text).expect("JSON");
    let devices = file["devices"].as_array().expect("devices");
    let mut told = 0;
    for device in devices {
        let environment = device["containerEdits"]["env"].as_array().expect("variables");
        for (variable, name) in environment.iter().zip([
            "NVIDIA_VISIBLE_DEVICES=",
            "BERTH_GPU_MEMORY_REQUEST_MIB=",
            "BERTH_GPU_MEMORY_LIMIT_MIB=",
        ]) {
            assert!(variable.as_str().expect("text").starts_with(name), "{variable}");
        }
        assert_eq!(environment.len(), 3);
        told += device["containerEdits"]["deviceNodes"].as_array().expect("files").len();
    }
    // Each has its own file, and each request the common one.
    assert_eq!(told, claim.given.len() + devices.len());
}
