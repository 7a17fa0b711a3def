//! A case on both sides.

use crate::case::{Case, Key, Step, What};
use crate::ours::{Lie, Ours};
use crate::real::{Answer, Real};
use berth_cluster::{Action, Bind, Outcome, PodRef};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One in so many decisions is replayed literally, with all other nodes cordoned.
const LITERALLY: u64 = 40;
/// How often, and after how long, kube-scheduler is asked again before a difference is one: it may have been asked before it
/// had seen everything.
const PATIENCE: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// More rounds than any change needs.
const ROUNDS_MAX: usize = 100;

/// Why a run ends before its end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum End {
    /// The two differ.
    Differs(Difference),
    /// The API server does not take an object.
    Malformed(String),
}

/// Berth and kube-scheduler differ about a pod.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Difference {
    pub(crate) pod: Key,
    pub(crate) ours: Verdict,
    pub(crate) real: Answer,
    /// The cluster just before: everything there is, and the pod.
    pub(crate) scene: Case,
}

/// What Berth says of a pod.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Verdict {
    Goes(String),
    Waits(String),
}

/// What was tried.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) pods: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) literally: u64,
    pub(crate) evicted: u64,
    pub(crate) asked_again: u64,
    pub(crate) questions: u64,
}

/// A case that is run.
pub(crate) struct Run<'a> {
    real: &'a mut Real,
    ours: Ours,
    /// Pods for Berth that are somewhere or wait, as they were made.
    pods: BTreeMap<Key, Value>,
    /// The same as Berth knows them.
    told: BTreeMap<Key, Value>,
    waiting: BTreeSet<Key>,
    /// Why pods wait, in Berth's words.
    said: BTreeMap<Key, String>,
    /// Grows with whatever may change an answer.
    version: u64,
    /// kube-scheduler has seen all but pods.
    settled: bool,
}

/// What kube-scheduler has said of a pod, at which version.
struct Asked {
    pod: Key,
    answer: Answer,
    version: u64,
}

impl<'a> Run<'a> {
    /// A cluster that has nothing but what all have.
    pub(crate) async fn new(real: &'a mut Real, lie: Lie) -> Self {
        real.clear().await;
        let mut ours = Ours::new(lie);
        let beacon = real.make(What::Node, &Real::beacon()).await.expect("the beacon");
        for (key, value) in &real.api {
            ours.set(key.0, value);
        }
        ours.set(What::Node, &beacon);
        Self {
            real,
            ours,
            pods: BTreeMap::new(),
            told: BTreeMap::new(),
            waiting: BTreeSet::new(),
            said: BTreeMap::new(),
            version: 0,
            settled: false,
        }
    }

    /// Runs a case to its end or to the first difference.
    pub(crate) async fn all(mut self, case: &Case, tally: &mut Tally) -> Result<(), Difference> {
        match self.steps(case, tally).await {
            Ok(()) => Ok(()),
            Err(End::Differs(difference)) => Err(difference),
            Err(End::Malformed(why)) => panic!("a case is malformed: {why}"),
        }
    }

    /// The same where objects may be malformed.
    pub(crate) async fn steps(&mut self, case: &Case, tally: &mut Tally) -> Result<(), End> {
        let before = self.real.questions;
        for step in &case.steps {
            self.step(step, tally).await?;
        }
        tally.questions += self.real.questions - before;
        Ok(())
    }

    async fn step(&mut self, step: &Step, tally: &mut Tally) -> Result<(), End> {
        match step {
            Step::Make(what, object) => {
                let made = self.real.make(*what, object).await.map_err(End::Malformed)?;
                match what {
                    What::Pod => self.tell(&what.key(&made), made),
                    _ => self.ours.set(*what, &made),
                }
            }
            Step::Change(key, patch) => {
                if !self.real.api.contains_key(key) {
                    return Ok(());
                }
                self.change(key, patch).await?;
            }
            Step::Delete(key) if key.0 == What::Pod => self.remove(key).await,
            Step::Delete(key) => {
                self.real.delete(key, 0).await;
                self.ours.gone(key);
            }
            Step::Leave(key) if self.is_bound(key) => match self.real.delete(key, 3600).await {
                Some(left) => self.tell(key, left),
                None => self.ours.gone(key),
            },
            Step::End(key, phase) if self.is_bound(key) => {
                let patch = json!({"status": {"phase": phase}});
                let ended = self.real.change(key, &patch).await.map_err(End::Malformed)?;
                self.tell(key, ended);
            }
            Step::Leave(_) | Step::End(..) => return Ok(()),
            Step::Ask(pod) => return self.asked_for(pod, tally).await,
            Step::AskAgain => return self.ask_again(tally).await,
        }
        self.version += 1;
        self.settled = false;
        self.act(None, tally).await
    }

