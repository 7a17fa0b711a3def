//! Answers that are lost, and an API server that dies.

use crate::proxy::{Fault, Proxy};
use crate::world::{A_WHILE, World, ours};
use berth_testbed::{Component, Options};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_whose_answer_is_lost_is_looked_at_and_never_doubled() {
    let world = World::start(Options::new()).await;
    world.nodes(4, 8).await;
    let faults = [Fault::None, Fault::AnswerLost, Fault::RequestLost, Fault::AnswerNever];
    let proxy = Proxy::start(world.client.clone(), &faults).await;
    let change = json!({ "kubeconfig": proxy.kubeconfig(), "bind": { "timeoutSeconds": 2 } });
    let scheduler = world.scheduler("only", change);
    scheduler.ready().await;
    world.create(&ours("pod", 1), 32).await;
    world.bound("pod", 32).await;
    tokio::time::sleep(A_WHILE).await;
    world.nothing_is_promised_twice(8).await;
    let seen = proxy.asked();
    assert_eq!(seen.len(), 32, "{seen:?}");
    for (pod, requests) in &seen {
        // One that never arrived is sent again; one that did is not.
        let arrived = requests.iter().filter(|(_, fault)| *fault != Fault::RequestLost).count();
        assert_eq!(arrived, 1, "{pod}: {requests:?}");
        assert!(requests.iter().all(|(node, _)| *node == requests[0].0), "{pod}: {requests:?}");
    }
    let faulty = seen.values().flatten().filter(|(_, fault)| *fault != Fault::None).count();
    assert!(faulty >= 20, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_killed_in_the_middle_loses_nothing() {
    let world = World::start(Options::new()).await;
    world.nodes(8, 8).await;
    let mut scheduler = world.scheduler("only", json!({}));
    scheduler.ready().await;
    scheduler.may_be_denied = true;
    world.create(&ours("first", 1), 32).await;
    world.testbed.kill(Component::ApiServer).expect("it is killed");
    world.testbed.start_again(Component::ApiServer).await.expect("it comes back");
    world.create(&ours("second", 1), 32).await;
    world.bound("first", 32).await;
    world.bound("second", 32).await;
    world.nothing_is_promised_twice(8).await;
    assert!(scheduler.stop(), "it ends in order");
}
