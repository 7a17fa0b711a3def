//! What fuzz targets (`nvml-probe/fuzz`) need of the insides. Only with the feature `fuzz`.

use std::{fs, path::Path};

use super::{
    cdi::{Prepared, Specs},
    claim::Grant,
};

/// A claim as it is prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in the claim")]
pub struct Claim {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub given: Vec<Given>,
}

/// A part of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in the claim")]
pub struct Given {
    pub request: String,
    pub device: String,
    pub share_id: Option<String>,
    pub uuid: String,
    pub minor: u32,
    pub request_mib: u64,
    pub limit_mib: u64,
}

/// What became of it.
#[derive(Debug)]
pub struct Written {
    /// Names in the folder of CDI files.
    pub names: Vec<String>,
    /// What else was made.
    pub outside: Vec<String>,
    /// The file's text.
    pub text: String,
    /// What a plugin that starts now finds.
    pub read_back: Option<Claim>,
    /// Names in the folder once the claim has been removed.
    pub left: Vec<String>,
}

/// Writes a claim's file into a folder of its own, where there are two devices, and removes it again.
///
/// # Errors
/// Why it was refused.
///
/// # Panics
/// If the folder cannot be made, or something that was refused has left a file.
pub fn write_and_remove(claim: &Claim) -> Result<Written, String> {
    let root = std::env::temp_dir().join(format!("berth-fuzz-{}", std::process::id()));
    let (cdi, dev) = (root.join("inner/cdi"), root.join("dev"));
    if !dev.exists() {
        fs::create_dir_all(&dev).expect("a folder");
        for name in ["nvidia0", "nvidia1", "nvidiactl"] {
            fs::write(dev.join(name), "").expect("a file");
        }
    }
    let specs = Specs::open(cdi.clone(), dev).expect("a folder");
    let prepared = prepared(claim);
    if let Err(why) = specs.write(&prepared) {
        assert_eq!(names(&cdi), Vec::<String>::new(), "a refused claim has left files");
        assert!(!why.is_empty());
        return Err(why);
    }
    let names_then = names(&cdi);
    let mut outside = names(&root);
    outside.retain(|name| name != "dev" && name != "inner");
    outside.extend(names(&root.join("inner")).into_iter().filter(|name| name != "cdi"));
    let text = names_then.first().map(|name| fs::read_to_string(cdi.join(name)).expect("text"));
    let again = Specs::open(cdi.clone(), root.join("dev")).expect("a folder");
    let (all, broken) = again.all().expect("a folder");
    assert_eq!(broken, Vec::<String>::new(), "what was written cannot be read");
    let read_back = again.read(&claim.uid).filter(|found| all == [found.clone()]).map(claim_of);
    again.remove(&claim.uid).expect("it can be removed");
    Ok(Written { names: names_then, outside, text: text.unwrap_or_default(), read_back, left: names(&cdi) })
}

fn names(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).expect("a folder");
    found.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn prepared(claim: &Claim) -> Prepared {
    let grants = claim.given.iter().cloned().map(|given| Grant {
        request: given.request,
        device: given.device,
        share_id: given.share_id,
        uuid: given.uuid,
        minor: given.minor,
        request_mib: given.request_mib,
        limit_mib: given.limit_mib,
    });
    Prepared {
        namespace: claim.namespace.clone(),
        name: claim.name.clone(),
        uid: claim.uid.clone(),
        grants: grants.collect(),
    }
}

fn claim_of(prepared: Prepared) -> Claim {
    let given = prepared.grants.into_iter().map(|grant| Given {
        request: grant.request,
        device: grant.device,
        share_id: grant.share_id,
        uuid: grant.uuid,
        minor: grant.minor,
        request_mib: grant.request_mib,
        limit_mib: grant.limit_mib,
    });
    Claim { namespace: prepared.namespace, name: prepared.name, uid: prepared.uid, given: given.collect() }
}
