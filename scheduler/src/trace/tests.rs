//! Spans on their way to a collector, and none where nobody wants them.

#[path = "../../cluster/tests/live/otlp.rs"]
mod otlp;

use super::*;
use crate::config::Tracing;
use berth_cluster::{Bind, PodRef};
use otlp::{Collected, Collector};
use tracing_subscriber::layer::SubscriberExt;

fn bind() -> Bind {
    let pod = PodRef { namespace: "team".into(), name: "train-0".into(), uid: "u".into() };
    Bind {
        pod,
        node: "n0".into(),
        allocation: None,
        claims: Vec::new(),
        open: Vec::new(),
        trace: Trace::default(),
    }
}

fn spans() {
    let cycle = cycle(true).entered();
    let bind = Trace::bind("team/train", &bind());
    decisions(&[], &Mirror::new(berth_cluster::mirror::Settings::default()));
    drop(cycle);
    drop(bind);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_come_to_the_collector_with_what_they_are_about_and_logs_do_not() {
    let collector = Collector::start().await;
    let config = Tracing { endpoint: Some(collector.endpoint()), ..Tracing::default() };
    let exporter = Exporter::start(&config, "me").expect("it starts").expect("it is on");
    let subscriber = tracing_subscriber::registry().with(exporter.layer());
    tracing::subscriber::with_default(subscriber, || {
        spans();
        let _other = tracing::error_span!("other").entered();
        tracing::error!("a line");
    });
    tokio::task::spawn_blocking(|| exporter.end()).await.expect("no panic");
    let seen = collector.spans();
    let named = |name: &str| -> &Collected {
        let mut all = seen.iter().filter(|span| span.name == name);
        all.next().unwrap_or_else(|| panic!("no {name}: {seen:?}"))
    };
    assert_eq!(seen.len(), 2, "{seen:?}");
    let (cycle, bind) = (named("cycle"), named("bind"));
    assert_eq!((&bind.parent, &bind.trace), (&cycle.id, &cycle.trace));
    assert_eq!(cycle.attributes["berth.decisions"], "0");
    assert!(bind.took > 0 && !bind.failed, "{bind:?}");
    let about = [
        ("berth.workload", "team/train"),
        ("k8s.namespace.name", "team"),
        ("k8s.node.name", "n0"),
        ("k8s.pod.name", "train-0"),
        ("k8s.pod.uid", "u"),
    ];
    let said: Vec<_> = bind.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(said, about);
    assert_eq!(
        (&*bind.resource["service.name"], &*bind.resource["service.instance.id"]),
        ("berth-scheduler", "me")
    );
}

#[test]
fn where_nobody_wants_spans_none_is_made() {
    assert!(Exporter::start(&Tracing::default(), "me").expect("it is understood").is_none());
    let filter = tracing_subscriber::EnvFilter::new("info");
    let subscriber = tracing_subscriber::registry().with(filter).with(tracing_subscriber::fmt::layer());
    tracing::subscriber::with_default(subscriber, || {
        assert!(!wanted() && cycle(true).is_disabled());
        let mut actions = vec![Action::Bind(vec![bind()])];
        binds(&mut actions, &Mirror::new(berth_cluster::mirror::Settings::default()));
        let Action::Bind(all) = &actions[0] else { panic!("no bind") };
        assert!(format!("{:?}", all[0].trace).contains("none"), "{:?}", all[0].trace);
    });
}
