//! How many pods of each role must be placed, and whether enough of them exist.

use super::member::Kind;
use super::shape::Shape;

/// The pods of a workload that have the same role and the same specification.
///
/// A role whose pods differ (by volumes made for each, say) is several of these, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RolePods {
    /// The role.
    pub role: String,
    /// How many pods there are, those that have succeeded included.
    pub pods: u32,
    /// What the pods state as the minimum of the role.
    pub min_members: Option<u32>,
}

/// How many pods of each [`RolePods`] must be placed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Minimums {
    /// In the order that was given; never more than there are.
    pub min: Vec<u32>,
    /// What is not there yet. While something is, the workload cannot start and is not to be shown to the engine as ready.
    pub short: Vec<Short>,
}

/// Pods that are needed and do not exist yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Short {
    /// The role; empty for the workload as a whole.
    pub role: String,
    /// How many there are.
    pub have: u32,
    /// How many are needed.
    pub need: u32,
}

/// The minimum of each role (S5).
///
/// Per role: what its pods state, else what the controller's object says (`shape`), else, for a gang without an object, all
/// pods that are there. For what is no gang: one pod in all, of the first role.
///
/// A minimum of several [`RolePods`] is taken from them in order. It is exact if all pods are needed or all are equal; else a
/// gang may wait for the first of its pods although others would do.
pub fn minimums(kind: Kind, shape: Option<&Shape>, roles: &[RolePods]) -> Minimums {
    let mut minimums = Minimums { min: vec![0; roles.len()], short: Vec::new() };
    let stated = |role: &str| roles.iter().filter(|r| r.role == role).find_map(|r| r.min_members);
    let mut names: Vec<&str> = roles.iter().map(|role| role.role.as_str()).collect();
    names.extend(shape.into_iter().flat_map(|shape| &shape.roles).map(|role| role.name.as_str()));
    let mut seen: Vec<&str> = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(name);
            true
        }
    });

    let in_all = shape.and_then(|shape| shape.min);
    let gang = kind.is_gang() || names.iter().any(|name| stated(name).is_some());
    if !gang || (in_all.is_some() && names.iter().all(|name| stated(name).is_none())) {
        let need = in_all.unwrap_or(1);
        let all: Vec<usize> = (0..roles.len()).collect();
        minimums.take(roles, &all, "", need);
        return minimums;
    }
    for name in names {
        let of_role: Vec<usize> = (0..roles.len()).filter(|at| roles[*at].role == name).collect();
        let have = of_role.iter().map(|at| roles[*at].pods).sum();
        let by_owner = || shape?.roles.iter().find(|role| role.name == name).map(|role| role.min);
        // A role that nobody speaks of is needed whole in a gang, and not at all where only others state a minimum.
        let need = stated(name).or_else(by_owner).unwrap_or(if kind.is_gang() { have } else { 0 });
        minimums.take(roles, &of_role, name, need);
    }
    minimums
}

impl Minimums {
    /// Takes `need` pods from these roles, in order.
    fn take(&mut self, roles: &[RolePods], at: &[usize], name: &str, need: u32) {
        let mut rest = need;
        for at in at {
            self.min[*at] = rest.min(roles[*at].pods);
            rest -= self.min[*at];
        }
        if rest > 0 {
            self.short.push(Short { role: name.to_owned(), have: need - rest, need });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::RoleShape;
    use super::*;

    fn pods(list: &[(&str, u32, Option<u32>)]) -> Vec<RolePods> {
        let role = |(role, pods, min): &(&str, u32, Option<u32>)| RolePods {
            role: (*role).to_owned(),
            pods: *pods,
            min_members: *min,
        };
        list.iter().map(role).collect()
    }

    fn shape(roles: &[(&str, u32)], min: Option<u32>) -> Shape {
        let role = |(name, min): &(&str, u32)| RoleShape { name: (*name).to_owned(), count: *min, min: *min };
        Shape { roles: roles.iter().map(role).collect(), min }
    }

    /// What is there, and the minimums and what is short as text.
    fn check(kind: Kind, shape: Option<Shape>, list: &[(&str, u32, Option<u32>)], expected: &str) {
        let found = minimums(kind, shape.as_ref(), &pods(list));
        let short: Vec<_> =
            found.short.iter().map(|s| format!(" {}: {} of {}", s.role, s.have, s.need)).collect();
        assert_eq!(format!("{:?}{}", found.min, short.concat()), expected);
    }

    #[test]
    fn s5_what_is_no_gang_starts_with_one_pod() {
        check(Kind::Job, None, &[("main", 8, None)], "[1]");
        check(Kind::Pod, None, &[("main", 1, None)], "[1]");
        check(Kind::ReplicaSet, None, &[("main", 3, None), ("main", 1, None)], "[1, 0]");
        check(Kind::Label, None, &[("a", 2, None), ("b", 2, None)], "[1, 0]");
        check(Kind::Job, Some(shape(&[("main", 1)], None)), &[("main", 8, None)], "[1]");
    }

    #[test]
    fn s5_a_stated_minimum_makes_a_gang() {
        check(Kind::Job, None, &[("main", 8, Some(8))], "[8]");
        check(Kind::Label, None, &[("master", 1, Some(1)), ("worker", 4, Some(2))], "[1, 2]");
        check(Kind::Label, None, &[("master", 1, None), ("worker", 4, Some(2))], "[0, 2]");
        check(Kind::Job, None, &[("main", 3, Some(8))], "[3] main: 3 of 8");
    }

    #[test]
    fn s5_a_gang_waits_until_its_pods_exist() {
        let two = || Some(shape(&[("master", 1), ("worker", 4)], None));
        check(Kind::JobSet, two(), &[("worker", 4, None)], "[4] master: 0 of 1");
        check(Kind::JobSet, two(), &[("master", 1, None), ("worker", 3, None)], "[1, 3] worker: 3 of 4");
        check(Kind::JobSet, two(), &[("master", 1, None), ("worker", 4, None)], "[1, 4]");
        check(Kind::JobSet, two(), &[("master", 1, None), ("worker", 4, Some(2))], "[1, 2]");
        check(Kind::JobSet, None, &[("worker", 3, None)], "[3]");
    }

    #[test]
    fn s5_a_minimum_in_all_is_taken_in_order() {
        check(Kind::PodGroup, Some(shape(&[], Some(3))), &[("a", 2, None), ("b", 2, None)], "[2, 1]");
        check(Kind::PodGroup, Some(shape(&[], Some(5))), &[("a", 2, None)], "[2] : 2 of 5");
        check(Kind::TrainingJob, Some(shape(&[("w", 4)], Some(2))), &[("w", 4, None)], "[2]");
    }
}
