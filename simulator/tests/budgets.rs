//! Disruption budgets in scenarios (S20): how they are counted, and that no more pods are evicted than they allow.

use berth_engine::Settings;
use berth_sim::checked::Checked;
use berth_sim::input::scenario;
use berth_sim::outcome::Outcome;
use berth_sim::world::{Options, World};

/// Four pods of one application on four devices of a project without quota, and three workloads of another project that
/// take back one device each, a minute apart.
fn run(keeps: &str) -> Outcome {
    let source = format!(
        "nodes: [{{name: n, cpu: 16, memory: 64Gi, gpus: {{count: 4, memory: 16Gi}}}}]\n\
         projects: [{{name: p}}, {{name: q, quota: {{default: {{gpu: 4}}}}}}]\n\
         budgets: [{{name: b, project: p, selector: {{matchLabels: {{app: web}}}}, {keeps}}}]\n\
         workloads:\n\
         - {{name: web, project: p, roles: [{{count: 4, min: 0, gpus: 1, labels: {{app: web}}}}]}}\n\
         - {{name: a, project: q, submitted: 1m, roles: [{{gpus: 1}}]}}\n\
         - {{name: b, project: q, submitted: 2m, roles: [{{gpus: 1}}]}}\n\
         - {{name: c, project: q, submitted: 3m, roles: [{{gpus: 1}}]}}\n\
         until: 10m\n"
    );
    let case = scenario::parse("budgets", &source).unwrap_or_else(|error| panic!("{error}"));
    let mut checked = Checked::new(&Settings::default());
    let mut world =
        World::new(&case, Options { witnesses: vec![&mut checked], ..Options::default() }).unwrap();
    world.run().unwrap();
    let outcome = world.outcome();
    assert_eq!(checked.into_violations(), Vec::<String>::new());
    outcome
}

#[test]
fn no_more_are_evicted_than_the_budget_allows() {
    let evictions = |keeps| run(keeps).totals.evictions;
    assert_eq!(evictions("minAvailable: 0"), 3);
    assert_eq!(evictions("minAvailable: 2"), 2);
    assert_eq!(evictions("maxUnavailable: 1"), 1);
    // A half of four must run; of 51 %, rounded up, three.
    assert_eq!(evictions("minAvailable: 50%"), 2);
    assert_eq!(evictions("minAvailable: 51%"), 1);
    assert_eq!(evictions("maxUnavailable: 0%"), 0);
}

#[test]
fn a_budget_says_what_it_keeps() {
    let error = |keeps: &str| {
        let source =
            format!("projects: [{{name: p}}]\nnodes: []\nbudgets: [{{name: b, selector: {{}}, {keeps}}}]\n");
        scenario::parse("budgets", &source).expect_err("it should be refused").to_string()
    };
    assert!(error("minAvailable: 1, maxUnavailable: 1").contains("exactly one of"));
    assert!(error("minAvailable: 101%").contains("0% to 100%"));
    assert!(error("minAvailable: -1").contains("-1"));
}
