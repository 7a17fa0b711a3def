//! The thread that decides.
//!
//! A round: take in what has come up, bring the engine to what is seen, decide, hand the actions over. Nothing in it waits for
//! the network; the more comes up during a round, the more the next one takes in together.
//!
//! Until every first list is in, only the mirror is fed: what would be decided on half a cluster would be wrong. A standby
//! feeds both and decides nothing.

use crate::explain;
use crate::figures::OfEngine;
use crate::gpu_time::GpuTime;
use crate::inputs::{Ask, Inputs, Taken};
use crate::live::{self, Live};
use crate::metrics::{Known, Metrics};
use crate::record::Record;
use crate::trace;
use berth_cluster::lease::Lease;
use berth_cluster::{Act, Change, Mirror};
use berth_engine::Engine;
use berth_model::{Budget, Decision, Event, Millis, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The longest wait for anything: at least so often it is looked whether something is due.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// While the binder has enough to do.
const WAIT_FOR_BINDER: Duration = Duration::from_millis(5);
/// How often at most our objects say what is so when they have been changed.
const SAY_NEWS_EVERY: Duration = Duration::from_secs(1);
/// How often what nobody has any more is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// How decisions are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) budget: Budget,
    pub(crate) binds_max: usize,
    /// How often it is looked what our objects should say of themselves.
    pub(crate) status_every: Duration,
    /// For how long after the first start nobody is told to end (S3).
    pub(crate) adopting: Duration,
}

/// The thread's state.
pub(crate) struct Decider {
    pub(crate) mirror: Mirror,
    pub(crate) engine: Engine,
    pub(crate) act: Arc<Act>,
    pub(crate) lease: Lease,
    pub(crate) limits: Limits,
    pub(crate) record: Option<Record>,
    pub(crate) metrics: Metrics,
    pub(crate) known: Known,
    pub(crate) gpu_time: GpuTime,
    /// What the agents say, if they are heard.
    pub(crate) live: Option<Live>,
    /// Kinds whose first list is not in yet.
    pub(crate) lists_missing: usize,
    pub(crate) ready: watch::Sender<bool>,
    /// When a round last began, in milliseconds since 1970.
    pub(crate) alive: Arc<AtomicU64>,
    pub(crate) round: Round,
}

/// What is due.
#[derive(Debug)]
pub(crate) struct Round {
    now: Timestamp,
    /// Something has changed since the last decision, or it has not decided all.
    open: bool,
    leads: bool,
    decided: Instant,
    swept: Instant,
    /// When it was last looked what our objects should say.
    said: Option<Instant>,
    /// One of them has been asked for otherwise since.
    news: bool,
}

impl Default for Round {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            now: Timestamp(0),
            open: true,
            leads: false,
            decided: now,
            swept: now,
            said: None,
            news: false,
        }
    }
}

impl Decider {
    /// Goes on until the end.
    pub(crate) fn run(mut self, mut inputs: Inputs) {
        self.mirror.take_reservations_for_told(true);
        loop {
            let taken = inputs.wait(self.patience());
            let stop = taken.stop;
            self.round(taken);
            if stop {
                if let Some(record) = &mut self.record {
                    record.flush();
                }
                return;
            }
        }
    }

    fn round(&mut self, taken: Taken) {
        self.tick();
        let Taken { changes, lists_ended, asks, stop } = taken;
        self.take_in(changes);
        self.lists_missing -= lists_ended.min(self.lists_missing);
        if self.lists_missing == 0 {
            self.begin();
            self.tell();
            self.tell_live();
            self.decide(stop);
            self.say();
        }
        asks.into_iter().for_each(|ask| self.answer(ask));
        if self.round.swept.elapsed() > SWEEP_EVERY {
            self.mirror.sweep();
            self.round.swept = Instant::now();
        }
    }

    /// Time never goes back, whatever the clock does.
    fn tick(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.round.now = self.round.now.max(Timestamp(now.as_millis() as i64));
        self.gpu_time.tick(self.round.now);
        self.alive.store(self.round.now.0.unsigned_abs(), Ordering::Relaxed);
    }

    fn take_in(&mut self, changes: Vec<Change>) {
        let _timer = self.metrics.step("take_in");
        for change in changes {
            self.mirror.apply(change, self.round.now);
        }
    }

    /// What happens once: everything is known; it leads.
    fn begin(&mut self) {
        if !*self.ready.borrow() {
            let (pods, workloads) = self.mirror.size();
            tracing::info!(pods, workloads, "everything is known");
            self.ready.send_replace(true);
        }
        if !self.round.leads && self.lease.may_act() {
            self.round.leads = true;
            self.round.open = true;
            self.gpu_time.begin();
            self.mirror.take_reservations_for_told(false);
            self.adopt();
            if let Some(live) = &self.live {
                live.begin(&self.mirror, self.round.now);
            }
        }
    }

    /// S3: what runs at the first start in a cluster is adopted before anybody is told to end.
    fn adopt(&mut self) {
        let now = self.round.now;
        let first = self.lease.made().map_or(now, |made| {
            Timestamp(made.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64)
        });
        let at = first.plus(Millis(self.limits.adopting.as_millis() as i64));
        if at > now {
            let seconds = at.since(now).0 / 1000;
            tracing::info!(seconds, "nobody is told to end before this time is over");
            self.tell_one(Event::EvictionsFrom { at });
        }
    }