    fn is_bound(&self, key: &Key) -> bool {
        self.real.api.get(key).is_some_and(|pod| pod["spec"]["nodeName"].is_string())
    }

    /// A pod is as the API server says; Berth knows it by the uid that it had first.
    fn tell(&mut self, key: &Key, mut pod: Value) {
        if let Some(known) = self.told.get(key) {
            pod["metadata"]["uid"] = known["metadata"]["uid"].clone();
        }
        pod["metadata"]["creationTimestamp"] = json!(crate::ours::BEGINNING);
        self.ours.set(What::Pod, &pod);
        self.told.insert(key.clone(), pod);
    }

    async fn remove(&mut self, key: &Key) {
        self.real.delete(key, 0).await;
        self.ours.gone(key);
        self.waiting.remove(key);
        self.told.remove(key);
        self.pods.remove(key);
    }

    /// A new pod: it is asked about on the state as it is, and then decided on.
    async fn asked_for(&mut self, pod: &Value, tally: &mut Tally) -> Result<(), End> {
        let key = What::Pod.key(pod);
        tally.pods += 1;
        let answer = self.question(&key, pod).await?;
        let made = self.real.api[&key].clone();
        self.pods.insert(key.clone(), pod.clone());
        self.waiting.insert(key.clone());
        self.tell(&key, made);
        let asked = Asked { pod: key, answer, version: self.version };
        self.act(Some(asked), tally).await
    }

    /// Asks kube-scheduler about a pod on the state as it is.
    async fn question(&mut self, key: &Key, pod: &Value) -> Result<Answer, End> {
        if !std::mem::replace(&mut self.settled, true) {
            let beacon = self.real.settle().await;
            self.ours.set(What::Node, &beacon);
        }
        self.real.delete_if_there(key).await;
        self.real.ask(pod).await.map_err(End::Malformed)
    }

    async fn ask_again(&mut self, tally: &mut Tally) -> Result<(), End> {
        for key in self.waiting.clone() {
            self.must_be_refused(&key, None, tally).await?;
        }
        Ok(())
    }

