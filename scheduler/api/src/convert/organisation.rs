//! NodePool, Department, Project -> the model's (S1, S2).
//!
//! The caller gives identifiers and finds those of the objects that are named. A pool that is named and does not exist is no
//! error: its entry is left out until it does, and the names are handed back for a condition.

use crate::error::{Bad, Malformed};
use crate::objects::amount::{Amount, Span};
use crate::objects::{
    self, Department, FractionStrategy, NodePool, NodeStrategy, NodeTypes, PoolQuota, Project,
};
use crate::slim::named;
use berth_model::{
    DepartmentId, DepartmentSpec, DeviceStrategy, Millis, NodeTypeRule, OverLimit, PoolId, PoolSelector,
    PoolSpec, ProjectId, ProjectSpec, QueueQuota, Quota, ResourceQuota, Strategy, Timestamp,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// When an object was created, in milliseconds since 1970; 0 if it has not been yet.
pub(crate) fn created(meta: &ObjectMeta) -> Timestamp {
    Timestamp(meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond()))
}

fn span(field: &str, span: &Span) -> Result<Millis, Bad> {
    span.read().map_err(|allowed| Bad::new(field, &span.0, allowed))
}

fn not_negative(field: &str, value: &Span) -> Result<Millis, Bad> {
    match span(field, value)? {
        millis if millis >= Millis::ZERO => Ok(millis),
        _ => Err(Bad::new(field, &value.0, "a duration of 0s or more")),
    }
}

fn count(field: &str, count: i32) -> Result<u32, Bad> {
    u32::try_from(count).map_err(|_| Bad::new(field, count, "0 or more"))
}

/// A pool as the model has it (S1).
///
/// # Errors
/// A field is malformed.
pub fn node_pool(pool: &NodePool, id: PoolId) -> Result<PoolSpec, Malformed> {
    read_pool(pool, id).map_err(|bad| bad.under("spec").of(named(pool)))
}

fn read_pool(pool: &NodePool, id: PoolId) -> Result<PoolSpec, Bad> {
    let strategy = |strategy| match strategy {
        NodeStrategy::Binpack => Strategy::Binpack,
        NodeStrategy::Spread => Strategy::Spread,
        NodeStrategy::BestFit => Strategy::BestFit,
        NodeStrategy::Fgd => Strategy::Fgd,
    };
    let (name, spec) = (pool.metadata.name.clone().unwrap_or_default(), &pool.spec);
    if (name == PoolSpec::DEFAULT_NAME) == spec.selector.is_some() {
        let value = if spec.selector.is_some() { "set" } else { "not set" };
        return Err(Bad::new("selector", value, "set in every pool but `default`, and not set there (S1)"));
    }
    let selector = spec.selector.as_ref();
    Ok(PoolSpec {
        id,
        name,
        selector: selector.map(|s| PoolSelector { key: s.key.clone(), value: s.value.clone() }),
        gpu: strategy(spec.gpu_strategy),
        cpu: strategy(spec.cpu_strategy),
        device: match spec.device_strategy {
            FractionStrategy::Binpack => DeviceStrategy::Binpack,
            FractionStrategy::Spread => DeviceStrategy::Spread,
        },
        min_runtime: not_negative("minRuntime", &spec.min_runtime)?,
        stale_grace: span("staleGrace", &spec.stale_grace)?,
        consolidation: spec.consolidation.enabled,
        max_moves: count("consolidation.maxMoves", spec.consolidation.max_moves)?,
        over_limit: match spec.over_limit {
            objects::OverLimit::Report => OverLimit::Report,
            objects::OverLimit::EvictPreemptible => OverLimit::EvictPreemptible,
            objects::OverLimit::Evict => OverLimit::Evict,
        },
    })
}

type Read<'a> = Option<(&'a str, Result<Amount, &'static str>)>;

fn resource(field: &str, quota: Read<'_>, limit: Read<'_>, unset: Quota) -> Result<ResourceQuota, Bad> {
    let read = |part: &str, amount: Read<'_>| {
        amount
            .map(|(text, amount)| {
                amount.map_err(|allowed| Bad::new(format!("{field}.{part}"), text, allowed))
            })
            .transpose()
    };
    let (quota, limit) = (read("quota", quota)?, read("limit", limit)?);
    if let (Some(Amount::Of(quota)), Some(Amount::Of(limit))) = (quota, limit)
        && limit < quota
    {
        return Err(Bad::new(format!("{field}.limit"), "less than the quota", "the quota or more, or none"));
    }
    Ok(ResourceQuota {
        quota: match quota {
            Some(Amount::Of(amount)) => Quota::Of(amount),
            Some(Amount::Unlimited) => Quota::Unlimited,
            None => unset,
        },
        limit: match limit {
            Some(Amount::Of(amount)) => Some(amount),
            Some(Amount::Unlimited) | None => None,
        },
    })
}

