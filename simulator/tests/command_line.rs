//! What the command prints, and its exit codes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compares with the stored text; what was evaluated is not stored with it.
macro_rules! snapshot {
    ($($argument:expr),+) => {
        insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!($($argument),+) })
    };
}

/// Runs `berth-sim` in the folder of test cases; returns exit code, standard output and standard error.
fn berth_sim(arguments: &[&str]) -> String {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let command = Command::new(env!("CARGO_BIN_EXE_berth-sim"))
        .args(arguments)
        .current_dir(cases)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(command.stdout).unwrap(), String::from_utf8(command.stderr).unwrap());
    format!("exit code {}\n--- out\n{out}--- err\n{err}", command.status.code().unwrap())
}

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("berth-sim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn help_names_the_commands() {
    snapshot!(berth_sim(&["--help"]));
}

#[test]
fn a_scenario_that_holds() {
    snapshot!(berth_sim(&["scenario", "lives.yaml"]));
}

#[test]
fn a_scenario_that_fails() {
    snapshot!(berth_sim(&["scenario", "--quiet", "fails.yaml", "lives.yaml"]));
}

#[test]
fn a_scenario_that_fails_as_json() {
    snapshot!(berth_sim(&["scenario", "--json", "fails.yaml"]));
}

#[test]
fn what_differs_by_rule_neither_passes_nor_fails() {
    let folder = Folder::new("differs");
    let list = folder.file("list.yaml");
    let entry =
        |scenario| format!("- {{scenario: cases/{scenario}, rule: S20, why: The rule says otherwise.}}\n");
    std::fs::write(&list, entry("fails")).unwrap();
    snapshot!("differs", berth_sim(&["scenario", "--differs", &list, "-q", "fails.yaml", "lives.yaml"]));
    std::fs::write(&list, entry("lives")).unwrap();
    snapshot!("differs-and-holds", berth_sim(&["scenario", "--differs", &list, "-q", "lives.yaml"]));
    std::fs::write(&list, entry("lives").replace("S20", "20")).unwrap();
    let said = berth_sim(&["scenario", "--differs", &list, "lives.yaml"]);
    snapshot!("differs-bad", said.replace(&list, "LIST"));
}

#[test]
fn bad_input_is_said_and_nothing_is_run() {
    let folder = Folder::new("bad");
    let (bad, twice) = (folder.file("bad.yaml"), folder.file("bad.yml"));
    std::fs::write(&bad, "name: x\nnodes:\n- {name: a, cpu: 1, memory: 1Gi, gpu: 8}\n").unwrap();
    std::fs::write(&twice, b"name: \xff\n").unwrap();
    let said = berth_sim(&["scenario", "lives.yaml", &folder.file(""), "missing.yaml"]);
    snapshot!(said.replace(&folder.file(""), "FOLDER/"));
}

#[test]
fn bad_flags_are_said() {
    for (name, arguments) in [
        ("strategy", ["run", "--strategy", "best"].as_slice()),
        ("load", &["run", "--synthetic", "--load", "-1"]),
        ("shares", &["run", "--synthetic", "--fractions", "0.9", "--gangs", "0.2"]),
        ("two-inputs", &["run", "--scenario", "lives.yaml", "--synthetic"]),
        ("no-pods", &["run", "--nodes", "n.csv"]),
    ] {
        snapshot!(name, berth_sim(arguments));
    }
}

#[test]
fn the_bundled_example_runs_and_breaks_no_rule() {
    let said = berth_sim(&["run", "--check"]);
    assert!(said.starts_with("exit code 0\n"), "{said}");
    assert!(said.contains("no violation"), "{said}");
}