    /// Has Berth decide until it has nothing more to do, and compares every decision.
    async fn act(&mut self, mut asked: Option<Asked>, tally: &mut Tally) -> Result<(), End> {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "Berth does not come to rest");
            let (mut binds, mut victims) = (Vec::new(), Vec::new());
            for action in self.ours.round() {
                match action {
                    Action::Bind(group) => binds.extend(group),
                    Action::Evict { pod, notice, .. } => victims.push((pod, notice.beneficiary)),
                    Action::Pending { pods, message, .. } => {
                        let said =
                            pods.iter().map(|pod| (Key::pod(&pod.namespace, &pod.name), message.clone()));
                        self.said.extend(said);
                    }
                    _ => {}
                }
            }
            if binds.is_empty() && victims.is_empty() {
                break;
            }
            for bind in binds {
                self.placed(&bind, &mut asked, tally).await?;
            }
            for (pod, beneficiary) in victims {
                self.evicted(&pod, beneficiary, &mut asked, tally).await?;
            }
        }
        if let Some(asked) = asked.filter(|asked| self.waiting.contains(&asked.pod)) {
            let key = asked.pod.clone();
            self.must_be_refused(&key, Some(asked), tally).await?;
        }
        Ok(())
    }

    /// What was said of a pod if it still holds; else the pod is asked about again.
    async fn answer(&mut self, key: &Key, asked: Option<Asked>) -> Result<Answer, End> {
        match asked.filter(|asked| asked.pod == *key && asked.version == self.version) {
            Some(asked) => Ok(asked.answer),
            None => self.question(key, &self.pods[key].clone()).await,
        }
    }

    /// Asks until the answer is right, or it is clear that it is another.
    async fn agreed(
        &mut self,
        key: &Key,
        asked: Option<Asked>,
        right: impl Fn(&Answer) -> bool,
        tally: &mut Tally,
    ) -> Result<Result<(), Answer>, End> {
        let mut answer = self.answer(key, asked).await?;
        for pause in PATIENCE {
            if right(&answer) {
                return Ok(Ok(()));
            }
            tally.asked_again += 1;
            tokio::time::sleep(pause).await;
            self.settled = false;
            answer = self.question(key, &self.pods[key].clone()).await?;
        }
        Ok(if right(&answer) { Ok(()) } else { Err(answer) })
    }

    async fn must_be_refused(
        &mut self,
        key: &Key,
        asked: Option<Asked>,
        tally: &mut Tally,
    ) -> Result<(), End> {
        let refuses = |answer: &Answer| matches!(answer, Answer::Refuses(_));
        match self.agreed(key, asked, refuses, tally).await? {
            Ok(()) => {
                tally.refused += 1;
                self.real.delete(key, 0).await;
                Ok(())
            }
            Err(real) => {
                let said = self.said.get(key).cloned().unwrap_or_default();
                Err(self.differs(key, Verdict::Waits(said), real))
            }
        }
    }

    async fn placed(&mut self, bind: &Bind, asked: &mut Option<Asked>, tally: &mut Tally) -> Result<(), End> {
        let key = Key::pod(&bind.pod.namespace, &bind.pod.name);
        let node = bind.node.to_string();
        let mine = asked.take_if(|asked| asked.pod == key);
        let accepts = |answer: &Answer| matches!(answer, Answer::Accepts(nodes) if nodes.contains(&node));
        if let Err(real) = self.agreed(&key, mine, accepts, tally).await? {
            return Err(self.differs(&key, Verdict::Goes(node), real));
        }
        tally.accepted += 1;
        if tally.accepted.is_multiple_of(LITERALLY) && self.may_be_replayed(&key) {
            tally.literally += 1;
            self.real.delete(&key, 0).await;
            let answer = self.real.ask_literally(&self.pods[&key].clone(), &node).await;
            if answer != Answer::Bound(node.clone()) {
                return Err(self.differs(&key, Verdict::Goes(node), answer));
            }
        } else {
            self.volumes(bind).await?;
            self.real.bind(&key, &node).await;
        }
        self.waiting.remove(&key);
        self.version += 1;
        let mut pod = self.told[&key].clone();
        pod["spec"]["nodeName"] = json!(node);
        self.tell(&key, pod);
        self.ours.outcome(Outcome::Bound(bind.pod.clone()));
        Ok(())
    }

    /// Literally only where cordoning keeps the pod away, and where nobody else must do something for it.
    fn may_be_replayed(&self, key: &Key) -> bool {
        let spec = &self.pods[key]["spec"];
        spec["volumes"].is_null()
            && !spec["tolerations"].to_string().contains("unschedulable\"")
            && !spec["tolerations"].as_array().is_some_and(|all| all.iter().any(|one| one["key"].is_null()))
    }

    /// What Berth's binds and the controller of volumes do with open claims: they get the volume that was chosen, or one is made.
    async fn volumes(&mut self, bind: &Bind) -> Result<(), End> {
        for open in &bind.open {
            let namespace = bind.pod.namespace.to_string();
            let claim = Key(What::Claim, namespace.clone(), open.claim.clone());
            let Some(seen) = self.real.api.get(&claim).cloned() else { continue };
            if seen["spec"]["volumeName"].is_string() {
                // Another pod of the same round has seen to it.
                continue;
            }
            let whose = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": namespace,
                               "name": open.claim, "uid": seen["metadata"]["uid"]});
            let volume = match &open.volume {
                Some(volume) => {
                    let key = Key::cluster(What::Volume, volume);
                    self.change(&key, &json!({"spec": {"claimRef": whose}})).await?;
                    key
                }
                None => self.provision(&claim, &seen, whose).await?,
            };
            self.change(&volume, &json!({"status": {"phase": "Bound"}})).await?;
            let patch = json!({
                "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                "spec": {"volumeName": volume.2},
            });
            self.change(&claim, &patch).await?;
        }
        Ok(())
    }

    async fn provision(&mut self, claim: &Key, seen: &Value, whose: Value) -> Result<Key, End> {
        let spec = &seen["spec"];
        let name = format!("made-{}-{}", claim.1, claim.2);
        let driver = if spec["storageClassName"] == "zonal" { "csi.two" } else { "csi.one" };
        let volume = json!({
            "metadata": {"name": name},
            "spec": {
                "accessModes": spec["accessModes"], "capacity": spec["resources"]["requests"],
                "storageClassName": spec["storageClassName"], "claimRef": whose,
                "csi": {"driver": driver, "volumeHandle": name},
            },
        });
        let made = self.real.make(What::Volume, &volume).await.map_err(End::Malformed)?;
        self.ours.set(What::Volume, &made);
        Ok(Key::cluster(What::Volume, &name))
    }

    async fn change(&mut self, key: &Key, patch: &Value) -> Result<(), End> {
        let changed = self.real.change(key, patch).await.map_err(End::Malformed)?;
        self.ours.set(key.0, &changed);
        self.settled = false;
        Ok(())
    }

    /// A victim is gone at once. Whom it makes room for must have found none.
    async fn evicted(
        &mut self,
        pod: &PodRef,
        beneficiary: Option<String>,
        asked: &mut Option<Asked>,
        tally: &mut Tally,
    ) -> Result<(), End> {
        let whose = asked.take_if(|asked| Some(format!("{}/{}", asked.pod.1, asked.pod.2)) == beneficiary);
        if let Some(asked) = whose {
            let key = asked.pod.clone();
            self.must_be_refused(&key, Some(asked), tally).await?;
        }
        tally.evicted += 1;
        self.version += 1;
        self.ours.outcome(Outcome::Evicted(pod.clone()));
        self.remove(&Key::pod(&pod.namespace, &pod.name)).await;
        Ok(())
    }

    fn differs(&self, pod: &Key, ours: Verdict, real: Answer) -> End {
        End::Differs(Difference { pod: pod.clone(), ours, real, scene: self.scene(pod) })
    }

    /// The cluster as it is, as a case of its own: everything is made, and the pod is asked about.
    fn scene(&self, pod: &Key) -> Case {
        let mut steps = Vec::new();
        for (key, value) in &self.real.api {
            if What::OF_A_CLUSTER.contains(&key.0) && key.0 != What::Pod && key.2 != crate::real::BEACON {
                steps.push(Step::Make(key.0, bare(value)));
                if key.0 == What::Volume && value["status"]["phase"] == "Available" {
                    steps.push(Step::Change(key.clone(), json!({"status": {"phase": "Available"}})));
                }
            } else if key.0 == What::Namespace {
                let labels = &value["metadata"]["labels"];
                steps.push(Step::Change(key.clone(), json!({"metadata": {"labels": labels}})));
            }
        }
        for (key, value) in &self.real.api {
            if key.0 == What::Pod && value["spec"]["nodeName"].is_string() {
                let mut bound = self.pods.get(key).cloned().unwrap_or_else(|| bare(value));
                bound["spec"]["nodeName"] = value["spec"]["nodeName"].clone();
                steps.push(Step::Make(What::Pod, bound));
                if !value["metadata"]["deletionTimestamp"].is_null() {
                    steps.push(Step::Leave(key.clone()));
                }
                if let Some(phase @ ("Succeeded" | "Failed")) = value["status"]["phase"].as_str() {
                    steps.push(Step::End(key.clone(), phase.to_owned()));
                }
            }
        }
        steps.extend(self.pods.get(pod).map(|pod| Step::Ask(pod.clone())));
        Case { steps }
    }
}

