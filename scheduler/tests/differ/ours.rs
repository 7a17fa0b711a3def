//! Berth's side, as in production: objects -> mirror -> events -> engine -> decisions -> actions. Only the requests and the
//! clock are missing.

use crate::case::{Key, What};
use berth_cluster::change::Name;
use berth_cluster::mirror::Settings;
use berth_cluster::{Action, Change, Mirror, Object, Outcome};
use berth_engine::Engine;
use berth_model::{Budget, Event, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Something else than the truth, which Berth is told instead.
pub(crate) type Lie = fn(What, &mut Value);

/// When a case begins, and when all of its pods are created. Hardly any time goes by: nobody has waited long.
pub(crate) const BEGINNING: &str = "2026-01-01T00:00:00Z";
const BEGINNING_MS: i64 = 1_767_225_600_000;

/// Berth is told what is so.
pub(crate) fn truthful(_: What, _: &mut Value) {}

/// Berth never hears of taints.
pub(crate) fn without_taints(what: What, object: &mut Value) {
    if what == What::Node {
        object["spec"]["taints"] = json!([]);
    }
}

/// Mirror and engine.
pub(crate) struct Ours {
    mirror: Mirror,
    engine: Engine,
    now: Timestamp,
    lie: Lie,
}

fn read<T: DeserializeOwned>(value: Value) -> Box<T> {
    let text = value.to_string();
    Box::new(serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn object(what: What, value: Value) -> Option<Object> {
    Some(match what {
        What::Namespace => Object::Namespace(read(value)),
        What::PriorityClass => Object::PriorityClass(read(value)),
        What::RuntimeClass => return None,
        What::StorageClass => Object::StorageClass(read(value)),
        What::CsiNode => Object::CsiNode(read(value)),
        What::Node => Object::Node(read(value)),
        What::Volume => Object::Volume(read(value)),
        What::Claim => Object::Claim(read(value)),
        What::Pod => Object::Pod(read(value)),
    })
}

impl Ours {
    pub(crate) fn new(lie: Lie) -> Self {
        let mirror = Mirror::new(Settings::default());
        let engine = Engine::new(berth_engine::Settings::default());
        Self { mirror, engine, now: Timestamp(BEGINNING_MS), lie }
    }

    /// An object is as the API server says.
    pub(crate) fn set(&mut self, what: What, value: &Value) {
        let mut value = value.clone();
        (self.lie)(what, &mut value);
        if let Some(object) = object(what, value) {
            self.mirror.apply(Change::Set(object), self.now);
        }
    }

    /// An object is gone.
    pub(crate) fn gone(&mut self, key: &Key) {
        if let Some(kind) = key.0.kind() {
            self.mirror.apply(Change::Gone(kind, Name::new(&key.1, &key.2), None), self.now);
        }
    }

    /// What became of an action.
    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        self.mirror.apply(Change::Outcome(outcome), self.now);
    }

    /// What is to be done now.
    pub(crate) fn round(&mut self) -> Vec<Action> {
        self.tell();
        self.now = Timestamp(self.now.0 + 1);
        let decisions = self.engine.decide(self.now, Budget::UNLIMITED);
        self.mirror.carry_out(&decisions, self.now)
    }

    /// Brings the engine to what is seen; what it refuses is told otherwise.
    fn tell(&mut self) {
        for _ in 0..3 {
            let events = self.mirror.events(self.now);
            let mut refused = false;
            for event in events {
                let Err(error) = self.engine.apply(event.clone()) else { continue };
                assert!(matches!(event, Event::PodRunning(_)), "{error}: {event:?}");
                self.mirror.refused(&event, &error);
                refused = true;
            }
            if !refused {
                return;
            }
        }
    }
}
