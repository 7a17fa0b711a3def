//! Files as the container runtime finds them.

use serde_json::{Value, json};

use super::*;

struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["cdi", "dev"] {
            fs::create_dir(folder.path().join(path)).unwrap();
        }
        for name in ["nvidia0", "nvidia5", "nvidiactl"] {
            fs::write(folder.path().join("dev").join(name), "").unwrap();
        }
        Self(folder)
    }

    fn open(&self) -> Specs {
        Specs::open(self.0.path().join("cdi"), self.0.path().join("dev")).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let found = fs::read_dir(self.0.path().join("cdi")).unwrap();
        found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn grant(request: &str, uuid: &str, minor: u32) -> Grant {
    Grant {
        request: request.to_owned(),
        device: uuid.to_ascii_lowercase(),
        share_id: None,
        uuid: uuid.to_owned(),
        minor,
        request_mib: 100,
        limit_mib: 200,
    }
}

fn prepared(grants: Vec<Grant>) -> Prepared {
    Prepared { namespace: "ns".into(), name: "claim".into(), uid: "1-2-3".into(), grants }
}

#[test]
fn a_file_says_what_a_container_gets() {
    let folders = Folders::new();
    let specs = folders.open();
    let claim = prepared(vec![grant("gpu", "GPU-A", 0), grant("gpu", "GPU-B", 5), grant("x/y", "GPU-A", 0)]);
    specs.write(&claim).unwrap();
    assert_eq!(folders.names(), ["gpu.berth.dev-claim-1-2-3.json"]);
    let text = fs::read(folders.0.path().join("cdi/gpu.berth.dev-claim-1-2-3.json")).unwrap();
    let spec: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((&spec["cdiVersion"], &spec["kind"]), (&json!("0.6.0"), &json!("gpu.berth.dev/claim")));
    assert_eq!(spec["devices"][0]["name"], "1-2-3-gpu");
    assert_eq!(spec["devices"][1]["name"], "1-2-3-x.y");
    let edits = &spec["devices"][0]["containerEdits"];
    let env = [
        "NVIDIA_VISIBLE_DEVICES=GPU-A,GPU-B",
        "BERTH_GPU_MEMORY_REQUEST_MIB=100",
        "BERTH_GPU_MEMORY_LIMIT_MIB=200",
    ];
    assert_eq!(edits["env"], json!(env));
    let paths: Vec<&Value> =
        edits["deviceNodes"].as_array().unwrap().iter().map(|node| &node["path"]).collect();
    assert_eq!(paths, ["/dev/nvidia0", "/dev/nvidia5", "/dev/nvidiactl"]);
    assert_eq!(claim.cdi_id("gpu"), "gpu.berth.dev/claim=1-2-3-gpu");
}

#[test]
fn what_was_prepared_is_known_after_a_restart_and_torn_files_are_gone() {
    let folders = Folders::new();
    let claim = prepared(vec![grant("gpu", "GPU-A", 0)]);
    folders.open().write(&claim).unwrap();
    let cdi = folders.0.path().join("cdi");
    fs::write(cdi.join(".gpu.berth.dev-claim-9.json.unfinished"), "{").unwrap();
    fs::write(cdi.join("gpu.berth.dev-claim-8.json"), "not ours to read").unwrap();
    fs::write(cdi.join("nvidia.json"), "of somebody else").unwrap();
    let specs = folders.open();
    assert_eq!(specs.all().unwrap(), (vec![claim.clone()], vec!["8".to_owned()]));
    specs.write(&claim).unwrap();
    for _ in 0..2 {
        specs.remove("1-2-3").unwrap();
        specs.remove("8").unwrap();
    }
    assert_eq!(folders.names(), ["nvidia.json"]);
}

#[test]
fn a_device_without_a_file_and_a_uid_that_is_a_path_are_refused() {
    let folders = Folders::new();
    let specs = folders.open();
    let problem = specs.write(&prepared(vec![grant("gpu", "GPU-X", 7)])).unwrap_err();
    assert!(
        problem.starts_with("device: gpu-x has no file ") && problem.ends_with("/dev/nvidia7"),
        "{problem}"
    );
    for uid in ["", "../../etc/passwd", "a/b", &"x".repeat(64)] {
        let claim = Prepared { uid: uid.to_owned(), ..prepared(vec![]) };
        assert!(specs.write(&claim).unwrap_err().starts_with("uid: is "), "{uid}");
        assert!(specs.remove(uid).is_err());
    }
    assert_eq!(folders.names(), Vec::<String>::new());
}