#[test]
fn a_recorded_run_is_replayed_to_the_same_decisions() {
    let folder = Folder::new("replay");
    let log = folder.file("run.log");
    let run =
        berth_sim(&["run", "--scenario", "lives.yaml", "--record", &log, "--json", &folder.file("o.json")]);
    assert!(run.starts_with("exit code 0\n"), "{run}");
    snapshot!("replay-same", berth_sim(&["replay", &log]));
    snapshot!("replay-spread", berth_sim(&["replay", &log, "--strategy", "spread"]));

    let text = std::fs::read_to_string(&log).unwrap();
    let (place, other) =
        (r#"{"place":{"pod":{"workload":0,"role":0,"index":0},"at":{"node":0"#, r#""node":1"#);
    assert!(text.contains(place), "{text}");
    std::fs::write(&log, text.replacen(place, &place.replace(r#""node":0"#, other), 1)).unwrap();
    let said = berth_sim(&["replay", &log]).replace(&log, "LOG");
    snapshot!("replay-different", said);

    std::fs::write(&log, "{\"berthLog\":1,\"name\":\"x\",\"foreignAllowance\":512}\n{\"decided\":1}\n")
        .unwrap();
    snapshot!("replay-bad", berth_sim(&["replay", &log]).replace(&log, "LOG"));
}

const BIG: &str = "{name: big, project: language, runtime: 2h, \
    roles: [{name: w, count: 2, gpus: 8, cpu: 96, memory: 768Gi}]}";

#[test]
fn what_if_says_the_same_of_a_run_and_of_its_log() {
    let folder = Folder::new("what-if");
    let log = folder.file("run.log");
    let run = berth_sim(&["run", "--record", &log, "--json", &folder.file("o.json")]);
    assert!(run.starts_with("exit code 0\n"), "{run}");
    let submit = ["--at", "13h", "--submit", BIG];
    let said = berth_sim(&[["what-if"].as_slice(), &submit].concat());
    snapshot!("what-if-submit", said);
    assert_eq!(berth_sim(&[["what-if", "--log", &log].as_slice(), &submit].concat()), said);
    let change = [
        "--at",
        "12h",
        "--json",
        "--remove-node",
        "h-2",
        "--quota",
        "{project: data, pool: a100, gpuLimit: 32}",
    ];
    let said = berth_sim(&[["what-if"].as_slice(), &change].concat());
    snapshot!("what-if-change", said);
    assert_eq!(berth_sim(&[["what-if", "--log", &log].as_slice(), &change].concat()), said);
    let early = berth_sim(&["what-if", "--log", &log, "--at", "0s", "--remove-node", "h-2"]);
    assert!(early.starts_with("exit code 0\n"), "{early}");
    let end = berth_sim(&["what-if", "--log", &log, "--remove-node", "h-2", "--horizon", "settled"]);
    assert!(end.starts_with("exit code 0\n"), "{end}");
}

#[test]
fn bad_what_ifs_are_said() {
    let cases: &[&[&str]] = &[
        &["what-if"],
        &["what-if", "--at", "25h", "--remove-node", "a-0"],
        &["what-if", "--at", "1h", "--remove-node", "b-0"],
        &["what-if", "--horizon", "soon", "--remove-node", "a-0"],
        &["what-if", "--at", "1h", "--submit", "{name: x, project: nobody, roles: [{gpus: 1}]}"],
        &["what-if", "--at", "1h", "--submit", "{name: x, submitted: 1h, roles: [{gpus: 1}]}"],
        &["what-if", "--at", "1h", "--submit", "{name: chat-01, roles: [{gpus: 1}]}"],
        &["what-if", "--at", "1h", "--submit", "{name: x, roles: [{gpus: 1, running: [{node: a-0}]}]}"],
        &["what-if", "--at", "1h", "--submit", "missing.yaml"],
        &["what-if", "--at", "1h", "--add-nodes", "{name: a-0, cpu: 1, memory: 1Gi}"],
        &["what-if", "--at", "1h", "--quota", "{project: data, pool: a100, gpu: -1}"],
        &["what-if", "--at", "1h", "--quota", "{pool: a100, gpu: 1}"],
        &["what-if", "--log", "fails.yaml", "--remove-node", "a-0"],
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|arguments| {
            let said = berth_sim(arguments);
            let (code, err) = said.split_once("\n--- out\n--- err\n").expect("nothing is printed");
            format!("{}\n{code}: {err}", arguments[1..].join(" "))
        })
        .collect();
    snapshot!(said.join("\n"));
}

#[test]
fn the_first_days_of_the_week_break_no_rule() {
    let folder = Folder::new("week");
    let week = include_str!("../examples/week.yaml");
    let days = |days: u32| {
        let file = folder.file(&format!("week-{days}.yaml"));
        std::fs::write(&file, format!("{week}days: {days}\n")).unwrap();
        file
    };
    let said = berth_sim(&["run", "--streams", &days(2), "--check"]);
    assert!(said.starts_with("exit code 0\n"), "{said}");
    assert!(said.contains("no violation"), "{said}");
    let day = days(1);
    let [one, two] =
        ["1", "2"].map(|seed| berth_sim(&["run", "--streams", &day, "--load", "0.1", "--seed", seed]));
    assert_ne!(one, two);
    snapshot!("seed-for-nothing", berth_sim(&["run", "--scenario", "lives.yaml", "--seed", "1"]));
}

#[test]
fn a_trace_and_a_generated_load_run_the_same_every_time() {
    let folder = Folder::new("same");
    let (nodes, pods) = (folder.file("nodes.csv"), folder.file("pods.csv"));
    std::fs::write(&nodes, "sn,cpu_milli,memory_mib,gpu,model\na,8000,8192,2,T4\nb,8000,8192,2,V100\n")
        .unwrap();
    let mut lines = String::from("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n");
    for pod in 0..20 {
        lines.push_str(&format!("p{pod},500,256,1,{},{}\n", 100 * (1 + pod % 10), ["", "T4"][pod % 2]));
    }
    std::fs::write(&pods, lines).unwrap();
    let trace = ["run", "--nodes", &nodes, "--pods", &pods, "--check"];
    let generated = ["run", "--synthetic", "--jobs", "500", "--node-count", "20", "--check"];
    for arguments in [trace.as_slice(), &generated] {
        let said = berth_sim(arguments);
        assert!(said.starts_with("exit code 0\n"), "{said}");
        assert_eq!(said, berth_sim(arguments));
    }
}
