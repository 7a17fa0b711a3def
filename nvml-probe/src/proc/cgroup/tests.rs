//! Recorded paths of the layouts in use, and ones made to deceive.

use super::*;

const UID: &str = "f2974d47-3a3a-4b36-9d9e-0d3f27a51d10";
const ID: &str = "8a1d2ef70e2a2c40b1f0a0e5ecb7de1d0c6e3f6a4b8d9c7e5f3a1b2c4d6e8f90";

fn pod(container: bool) -> Owner {
    Owner::Pod { pod: PodUid(UID.into()), container: container.then(|| ContainerId(ID.into())) }
}

fn container() -> Owner {
    Owner::Container { container: ContainerId(ID.into()) }
}

/// `{u}` stands for the uid, `{s}` for the uid as slices write it, `{c}` for the container's id.
fn check(text: &str, expected: Owner) {
    let text = text.replace("{u}", UID).replace("{s}", &UID.replace('-', "_")).replace("{c}", ID);
    assert_eq!(owner(&text), expected, "{text}");
}

#[test]
fn version_2() {
    check("0::/kubepods/burstable/pod{u}/{c}\n", pod(true));
    check("0::/kubepods/pod{u}/{c}\n", pod(true));
    check("0::/kubepods/besteffort/pod{u}/crio-{c}\n", pod(true));
    check(
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{s}.slice/cri-containerd-{c}.scope\n",
        pod(true),
    );
    check("0::/kubepods.slice/kubepods-pod{s}.slice/crio-{c}.scope\n", pod(true));
    check("0::/kubepods.slice/kubepods-pod{s}.slice/crio-{c}.scope/container\n", pod(true));
    check(
        "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{s}.slice/docker-{c}.scope",
        pod(true),
    );
    check("0::/kubepods.slice/kubepods-pod{s}.slice/crio-conmon-{c}.scope", pod(true));
}

#[test]
fn version_1_and_both() {
    check(
        "12:pids:/kubepods/burstable/pod{u}/{c}\n4:memory:/kubepods/burstable/pod{u}/{c}\n\
         1:name=systemd:/kubepods/burstable/pod{u}/{c}\n",
        pod(true),
    );
    check("11:cpu,cpuacct:/kubepods.slice/kubepods-pod{s}.slice/docker-{c}.scope\n0::/\n", pod(true));
    // Only one hierarchy has the kubelet's groups.
    check("5:devices:/\n4:memory:/kubepods/pod{u}/{c}\n0::/system.slice/containerd.service\n", pod(true));
    // A pod in any line goes before a container in another.
    check("5:devices:/docker/{c}\n4:memory:/kubepods/pod{u}\n", pod(false));
}

#[test]
fn containerd_with_names_of_slices_but_without_systemd() {
    check(
        "0::/system.slice/containerd.service/kubepods-burstable-pod{s}.slice:cri-containerd:{c}\n",
        pod(true),
    );
    check("0::/kubepods-pod{s}.slice:cri-containerd:{c}", pod(true));
}

#[test]
fn below_another_root() {
    check(
        "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{s}.slice/cri-containerd-{c}.scope",
        pod(true),
    );
    let kind = "/docker/1b1d2ef70e2a2c40b1f0a0e5ecb7de1d0c6e3f6a4b8d9c7e5f3a1b2c4d6e8f90/kubelet/kubepods";
    check(&format!("0::{kind}/burstable/pod{{u}}/{{c}}"), pod(true));
}

#[test]
fn from_a_cgroup_namespace() {
    check("0::/../../pod{u}/{c}", pod(true));
    check("0::/../../kubepods-burstable-pod{s}.slice/cri-containerd-{c}.scope", pod(true));
    check("0::/../cri-containerd-{c}.scope", container());
    check("0::/../../user.slice/user-0.slice", Owner::Foreign);
}

#[test]
fn static_pods_and_pods_own_groups() {
    let hash = "3f2a1b4c5d6e7f8091a2b3c4d5e6f708";
    let expected = Owner::Pod { pod: PodUid(hash.into()), container: Some(ContainerId(ID.into())) };
    check(
        &format!(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/crio-{{c}}.scope"
        ),
        expected,
    );
    check("0::/kubepods/burstable/pod{u}", pod(false));
    check("0::/kubepods/burstable/pod{u}/init.scope", pod(false));
    check("0::/kubepods/burstable/pod{u}/{c} (deleted)", pod(true));
}

#[test]
fn containers_without_a_pod_in_the_path() {
    check("0::/k8s.io/{c}\n", container());
    check("0::/docker/{c}\n", container());
    check("0::/system.slice/docker-{c}.scope\n", container());
    check("0::/machine.slice/libpod-{c}.scope/container\n", container());
}

#[test]
fn foreign() {
    check("0::/\n", Owner::Foreign);
    check("0::/system.slice/ssh.service\n", Owner::Foreign);
    check("0::/init.scope\n", Owner::Foreign);
    check("0::/kubepods/burstable\n", Owner::Foreign);
    check("0::/kubepods/burstable/podcast/{c}x\n", Owner::Foreign);
    // A uid of the wrong shape, in upper case, or with too much.
    check("0::/kubepods/podF2974D47-3a3a-4b36-9d9e-0d3f27a51d10\n", Owner::Foreign);
    check("0::/kubepods/pod{u}0\n", Owner::Foreign);
    check("0::/kubepods.slice/kubepods-xpod{s}.slice\n", Owner::Foreign);
}

#[test]
fn nothing_inside_a_container_deceives() {
    let other = "00000000-0000-4000-8000-000000000000";
    check(&format!("0::/kubepods/pod{{u}}/{{c}}/kubepods/pod{other}/x"), pod(true));
    check(
        &format!("0::/docker/{{c}}/kubepods/pod{other}"),
        Owner::Pod { pod: PodUid(other.into()), container: None },
    );
    // Any user can make groups below their own slice.
    check(
        "0::/user.slice/user-1000.slice/user@1000.service/kubepods.slice/kubepods-pod{s}.slice/x.scope",
        Owner::Foreign,
    );
}

#[test]
fn bad_text_is_unknown_and_breaks_nothing() {
    for text in ["", "\n", "nonsense", "0:", "x::/kubepods", ":::"] {
        assert!(matches!(owner(text), Owner::Unknown { .. }), "{text:?}");
    }
    check("0::/kubepods/pod\u{e4}\u{2028}/{c}", container());
    check("0::/-.slice/:/pod.slice/pod:/", Owner::Foreign);
}

#[test]
fn this_process_has_an_owner() {
    let owner = super::super::ProcFs::new("/proc").owner(crate::Pid(std::process::id()));
    assert!(!matches!(owner, Owner::Unknown { .. }), "{owner:?}");
}
