//! Which replica is talked to, and what one that is slow or gone does to the agent.

use super::*;
use nvml_fake::script::ErrorCode;
use tokio::io::AsyncReadExt;

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_heard_and_a_new_leader_hears_everything() {
    let mut script = sound(2);
    used(&mut script, 700);
    let machine = Machine::new(script.clone());
    let first = Replica::start("127.0.0.1:0", true, Settings::default(), Word);
    let address = first.address.clone();
    let running = agent(&machine, scheduler(&machine, &address, "word")).await;
    first.until(foreign(700)).await;
    used(&mut script, 900);
    script.devices[1].state = Some(ErrorCode::GpuIsLost);
    machine.set(&script);
    let lost = |event: &Event| {
        matches!(event, Event::DeviceHealth { device: DeviceIndex(1), health: DeviceHealth::Lost, .. })
    };
    let heard = first.until(lost).await;
    let all = if heard.iter().any(foreign(900)) { heard } else { first.until(foreign(900)).await };
    assert!(all.iter().any(foreign(900)), "what is known of the other goes on");

    // The leader dies. Another one takes its place, and is told all of it.
    drop(first);
    let second = Replica::start(&address, true, Settings::default(), Word);
    second.until(lost).await;
    // Streams are ended now and then, for the token's sake; nobody notices.
    drop(second);
    let young = Settings { age_max: Duration::from_millis(100), ..Settings::default() };
    let third = Replica::start(&address, true, young, Word);
    third.until(foreign(900)).await;
    used(&mut script, 100);
    machine.set(&script);
    third.until(foreign(100)).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_lead_hears_nothing_until_it_does() {
    let mut script = sound(1);
    used(&mut script, 700);
    let machine = Machine::new(script);
    let standby = Replica::start("127.0.0.1:0", false, Settings::default(), Word);
    let running = agent(&machine, scheduler(&machine, &standby.address, "word")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(standby.board.lock().events(&Model, Timestamp(0)), []);
    standby.leading.send_replace(Leading::Always);
    standby.until(foreign(700)).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_know_the_word_is_not_heard() {
    let mut script = sound(1);
    used(&mut script, 700);
    let machine = Machine::new(script);
    let replica = Replica::start("127.0.0.1:0", true, Settings::default(), Word);
    let running = agent(&machine, scheduler(&machine, &replica.address, "guess")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(replica.board.lock().events(&Model, Timestamp(0)), []);
    // The token is renewed, and read anew.
    std::fs::write(machine.folder().join("token"), "word\n").unwrap();
    replica.until(foreign(700)).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_does_not_read_holds_nobody_up() {
    let machine = Machine::new(sound(8));
    // Connections are accepted, and then nothing is said.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stuck = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 24];
            stream.read_exact(&mut some).await.unwrap();
            held.push(stream);
        }
    });
    let running = agent(&machine, scheduler(&machine, &address, "word")).await;
    let begun = Instant::now();
    while ticks(&running) < 20 {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stuck.abort();
    drop(running);
}
