//! Pools, departments and projects: seen, and told.
//!
//! They are few and change seldom, so every change to one of them compares all of them with what was told. A project whose
//! department is not there is not told: its pods wait, with that as the reason. One that does not own its namespace is not
//! told either, and the pods there are none of its.

use super::ids::Ids;
use super::namespaces::Owners;
use super::seen::Seen;
use berth_api::convert;
use berth_api::objects::{Department, NodePool, Project};
use berth_api::slim;
use berth_model::{
    DepartmentId, DepartmentSpec, Event, Labels, Millis, PoolId, PoolSpec, ProjectId, ProjectSpec, Timestamp,
};
use std::collections::BTreeMap;

/// The pool that always exists (S1).
const DEFAULT_POOL: PoolId = PoolId(0);

/// Who may use what.
#[derive(Debug)]
pub(crate) struct Organisation {
    pub(crate) pools: Seen<NodePool>,
    pub(crate) departments: Seen<Department>,
    pub(crate) projects: Seen<Project>,
    pool_ids: Ids<String>,
    department_ids: Ids<String>,
    project_ids: Ids<String>,
    pub(crate) told_pools: BTreeMap<PoolId, PoolSpec>,
    pub(crate) told_departments: BTreeMap<DepartmentId, DepartmentSpec>,
    pub(crate) told_projects: BTreeMap<ProjectId, ProjectSpec>,
    /// Projects in force, by the namespace they own.
    by_namespace: BTreeMap<String, ProjectId>,
    /// Whose namespaces are.
    pub(crate) owners: Owners,
    /// What is wrong with an object, by what it is called.
    pub(crate) problems: BTreeMap<String, String>,
    dirty: bool,
}

impl Default for Organisation {
    fn default() -> Self {
        let mut pool_ids = Ids::from(DEFAULT_POOL.0);
        pool_ids.give(&PoolSpec::DEFAULT_NAME.to_owned());
        Self {
            pools: Seen::default(),
            departments: Seen::default(),
            projects: Seen::default(),
            pool_ids,
            department_ids: Ids::from(0),
            project_ids: Ids::from(0),
            told_pools: BTreeMap::new(),
            told_departments: BTreeMap::new(),
            told_projects: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            owners: Owners::default(),
            problems: BTreeMap::new(),
            dirty: true,
        }
    }
}

/// What has changed: events for before and after those of the workloads.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Set before anything else.
    pub(crate) first: Vec<Event>,
    /// Removed when nothing uses it any more.
    pub(crate) last: Vec<Event>,
    /// Which namespaces belong to which project has changed, or what a project says about workloads.
    pub(crate) projects: bool,
    /// So has which namespaces of projects are there.
    pub(crate) namespaces: bool,
}

impl Organisation {
    /// Something has changed.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// The project that owns a namespace, if it is in force.
    pub(crate) fn project_of(&self, namespace: &str) -> Option<(ProjectId, &Project)> {
        let id = *self.by_namespace.get(namespace)?;
        let name = self.project_ids.name(id.0)?;
        Some((id, self.projects.get(&crate::change::Name::cluster(name))?))
    }

    /// Why pods of a namespace must wait: the project that owns it is not in force.
    pub(crate) fn held(&self, namespace: &str) -> Option<String> {
        if self.by_namespace.contains_key(namespace) {
            return None;
        }
        let owner = self.owners.of(namespace)?;
        let problem = self.problems.get(&format!("Project {owner}"));
        Some(format!("project {owner} is not in force: {}", problem.map_or("", String::as_str)))
    }

    /// The pool of a name.
    pub(crate) fn pool(&self, name: &str) -> Option<PoolId> {
        self.pool_ids.get(name).map(PoolId).filter(|id| self.told_pools.contains_key(id))
    }

    /// The pool of a node with these labels: the first by name that selects it, else `default` (S1).
    pub(crate) fn pool_of(&self, labels: &Labels) -> Option<PoolId> {
        let selecting = self.told_pools.values().filter(|pool| pool.selects(labels));
        let first = selecting.min_by(|a, b| a.name.cmp(&b.name));
        first.or_else(|| self.told_pools.values().find(|pool| pool.selector.is_none())).map(|pool| pool.id)
    }

    /// The name of a pool.
    pub(crate) fn pool_name(&self, id: PoolId) -> Option<&str> {
        self.pool_ids.name(id.0).map(String::as_str)
    }

    /// The name of a department.
    pub(crate) fn department_name(&self, id: DepartmentId) -> Option<&str> {
        self.department_ids.name(id.0).map(String::as_str)
    }

    /// The name of a project.
    pub(crate) fn project_name(&self, id: ProjectId) -> Option<&str> {
        self.project_ids.name(id.0).map(String::as_str)
    }

