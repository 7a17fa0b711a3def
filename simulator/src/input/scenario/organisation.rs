//! Departments, projects and their quotas.

use super::names::{Names, unique};
use crate::case::{Cluster, DisruptionBudget};
use crate::input::error::InputError;
use crate::input::yaml::{At, Fields};
use berth_model::{
    DepartmentId, DepartmentSpec, Millis, NodeSpec, NodeTypeRule, PoolId, PoolSpec, ProjectId, ProjectSpec,
    QueueQuota, Quota, ResourceQuota, Timestamp,
};
use rustc_hash::FxHashMap;

/// Name of the department that there is when none is described.
const ONLY_DEPARTMENT: &str = "default";
const RANK_DEFAULT: i32 = 100;
/// The fields of a quota.
pub(super) const QUOTA_FIELDS: &[&str] =
    &["gpu", "gpuLimit", "cpu", "cpuLimit", "memory", "memoryLimit", "weight"];

/// Who may use what.
#[derive(Clone)]
pub(super) struct Organisation {
    pub(super) departments: Vec<DepartmentSpec>,
    pub(super) projects: Vec<ProjectSpec>,
}

impl Organisation {
    /// The cluster of this organisation, with these pools and nodes.
    pub(super) fn into_cluster(
        self,
        pools: Vec<PoolSpec>,
        nodes: Vec<NodeSpec>,
        budgets: Vec<DisruptionBudget>,
    ) -> Cluster {
        Cluster { pools, departments: self.departments, projects: self.projects, nodes, budgets }
    }
}

/// Departments and projects; of two, the one listed first is older.
pub(super) fn read(top: &Fields<'_>, pools: &[PoolSpec]) -> Result<Organisation, InputError> {
    let pools = Names::new(pools.iter().map(|p| p.name.as_str()));
    let departments = departments(top, &pools)?;
    let names = Names::new(departments.iter().map(|d| d.name.as_str()));
    let mut projects = Vec::new();
    let mut seen = FxHashMap::default();
    for at in top.items("projects")? {
        let id = projects.len() as u32;
        projects.push(project(&at, id, &mut seen, &names, departments.len(), &pools)?);
    }
    Ok(Organisation { departments, projects })
}

fn departments(top: &Fields<'_>, pools: &Names) -> Result<Vec<DepartmentSpec>, InputError> {
    let mut departments = Vec::new();
    let mut seen = FxHashMap::default();
    for at in top.items("departments")? {
        let fields = at.fields(&["name", "rank", "quota", "nodeTypes"])?;
        let name = fields.need("name")?;
        departments.push(DepartmentSpec {
            id: DepartmentId(departments.len() as u32),
            name: unique(&mut seen, "department", name.name()?, name)?,
            created: Timestamp(departments.len() as i64),
            rank: fields.or("rank", RANK_DEFAULT, |at| at.integer(-1_000_000, 1_000_000))?,
            quotas: quotas(&fields, pools)?,
            node_types: fields.map("nodeTypes", node_types)?,
        });
    }
    if top.get("departments").is_none() {
        departments.push(only_department(pools.len()));
    }
    Ok(departments)
}

/// The department without bounds that there is when none is described.
pub(crate) fn only_department(pools: usize) -> DepartmentSpec {
    DepartmentSpec {
        id: DepartmentId(0),
        name: ONLY_DEPARTMENT.to_owned(),
        created: Timestamp(0),
        rank: RANK_DEFAULT,
        quotas: (0..pools as u32).map(|pool| (PoolId(pool), QueueQuota::unlimited())).collect(),
        node_types: None,
    }
}