    /// Brings the engine to what is seen. What it refuses may be told otherwise.
    fn tell(&mut self) {
        let mut tries = 3;
        while tries > 0 {
            let events = {
                let _timer = self.metrics.step("compare");
                self.mirror.events(self.round.now)
            };
            // Of a large cluster there is more than comes at once; nothing is decided before all is told.
            let more = self.mirror.has_more();
            if events.is_empty() && !more {
                return;
            }
            let _timer = self.metrics.step("tell");
            let mut refused = false;
            for event in events {
                if let Some(live) = &mut self.live {
                    live.note(&event, &self.mirror, self.round.leads, self.round.now);
                }
                refused |= !self.tell_one(event);
            }
            self.round.open = true;
            if !more && !refused {
                return;
            }
            tries -= u32::from(!more);
        }
    }

    /// Brings the engine to what the agents say; after what is seen, since that is what they speak of.
    fn tell_live(&mut self) {
        let Some(live) = &mut self.live else { return };
        let events = live.events(&self.mirror, self.round.now);
        self.round.open |= !events.is_empty();
        for event in events {
            self.tell_one(event);
        }
    }

    fn tell_one(&mut self, event: Event) -> bool {
        self.metrics.events.inc();
        self.known.note(&event);
        match self.engine.apply(event.clone()) {
            Ok(()) => {
                self.gpu_time.note(&event, &self.mirror);
                if let Some(record) = &mut self.record {
                    record.event(&event);
                }
                true
            }
            Err(error) => {
                self.metrics.refused.inc();
                self.mirror.refused(&event, &error);
                false
            }
        }
    }

    fn decide(&mut self, stop: bool) {
        let now = self.round.now;
        let leads = self.lease.may_act() && !stop;
        let due = self.engine.next_timer().is_some_and(|at| at <= now);
        let news = self.round.open || due;
        let open = news || self.round.decided.elapsed() >= WAIT_MAX;
        let _cycle = trace::cycle(leads && news).entered();
        let decisions = if leads && open && self.act.binds_waiting() < self.limits.binds_max {
            self.decisions(now)
        } else {
            Vec::new()
        };
        trace::decisions(&decisions, &self.mirror);
        let actions = {
            let _timer = self.metrics.step("carry_out");
            let mut actions = self.mirror.carry_out(&decisions, now);
            trace::binds(&mut actions, &self.mirror);
            if leads {
                actions.extend(self.mirror.stale(self.engine.stale_since()));
            }
            actions
        };
        if leads && !actions.is_empty() {
            self.act.carry_out(actions);
        }
    }

    /// Our objects say what is so, now and then.
    fn say(&mut self) {
        self.round.news |= self.mirror.has_news();
        let every = if self.round.news { SAY_NEWS_EVERY } else { self.limits.status_every };
        if !self.lease.may_act() || self.round.said.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.round.said = Some(Instant::now());
        self.round.news = false;
        let _timer = self.metrics.step("say");
        let actions = self.mirror.statuses(&mut OfEngine(&mut self.engine), self.round.now);
        self.act.carry_out(actions);
    }

    fn decisions(&mut self, now: Timestamp) -> Vec<Decision> {
        let budget = self.limits.budget;
        let decisions = {
            let _timer = self.metrics.step("decide");
            self.engine.decide(now, budget)
        };
        if let Some(record) = &mut self.record {
            record.decided(now, budget, &decisions);
        }
        self.metrics.decided(&decisions);
        self.known.decided(&decisions);
        self.gpu_time.decided(&decisions, &self.mirror);
        self.round.decided = Instant::now();
        // The budget may have ended before the work did.
        self.round.open = !decisions.is_empty();
        decisions
    }

    /// How long to wait for something new.
    fn patience(&self) -> Duration {
        if self.lists_missing > 0 {
            return WAIT_MAX;
        }
        if self.round.open && self.lease.may_act() {
            let busy = self.act.binds_waiting() >= self.limits.binds_max;
            return if busy { WAIT_FOR_BINDER } else { Duration::ZERO };
        }
        // A standby does not look at what the engine would do: it would be due for ever.
        let engine = self.engine.next_timer().filter(|_| self.lease.may_act());
        let timers = [self.mirror.next_timer(), engine];
        let wait = |at: Timestamp| Duration::from_millis((at.0 - self.round.now.0).clamp(10, 1_000) as u64);
        let heard = self.live.as_ref().map(|_| live::EVERY);
        timers.into_iter().flatten().map(wait).chain(heard).min().unwrap_or(WAIT_MAX)
    }

    fn answer(&mut self, ask: Ask) {
        // Whoever asked may have gone away.
        match ask {
            Ask::Explain { namespace, name, reply } => {
                let said = explain::pod(&self.mirror, &self.engine, &namespace, &name);
                let _ = reply.send(said);
            }
            Ask::Measure(reply) => {
                self.metrics.leads.set(i64::from(self.lease.may_act()));
                self.metrics.measure(&mut self.engine, &self.mirror, &mut self.known);
                self.metrics.count_gpu_time(&mut self.gpu_time);
                let _ = reply.send(());
            }
            Ask::Flush(reply) => {
                if let Some(record) = &mut self.record {
                    record.flush();
                }
                let _ = reply.send(());
            }
        }
    }
}