/// What a queue has in one pool, as the model has it (S2).
///
/// # Errors
/// A field of `object` is malformed.
pub fn queue_quota(object: &str, quota: &PoolQuota) -> Result<QueueQuota, Malformed> {
    read_quota(quota).map_err(|bad| bad.under(format!("spec.pools[{}]", quota.name)).of(object))
}

fn read_quota(pool: &PoolQuota) -> Result<QueueQuota, Bad> {
    macro_rules! amounts {
        ($name:literal, $field:ident, $unset:expr) => {{
            let part = pool.$field.clone().unwrap_or_default();
            resource(
                $name,
                part.quota.as_ref().map(|amount| (amount.0.as_str(), amount.read())),
                part.limit.as_ref().map(|amount| (amount.0.as_str(), amount.read())),
                $unset,
            )?
        }};
    }
    Ok(QueueQuota {
        gpu: amounts!("gpu", gpu, Quota::Of(0)),
        cpu: amounts!("cpu", cpu, Quota::Unmanaged),
        memory: amounts!("memory", memory, Quota::Unmanaged),
        weight: pool.weight.map(|weight| count("weight", weight)).transpose()?,
    })
}

fn quotas(
    object: &str,
    pools: &[PoolQuota],
    pool: &impl Fn(&str) -> Option<PoolId>,
) -> Result<Vec<(PoolId, QueueQuota)>, Malformed> {
    let mut quotas = Vec::new();
    for named in pools {
        let quota = queue_quota(object, named)?;
        quotas.extend(pool(&named.name).map(|id| (id, quota)));
    }
    Ok(quotas)
}

fn node_types(rule: Option<&NodeTypes>) -> Option<NodeTypeRule> {
    rule.map(|rule| NodeTypeRule { key: rule.key.clone(), values: rule.values.clone() })
}

/// A department as the model has it (S2); `pool` finds the identifier of a pool by its name.
///
/// # Errors
/// A field is malformed.
pub fn department(
    department: &Department,
    id: DepartmentId,
    pool: impl Fn(&str) -> Option<PoolId>,
) -> Result<DepartmentSpec, Malformed> {
    let spec = &department.spec;
    Ok(DepartmentSpec {
        id,
        name: department.metadata.name.clone().unwrap_or_default(),
        created: created(&department.metadata),
        rank: spec.rank,
        quotas: quotas(&named(department), &spec.pools, &pool)?,
        node_types: node_types(spec.node_types.as_ref()),
    })
}

/// A project as the model has it (S2), in the department with the identifier that the caller has found for
/// `spec.department`; `pool` finds the identifier of a pool by its name.
///
/// The model's project is known by its namespace.
///
/// # Errors
/// A field is malformed.
pub fn project(
    project: &Project,
    id: ProjectId,
    department: DepartmentId,
    pool: impl Fn(&str) -> Option<PoolId>,
) -> Result<ProjectSpec, Malformed> {
    let spec = &project.spec;
    let object = named(project);
    if let Some(defaults) = &spec.workload_defaults {
        let spans = [
            ("grace", &defaults.grace),
            ("staleGrace", &defaults.stale_grace),
            ("startTimeout", &defaults.start_timeout),
        ];
        for (field, value) in spans {
            let read = value.as_ref().map(|value| span(field, value)).transpose();
            read.map_err(|bad| bad.under("spec.workloadDefaults").of(&object))?;
        }
    }
    let hold_after = spec.hold_after.as_ref().map(|value| span("holdAfter", value)).transpose();
    Ok(ProjectSpec {
        id,
        name: project.owned_namespace().to_owned(),
        department,
        created: created(&project.metadata),
        rank: spec.rank,
        quotas: quotas(&object, &spec.pools, &pool)?,
        pools: spec.pool_order.iter().filter_map(|name| pool(name)).collect(),
        node_types: node_types(spec.node_types.as_ref()),
        hold_after: hold_after.map_err(|bad| bad.under("spec").of(&object))?,
    })
}