fn project(
    at: &At<'_>,
    id: u32,
    seen: &mut FxHashMap<String, ()>,
    departments: &Names,
    department_count: usize,
    pools: &Names,
) -> Result<ProjectSpec, InputError> {
    let fields = at.fields(&["name", "department", "rank", "pools", "nodeTypes", "quota", "holdAfter"])?;
    let name = fields.need("name")?;
    let name = unique(seen, "project", name.name()?, name)?;
    let department = match fields.get("department") {
        Some(at) => departments.find("department", at)?,
        None if department_count == 1 => 0,
        None => {
            return Err(fields.at.problem("has no `department`, which is required when there are several"));
        }
    };
    Ok(ProjectSpec {
        id: ProjectId(id),
        name,
        department: DepartmentId(department as u32),
        created: Timestamp(i64::from(id)),
        rank: fields.or("rank", RANK_DEFAULT, |at| at.integer(-1_000_000, 1_000_000))?,
        quotas: quotas(&fields, pools)?,
        pools: pool_list(&fields, pools)?,
        node_types: fields.map("nodeTypes", node_types)?,
        hold_after: fields.map("holdAfter", hold_after)?,
    })
}

/// After how long room is held: a duration, or `never`.
fn hold_after(at: &At<'_>) -> Result<Millis, InputError> {
    if at.text()? == "never" {
        return Ok(Millis(-1));
    }
    at.span().map_err(|_| at.fail("never, or a duration of 0s or more"))
}

/// The field `pools`: an ordered list of pool names without repetition.
pub(super) fn pool_list(fields: &Fields<'_>, pools: &Names) -> Result<Vec<PoolId>, InputError> {
    let mut list = Vec::new();
    for at in fields.items("pools")? {
        let pool = PoolId(pools.find("pool", &at)? as u32);
        if list.contains(&pool) {
            return Err(at.fail("each pool once"));
        }
        list.push(pool);
    }
    Ok(list)
}

fn node_types(at: &At<'_>) -> Result<NodeTypeRule, InputError> {
    let fields = at.fields(&["key", "values"])?;
    let values = fields.need("values")?.list()?;
    Ok(NodeTypeRule {
        key: fields.need("key")?.name()?.to_owned(),
        values: values.iter().map(|at| at.text().map(str::to_owned)).collect::<Result<_, _>>()?,
    })
}

fn quotas(fields: &Fields<'_>, pools: &Names) -> Result<Vec<(PoolId, QueueQuota)>, InputError> {
    let Some(at) = fields.get("quota") else { return Ok(Vec::new()) };
    let mut quotas = Vec::new();
    for (pool, at) in at.entries()? {
        let pool = PoolId(pools.lookup("pool", pool, &at)? as u32);
        let fields = at.fields(QUOTA_FIELDS)?;
        quotas.push((pool, patched(QueueQuota::default(), &fields)?));
    }
    Ok(quotas)
}

/// `quota` with those of its fields replaced that are stated; `null` states "not managed" or "no limit".
pub(super) fn patched(mut quota: QueueQuota, fields: &Fields<'_>) -> Result<QueueQuota, InputError> {
    let keys = [("gpu", "gpuLimit", 1_000_000), ("cpu", "cpuLimit", 1000), ("memory", "memoryLimit", 1)];
    for (resource, (amount, limit, per_one)) in
        [&mut quota.gpu, &mut quota.cpu, &mut quota.memory].into_iter().zip(keys)
    {
        let unset = if amount == "gpu" { Quota::Of(0) } else { Quota::Unmanaged };
        patch(resource, fields, amount, limit, per_one, unset)?;
    }
    if let Some(at) = fields.raw("weight") {
        quota.weight = if at.is_null() { None } else { Some(at.integer(0, 1_000_000)?) };
    }
    Ok(quota)
}

fn patch(
    resource: &mut ResourceQuota,
    fields: &Fields<'_>,
    amount: &str,
    limit: &str,
    per_one: i64,
    unset: Quota,
) -> Result<(), InputError> {
    if let Some(at) = fields.raw(amount) {
        resource.quota = match at {
            at if at.is_null() => unset,
            at if at.text()? == "unlimited" => Quota::Unlimited,
            at => Quota::Of(at.quantity(per_one)?),
        };
    }
    if let Some(at) = fields.raw(limit) {
        resource.limit = match at {
            at if at.is_null() || at.text()? == "unlimited" => None,
            at => Some(at.quantity(per_one)?),
        };
    }
    Ok(())
}
