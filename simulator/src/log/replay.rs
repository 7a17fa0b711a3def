//! Reading a log back: to the same decisions, or against another strategy.

use super::Line;
use super::reader::Reader;
use berth_engine::Engine;
use berth_model::{Decision, DeviceStrategy, Event, EventError, Placement, PodId, Strategy};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The differences that [`compare`] keeps; all are counted.
const KEPT_MAX: usize = 10_000;

/// Why a log could not be replayed to its end.
#[derive(Debug)]
pub enum ReplayError {
    /// A line cannot be read.
    Line {
        /// The file.
        file: String,
        /// The line, from 1; 0 for the file as a whole.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The engine refused an event of the log.
    Refused {
        /// The line.
        line: u64,
        /// Why.
        error: EventError,
    },
    /// The engine decided something else.
    Different {
        /// The line.
        line: u64,
        /// Which decision of the line, from 0.
        position: usize,
        /// What the log says; none = nothing more.
        recorded: Option<Box<Decision>>,
        /// What was decided now; none = nothing more.
        decided: Option<Box<Decision>>,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line: 0, problem } => write!(f, "{file}: {problem}"),
            Self::Line { file, line, problem } => write!(f, "{file}:{line}: {problem}"),
            Self::Refused { line, error } => write!(f, "line {line}: the engine refused the event: {error}"),
            Self::Different { line, position, recorded, decided } => {
                writeln!(f, "line {line}, decision {position}: the engine decided something else")?;
                writeln!(f, "  recorded: {}", shown(recorded.as_deref()))?;
                write!(f, "  decided:  {}", shown(decided.as_deref()))
            }
        }
    }
}

impl std::error::Error for ReplayError {}

fn shown(decision: Option<&Decision>) -> String {
    let Some(decision) = decision else { return "nothing more".to_owned() };
    serde_json::to_string(decision).unwrap_or_else(|_| format!("{decision:?}"))
}

/// What was replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Events.
    pub events: u64,
    /// Calls of `decide`.
    pub cycles: u64,
    /// Decisions.
    pub decisions: u64,
}

/// Replays a log to the same decisions; stops at the first that differs.
pub fn replay(path: &Path) -> Result<Replayed, ReplayError> {
    let mut log = Reader::open(path)?;
    let mut engine = Engine::new(log.settings());
    let mut replayed = Replayed::default();
    while let Some((number, line)) = log.next()? {
        match line {
            Line::Event(event) => {
                engine.apply(*event).map_err(|error| ReplayError::Refused { line: number, error })?;
                replayed.events += 1;
            }
            Line::Decide { now, budget, decisions } => {
                let decided = engine.decide(now, budget);
                replayed.cycles += 1;
                replayed.decisions += decided.len() as u64;
                if decided != decisions {
                    return Err(first_difference(number, &decisions, &decided));
                }
            }
        }
    }
    Ok(replayed)
}

fn first_difference(line: u64, recorded: &[Decision], decided: &[Decision]) -> ReplayError {
    let most = recorded.len().max(decided.len());
    let position = (0..most).find(|i| recorded.get(*i) != decided.get(*i)).unwrap_or(0);
    let at = |list: &[Decision]| list.get(position).cloned().map(Box::new);
    ReplayError::Different { line, position, recorded: at(recorded), decided: at(decided) }
}

/// A pod about which a log and another strategy differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the log.
    pub line: u64,
    /// The pod.
    pub pod: PodId,
    /// Where it was placed; none = it was not, at this time.
    pub recorded: Option<Placement>,
    /// Where the other strategy would have placed it.
    pub decided: Option<Placement>,
}

