//! Text of cgroups: never a panic, what is found is in the text, and what a kubelet writes is found whatever stands inside.

use arbitrary::{Result, Unstructured};
use nvml_probe::proc::Owner;
use nvml_probe::proc::cgroup::{ContainerId, PodUid, owner};

const UID: &str = "0f4b52c4-5c3a-4a3b-9d3e-0123456789ab";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER_ID: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const PARTS: [&str; 16] = [
    "0::/",
    "1:memory:/",
    "/",
    "\n",
    "kubepods",
    "kubepods.slice",
    "burstable",
    "user.slice",
    "pod0f4b52c4-5c3a-4a3b-9d3e-0123456789ab",
    "kubepods-pod0f4b52c4_5c3a_4a3b_9d3e_0123456789ab.slice",
    ID,
    "cri-containerd-",
    ".scope",
    ":",
    "..",
    " (deleted)",
];

pub(crate) fn run(from: &mut Unstructured<'_>) -> Result<()> {
    if from.ratio(1, 3)? { kubelets(from) } else { any(from) }
}

fn any(from: &mut Unstructured<'_>) -> Result<()> {
    let mut text = String::new();
    for _ in 0..from.int_in_range(1..=12)? {
        text.push_str(&super::text(from, &PARTS)?);
    }
    let found = owner(&text);
    assert_eq!(owner(&text), found);
    let in_text = |id: &ContainerId| {
        assert_eq!(ContainerId::parse(&id.to_string()).as_ref(), Some(id));
        assert!(text.contains(&id.to_string()), "{id} is not in {text:?}");
    };
    match &found {
        Owner::Pod { pod, container } => {
            assert_eq!(PodUid::parse(pod.as_str()).as_ref(), Some(pod));
            assert!(text.replace('_', "-").contains(pod.as_str()), "{pod} is not in {text:?}");
            container.iter().for_each(in_text);
        }
        Owner::Container { container } => in_text(container),
        Owner::Foreign | Owner::Unknown { .. } => {}
    }
    // Below `user.slice` anybody can make a group of any name.
    let user = format!("0::/user.slice/{}", text.replace('\n', ""));
    assert_eq!(owner(&user), Owner::Foreign, "{user:?}");
    Ok(())
}

/// A path as a kubelet makes it, in a group above that means nothing, with whatever the container has made inside.
fn kubelets(from: &mut Unstructured<'_>) -> Result<()> {
    let above = from.choose(&["", "/system.slice", "/kubelet", "/..", "/a/b"])?;
    let quality = from.choose(&["", "burstable", "besteffort"])?;
    let runtime = from.choose(&["cri-containerd", "crio", "docker"])?;
    let systemd = from.ratio(1, 2)?;
    let inside = super::text(from, &PARTS)?.replace('\n', "");
    let pod = match (systemd, quality.is_empty()) {
        (true, true) => format!("kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_")),
        (true, false) => format!(
            "kubepods.slice/kubepods-{quality}.slice/kubepods-{quality}-pod{}.slice",
            UID.replace('-', "_")
        ),
        (false, true) => format!("kubepods/pod{UID}"),
        (false, false) => format!("kubepods/{quality}/pod{UID}"),
    };
    let container = if systemd { format!("{runtime}-{ID}.scope") } else { ID.to_owned() };
    let line = from.choose(&["0::", "7:memory:", "12:cpu,cpuacct:"])?;
    let before = from.choose(&["", "3:pids:/\n", "1:name=systemd:/init.scope\n", "no line\n"])?;
    let inner = format!("{inside}/{OTHER_ID}");
    let text = format!("{before}{line}{above}/{pod}/{container}/{inner}\n");
    let expected = Owner::Pod { pod: PodUid::parse(UID).expect("a uid"), container: ContainerId::parse(ID) };
    assert_eq!(owner(&text), expected, "{text:?}");
    Ok(())
}