    /// Brings what was told to what is seen.
    pub(crate) fn events(&mut self, namespaces: &Seen<slim::Namespace>) -> Changed {
        if !std::mem::take(&mut self.dirty) {
            return Changed::default();
        }
        self.problems.clear();
        let (owners, namespaces) = self.owners.look(&self.projects, namespaces);
        let mut changed = Changed { projects: owners, namespaces, ..Changed::default() };
        self.tell_pools(&mut changed);
        self.tell_departments(&mut changed);
        self.tell_projects(&mut changed);
        self.forget_departments(&mut changed);
        changed
    }

    fn tell_pools(&mut self, changed: &mut Changed) {
        let mut wanted =
            BTreeMap::from([(DEFAULT_POOL, PoolSpec::new(DEFAULT_POOL, PoolSpec::DEFAULT_NAME, None))]);
        for (name, pool) in self.pools.iter() {
            let id = PoolId(self.pool_ids.give(&name.name.to_string()));
            match convert::node_pool(pool, id) {
                Ok(spec) => drop(wanted.insert(id, spec)),
                Err(bad) => {
                    self.problems.insert(bad.object.clone(), bad.to_string());
                    // What was understood before stays in force.
                    wanted.extend(self.told_pools.get(&id).map(|spec| (id, spec.clone())));
                }
            }
        }
        for (id, spec) in &wanted {
            if self.told_pools.get(id) != Some(spec) {
                changed.first.push(Event::PoolSet(spec.clone()));
            }
        }
        for (id, spec) in &self.told_pools {
            if !wanted.contains_key(id) {
                changed.last.push(Event::PoolRemoved(*id));
                self.pool_ids.forget(&spec.name);
            }
        }
        self.told_pools = wanted;
    }

    fn tell_departments(&mut self, changed: &mut Changed) {
        let mut wanted = BTreeMap::new();
        for (name, department) in self.departments.iter() {
            let id = DepartmentId(self.department_ids.give(&name.name.to_string()));
            let pool = |name: &str| self.pool_ids.get(name).map(PoolId);
            match convert::department(department, id, pool) {
                Ok(spec) => drop(wanted.insert(id, spec)),
                Err(bad) => {
                    self.problems.insert(bad.object.clone(), bad.to_string());
                    wanted.extend(self.told_departments.get(&id).map(|spec| (id, spec.clone())));
                }
            }
        }
        for (id, spec) in &wanted {
            if self.told_departments.get(id) != Some(spec) {
                changed.first.push(Event::DepartmentSet(spec.clone()));
            }
        }
        // Those that are gone are removed after their projects.
        for (id, spec) in std::mem::replace(&mut self.told_departments, wanted) {
            if !self.told_departments.contains_key(&id) {
                changed.last.push(Event::DepartmentRemoved(id));
                self.department_ids.forget(&spec.name);
            }
        }
    }

    fn tell_projects(&mut self, changed: &mut Changed) {
        let mut wanted = BTreeMap::new();
        let mut by_namespace = BTreeMap::new();
        for (name, project) in self.projects.iter() {
            let object = format!("Project {}", name.name);
            let department = &project.spec.department;
            let known = self.department_ids.get(department).map(DepartmentId);
            let Some(department) = known.filter(|id| self.told_departments.contains_key(id)) else {
                self.problems.insert(object, format!("spec.department: {department} does not exist"));
                continue;
            };
            if let Some(problem) = self.owners.problem(&name.name, project) {
                self.problems.insert(object, problem);
                continue;
            }
            let id = ProjectId(self.project_ids.give(&name.name.to_string()));
            let pool = |name: &str| self.pool_ids.get(name).map(PoolId);
            match convert::project(project, id, department, pool) {
                Ok(spec) => {
                    by_namespace.insert(project.owned_namespace().to_owned(), id);
                    wanted.insert(id, spec);
                }
                Err(bad) => drop(self.problems.insert(bad.object.clone(), bad.to_string())),
            }
        }
        for (id, spec) in &wanted {
            if self.told_projects.get(id) != Some(spec) {
                changed.first.push(Event::ProjectSet(spec.clone()));
                changed.projects = true;
            }
        }
        let gone: Vec<ProjectId> =
            self.told_projects.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            changed.projects = true;
            changed.last.insert(0, Event::ProjectRemoved(id));
            if let Some(name) = self.project_ids.name(id.0).cloned() {
                self.project_ids.forget(&name);
            }
        }
        self.told_projects = wanted;
        self.by_namespace = by_namespace;
    }

    /// Pools go last of all: queues name them.
    fn forget_departments(&mut self, changed: &mut Changed) {
        changed.last.sort_by_key(|event| match event {
            Event::ProjectRemoved(_) => 0,
            Event::DepartmentRemoved(_) => 1,
            _ => 2,
        });
    }
}

/// How long the memory of an eviction is kept (S25).
pub(crate) const MEMORY: Millis = Millis::from_secs(60);

/// True if something at this time is still remembered.
pub(crate) fn remembered(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < MEMORY
}
