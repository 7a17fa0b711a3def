//! A case with a difference -> a small one with a difference.
//!
//! First the cluster as it was just before is tried alone: if the difference is there too, what led to it does not matter,
//! and there is less to make smaller. Then steps are left out, many at a time and fewer and fewer; then parts of the objects that
//! are left.

use crate::case::{Case, Step};
use crate::ours::Lie;
use crate::real::Real;
use crate::run::{Difference, End, Run, Tally, Verdict};
use serde_json::Value;

/// The most runs that making small may take.
const RUNS_MAX: u32 = 250;

/// A small case, and its difference.
pub(crate) struct Small {
    case: Case,
    difference: Difference,
    from_history: bool,
}

struct Shrinker<'a> {
    real: &'a mut Real,
    lie: Lie,
    /// Whether it is Berth that accepts.
    goes: bool,
    runs: u32,
    best: Small,
}

impl Small {
    /// How many steps are left.
    pub(crate) fn steps(&self) -> usize {
        self.case.steps.len()
    }
}

/// Makes a case as small as it goes.
pub(crate) async fn shrink(real: &mut Real, case: Case, difference: Difference, lie: Lie) -> Small {
    let goes = matches!(difference.ours, Verdict::Goes(_));
    let scene = difference.scene.clone();
    let best = Small { case, difference, from_history: true };
    let mut shrinker = Shrinker { real, lie, goes, runs: 0, best };
    if shrinker.try_case(scene).await {
        shrinker.best.from_history = false;
    }
    shrinker.leave_out_steps().await;
    shrinker.leave_out_parts().await;
    shrinker.leave_out_steps().await;
    shrinker.best
}

impl Shrinker<'_> {
    /// True if the case has a difference too; then it is the best so far.
    async fn try_case(&mut self, case: Case) -> bool {
        self.runs += 1;
        let mut run = Run::new(self.real, self.lie).await;
        let Err(End::Differs(difference)) = run.steps(&case, &mut Tally::default()).await else {
            return false;
        };
        if matches!(difference.ours, Verdict::Goes(_)) != self.goes {
            return false;
        }
        self.best = Small { case, difference, from_history: self.best.from_history };
        true
    }

    async fn leave_out_steps(&mut self) {
        let mut chunk = self.best.case.steps.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < self.best.case.steps.len() && self.runs < RUNS_MAX {
                let mut case = self.best.case.clone();
                let end = (at + chunk).min(case.steps.len());
                case.steps.drain(at..end);
                if !self.try_case(case).await {
                    at = end;
                }
            }
            chunk /= 2;
        }
    }

    async fn leave_out_parts(&mut self) {
        for at in 0..self.best.case.steps.len() {
            let mut tried = 0;
            while self.runs < RUNS_MAX {
                let mut case = self.best.case.clone();
                let (Step::Make(_, object) | Step::Ask(object) | Step::Change(_, object)) =
                    &mut case.steps[at]
                else {
                    break;
                };
                if !leave_out(object, &mut tried.clone()) {
                    break;
                }
                if !self.try_case(case).await {
                    tried += 1;
                }
            }
        }
    }
}

/// Takes out the part of an object that has this number, counted from the outside in; false if there is none.
fn leave_out(object: &mut Value, number: &mut usize) -> bool {
    let keep = |key: &str| {
        // Without one of these it would be another question, or none.
        matches!(
            key,
            "metadata"
                | "name"
                | "namespace"
                | "spec"
                | "containers"
                | "image"
                | "schedulerName"
                | "nodeName"
                | "status"
                | "conditions"
                | "type"
        )
    };
    let children: Vec<Value> = match object {
        Value::Object(map) => map.keys().map(|key| Value::from(key.as_str())).collect(),
        Value::Array(list) => (0..list.len()).map(Value::from).collect(),
        _ => return false,
    };
    for child in &children {
        let fixed = child.as_str().is_some_and(keep);
        if !fixed && *number == 0 {
            match (object, child) {
                (Value::Object(map), Value::String(key)) => _ = map.remove(key),
                (Value::Array(list), at) => _ = list.remove(at.as_u64().unwrap_or_default() as usize),
                _ => {}
            }
            return true;
        }
        *number -= usize::from(!fixed);
    }
    let inner: Vec<&mut Value> = match object {
        Value::Object(map) => {
            map.iter_mut().filter(|(key, _)| *key != "conditions").map(|(_, v)| v).collect()
        }
        Value::Array(list) => list.iter_mut().collect(),
        _ => return false,
    };
    inner.into_iter().any(|value| leave_out(value, number))
}

impl std::fmt::Display for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.difference)?;
        if self.from_history {
            writeln!(f, "It takes what led there: in a fresh cluster as it was just before, the two agree.")?;
        }
        write!(f, "{}", self.case)
    }
}
