//! Which Project owns which namespace (S2), and which namespaces nobody owns (S3).
//!
//! A namespace that is not there belongs to the first by name of those that want it, and is made. One that is there belongs to the
//! Project that its label `berth.dev/project` names, else to the first that names it in `spec.namespace`. So one that
//! somebody else made under the name of a Project is not taken over, and its pods stay as they are without a Project.
//!
//! The label is the only memory: a restart, an answer that was lost, and a namespace that another replica made meanwhile are
//! all the same. Absent: deleting namespaces, and changing those that are there; Berth has no right to either.

use super::seen::Seen;
use crate::change::Name;
use berth_api::names::written;
use berth_api::objects::Project;
use berth_api::slim;
use std::collections::BTreeMap;

/// How it is with the namespace of a Project.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It is not there.
    Missing,
    /// It is there.
    There,
    /// It is being deleted.
    Leaving,
}

/// Whose namespaces are.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// Of every namespace that a Project wants: the name of the Project that owns it, if one does, and how it is.
    wanted: BTreeMap<String, (Option<Box<str>>, State)>,
    /// Why a namespace that is not there has not been made.
    not_made: BTreeMap<Box<str>, String>,
}

impl Owners {
    /// Looks anew; whether other Projects own them than before, and whether anything has changed.
    pub(crate) fn look(
        &mut self,
        projects: &Seen<Project>,
        namespaces: &Seen<slim::Namespace>,
    ) -> (bool, bool) {
        let mut wanting: BTreeMap<&str, Vec<(&Name, &Project)>> = BTreeMap::new();
        for (name, project) in projects.iter() {
            wanting.entry(project.owned_namespace()).or_default().push((name, project));
        }
        let judged = wanting.into_iter().map(|(namespace, projects)| {
            let seen = namespaces.get(&Name::cluster(namespace));
            (namespace.to_owned(), (owner(&projects, seen).map(Into::into), state(seen)))
        });
        let before = std::mem::replace(&mut self.wanted, judged.collect());
        let missing = |name: &str| self.wanted.get(name).is_some_and(|(_, state)| *state == State::Missing);
        self.not_made.retain(|name, _| missing(name));
        let of = |wanted: &BTreeMap<String, (Option<Box<str>>, State)>| {
            wanted.iter().map(|(name, (owner, _))| (name.clone(), owner.clone())).collect::<Vec<_>>()
        };
        (of(&self.wanted) != of(&before), self.wanted != before)
    }

    /// The name of the Project that owns a namespace.
    pub(crate) fn of(&self, namespace: &str) -> Option<&str> {
        self.wanted.get(namespace)?.0.as_deref()
    }

    /// How it is with a namespace that a Project wants.
    pub(crate) fn state(&self, namespace: &str) -> State {
        self.wanted.get(namespace).map_or(State::Missing, |(_, state)| *state)
    }

    /// A namespace could not be made; true if that is news.
    pub(crate) fn not_made(&mut self, namespace: &str, why: &str) -> bool {
        let missing = self.wanted.contains_key(namespace) && self.state(namespace) == State::Missing;
        missing && self.not_made.insert(namespace.into(), why.to_owned()).as_deref() != Some(why)
    }

    /// Why it has not been made, if it was tried.
    pub(crate) fn why_not(&self, namespace: &str) -> Option<&str> {
        self.not_made.get(namespace).map(String::as_str)
    }

    /// Why a Project does not own the namespace that it wants, in words; none if it does.
    pub(crate) fn problem(&self, name: &str, project: &Project) -> Option<String> {
        let namespace = project.owned_namespace();
        match self.of(namespace) {
            Some(owner) if owner == name => None,
            Some(owner) => Some(format!("namespace {namespace} belongs to project {owner}")),
            None => Some(format!(
                "namespace {namespace} was there before and is not taken over unless spec.namespace names it or its label {} \
                 is {name}",
                written::PROJECT
            )),
        }
    }
}

fn state(seen: Option<&slim::Namespace>) -> State {
    match seen {
        None => State::Missing,
        Some(it) if it.metadata.deletion_timestamp.is_some() => State::Leaving,
        Some(_) => State::There,
    }
}

/// Whose a namespace is of those who want it, who come by name.
fn owner<'a>(wanting: &[(&'a Name, &Project)], seen: Option<&slim::Namespace>) -> Option<&'a str> {
    let labels = seen.map(|it| it.metadata.labels.as_ref());
    let said = labels.map(|labels| labels.and_then(|labels| labels.get(written::PROJECT)));
    let (name, _) = match said {
        None => wanting.first(),
        Some(said) => {
            let labelled = wanting.iter().find(|(name, _)| said.is_some_and(|said| **said == *name.name));
            labelled.or_else(|| wanting.iter().find(|(_, project)| project.spec.namespace.is_some()))
        }
    }?;
    Some(&name.name)
}