/// An object without what the API server adds.
fn bare(value: &Value) -> Value {
    let mut bare = value.clone();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "finalizers"]
    {
        if let Some(meta) = bare["metadata"].as_object_mut() {
            meta.remove(field);
        }
    }
    for field in ["kind", "apiVersion"] {
        if let Some(all) = bare.as_object_mut() {
            all.remove(field);
        }
    }
    if let Some(claim) = bare["spec"]["claimRef"].as_object_mut() {
        claim.remove("uid");
        claim.remove("resourceVersion");
    }
    bare
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.ours {
            Verdict::Goes(node) => writeln!(f, "Berth puts {} on {node}.", self.pod)?,
            Verdict::Waits(why) => writeln!(f, "Berth says that {} must wait: {why}", self.pod)?,
        }
        match &self.real {
            Answer::Accepts(nodes) => write!(f, "kube-scheduler accepts it on {}.", nodes.join(", ")),
            Answer::Refuses(why) => write!(f, "kube-scheduler refuses it everywhere. {why}"),
            Answer::Bound(node) => write!(f, "kube-scheduler binds it to {node}."),
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} pods, {} decisions accepted ({} replayed literally), {} verdicts confirmed, {} evictions, {} questions, {} \
             asked again",
            self.pods,
            self.accepted,
            self.literally,
            self.refused,
            self.evicted,
            self.questions,
            self.asked_again
        )
    }
}
