//! Cases as text: a few words build a cluster, let things happen and say what is decided then.
//!
//! A case is a name in brackets and lines below it. Words of a line are `key=value` or flags. Before the first line there
//! are the pool `default`, department `d` and project `p`, both without bounds. Times are in seconds; a cycle is one
//! second after the one before it.
//!
//! ```text
//! pool NAME [label=KEY:VALUE] [gpu=spread] [cpu=spread] [device=spread] [min-runtime=0] [stale=60] [still] [moves=16]
//!         [over=report]
//! department NAME [rank=100] [created=0]
//! project NAME [in=d] [rank=100] [created=0] [pools=a,b] [types=KEY:V1,V2] [hold-after=86400]
//! quota QUEUE [pool=default] [gpu=2] [gpu-limit=4] [cpu=8] [cpu-limit=8] [mem=4] [weight=1]   (devices, cores, GiB)
//! node n0 [cpu=8] [mem=32] [pods=110] [gpus=2x1000+2000] [links=0,0,1] [KEY:VALUE labels] [taint=KEY:EFFECT]
//!         [nic=1] [attach=1] [notready] [cordoned]
//! gone n0     condition n0 [notready] [cordoned]     health n0 GPU STATE     foreign n0 GPU MIB
//! workload w0 [project=p|none] [priority=50] [fixed] [at=0] [pools=a,b] [type=V] [topology=KEY] [topology!=KEY]
//!             [grace=0] [stale=60] [stale-since=0] [runtime=60] [start=60] ROLE
//! role ROLE: [n=1] [min=n] [cpu=1] [mem=1] [disk=1] [nic=1] [gpus=1] [share=0.25] [mib=100] [devices=1] [limit=...]
//!            [app=x] [pod={...}]       `role` on a line of its own adds one to the workload above
//! remove w0   running w0/0/0 n0 [gpus=0,1] [each=500] [since=-60] [starting]   leaving w0/0/0 [until=31]
//! ended w0/0/0 OUTCOME   bindfailed w0/0/0 n0   evictfailed w0/0/0   memory w0/0/0 GPU MIB
//! reserved w0/0/0 n0 [gpus=0,1] [each=500] [until=0]
//! budget b0 [namespace=p] [app=x] [nobody] [allowed=0]   nobudget b0   evictions from=600
//! decide [steps=1] [after=1]     then what is decided, exactly this in this order:
//!                        `> place ...`, `> evict ...`, `> reserve ...`, `> release ...`, `> warn ...`, `> report ...`
//! fair QUEUE [pool=default]      then `> gpu ... cpu ... mem ...`: its fair share
//! explain w0             then `> reason ...`, `> change ...`, `> next ...` as far as there are any
//! refused LINE           then `> ` and the error
//! ```

mod objects;
mod show;
mod subject;
mod words;

use berth_model::{
    Budget, DepartmentSpec, Event, PoolId, PoolSpec, ProjectSpec, QueueQuota, Timestamp, WorkloadSpec,
};
pub(crate) use subject::{Subject, engine, reference};
use words::Words;

/// All cases of some files: name and lines.
pub(crate) fn read_all(files: &[&str]) -> Vec<(String, String)> {
    let mut cases: Vec<(String, String)> = Vec::new();
    for line in files.iter().flat_map(|text| text.lines()).map(str::trim_end) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => cases.push((name.to_owned(), String::new())),
            None if line.is_empty() || line.starts_with('#') => {}
            None => {
                let (_, lines) = cases.last_mut().expect("a name in brackets first");
                lines.push_str(line);
                lines.push('\n');
            }
        }
    }
    cases
}

/// Runs a case and gives it back with what really comes out in place of what it expects.
pub(crate) fn run(case: &str, subject: Box<dyn Subject>) -> String {
    let mut stage = Stage::new(subject);
    let mut out = String::new();
    let mut lines = case.lines().filter(|line| !line.starts_with('>')).peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let mut roles = Vec::new();
        while let Some(role) = lines.next_if(|line| line.trim_start().starts_with("role")) {
            out.push_str(role);
            out.push('\n');
            roles.push(role);
        }
        for said in stage.line(line, &roles) {
            out.push_str(&format!("> {said}\n"));
        }
    }
    out
}

/// Somebody who decides, and what was said to it.
struct Stage {
    subject: Box<dyn Subject>,
    now: i64,
    pools: Vec<PoolSpec>,
    departments: Vec<DepartmentSpec>,
    projects: Vec<ProjectSpec>,
    workloads: Vec<WorkloadSpec>,
}

impl Stage {
    fn new(subject: Box<dyn Subject>) -> Self {
        let mut stage = Self {
            subject,
            now: 0,
            pools: Vec::new(),
            departments: Vec::new(),
            projects: Vec::new(),
            workloads: Vec::new(),
        };
        for line in ["pool default", "department d", "project p in=d"] {
            stage.line(line, &[]);
        }
        for queue in ["d", "p"] {
            let quota = QueueQuota::unlimited();
            stage.tell(Event::QuotaSet { queue: stage.queue(queue), pool: PoolId(0), quota });
        }
        stage
    }

    fn tell(&mut self, event: Event) {
        self.subject.apply(event.clone()).unwrap_or_else(|error| panic!("{error}: {event:?}"));
    }

    /// Does what a line says; what comes out.
    fn line(&mut self, line: &str, roles: &[&str]) -> Vec<String> {
        let words = Words::new(line);
        match words.verb {
            "decide" => {
                self.now += words.number("after", 1) * 1000;
                let budget = words
                    .get("steps")
                    .map_or(Budget::UNLIMITED, |steps| Budget { steps: words.int(steps) as u64 });
                self.subject.decide(Timestamp(self.now), budget)
            }
            "fair" => {
                let pool = self.pool(words.get("pool").unwrap_or("default"));
                vec![show::amounts(self.subject.fair_share(self.queue(words.args[0]), pool))]
            }
            "explain" => {
                let explanation = self.subject.explain(words.workload_id(words.args[0]));
                show::explanation(&explanation.expect("a workload"))
            }
            "refused" => {
                let rest = line.trim_start().strip_prefix("refused").expect("the verb");
                let event = self.event(&Words::new(rest), roles);
                vec![self.subject.apply(event).expect_err("it should be refused")]
            }
            _ => {
                let event = self.event(&words, roles);
                self.tell(event);
                Vec::new()
            }
        }
    }
}