/// What another strategy would have decided, every time from the state that the log records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Calls of `decide`.
    pub cycles: u64,
    /// Calls in which something differs.
    pub cycles_different: u64,
    /// Pods placed alike.
    pub same: u64,
    /// Pods placed elsewhere.
    pub elsewhere: u64,
    /// Pods that only the log places.
    pub only_recorded: u64,
    /// Pods that only the other strategy would have placed.
    pub only_decided: u64,
    /// Pods whose eviction differs.
    pub evictions_different: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// Where the comparison had to end before the log did, and why.
    pub ended_early: Option<(u64, String)>,
}

/// Compares a log with what `strategy` would have decided.
///
/// The state follows the log: what the other strategy would have done is taken back after every cycle, so
/// each difference is one of a single decision and not of what came before.
pub fn compare(path: &Path, strategy: Strategy) -> Result<Compared, ReplayError> {
    let mut log = Reader::open(path)?;
    let mut engine = Engine::new(log.settings());
    let mut compared = Compared::default();
    while let Some((number, line)) = log.next()? {
        let refused = match line {
            Line::Event(event) => engine.apply(with_strategy(*event, strategy)).err(),
            Line::Decide { now, budget, decisions } => {
                let decided = engine.decide(now, budget);
                let before = compared.different();
                let undone = compared.take(number, &decisions, &decided);
                compared.cycles += 1;
                compared.cycles_different += u64::from(compared.different() > before);
                undone.into_iter().find_map(|event| engine.apply(event).err())
            }
        };
        if let Some(error) = refused {
            compared.ended_early = Some((number, error.to_string()));
            break;
        }
    }
    Ok(compared)
}

fn with_strategy(mut event: Event, strategy: Strategy) -> Event {
    if let Event::PoolSet(pool) = &mut event {
        (pool.gpu, pool.cpu) = (strategy, strategy);
        pool.device =
            if strategy == Strategy::Spread { DeviceStrategy::Spread } else { DeviceStrategy::Binpack };
    }
    event
}

impl Compared {
    fn different(&self) -> u64 {
        self.elsewhere + self.only_recorded + self.only_decided + self.evictions_different
    }

    /// Notes what differs in one cycle; returns the events that take back what did not happen.
    fn take(&mut self, line: u64, recorded: &[Decision], decided: &[Decision]) -> Vec<Event> {
        let (was, would) = (placements(recorded), placements(decided));
        let mut undone = Vec::new();
        for (pod, at) in &would {
            let recorded = was.get(pod).copied();
            if recorded == Some(*at) {
                self.same += 1;
                continue;
            }
            *if recorded.is_some() { &mut self.elsewhere } else { &mut self.only_decided } += 1;
            undone.push(Event::BindFailed { pod: *pod, node: at.node });
            self.keep(Difference { line, pod: *pod, recorded, decided: Some(*at) });
        }
        for (pod, at) in was.iter().filter(|(pod, _)| !would.contains_key(pod)) {
            self.only_recorded += 1;
            self.keep(Difference { line, pod: *pod, recorded: Some(*at), decided: None });
        }
        let (was, would) = (evictions(recorded), evictions(decided));
        self.evictions_different += was.iter().filter(|pod| !would.contains(pod)).count() as u64;
        let only_decided = would.into_iter().filter(|pod| !was.contains(pod));
        for pod in only_decided {
            self.evictions_different += 1;
            undone.push(Event::EvictFailed { pod });
        }
        undone
    }

    fn keep(&mut self, difference: Difference) {
        if self.differences.len() < KEPT_MAX {
            self.differences.push(difference);
        }
    }
}

fn placements(decisions: &[Decision]) -> BTreeMap<PodId, Placement> {
    let placed = |decision: &Decision| match decision {
        Decision::Place { pod, at } => Some((*pod, *at)),
        _ => None,
    };
    decisions.iter().filter_map(placed).collect()
}

fn evictions(decisions: &[Decision]) -> Vec<PodId> {
    let evicted = |decision: &Decision| match decision {
        Decision::Evict { pod, .. } => Some(*pod),
        _ => None,
    };
    decisions.iter().filter_map(evicted).collect()
}
