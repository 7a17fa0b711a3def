//! Values of Kubernetes' own in expressions: quantities, versions, and attributes by domain.

use crate::quantity;
use cel::objects::{Key, Opaque, Value};
use std::cmp::Ordering;
use std::collections::HashMap;

/// An amount, in billionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Quantity(pub(super) i128);

impl Quantity {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let billionths = quantity::billionths(text);
        billionths.map(Self).map_err(|allowed| format!("\"{text}\" is no quantity; allowed: {allowed}"))
    }

    /// As a whole number, if it is one that fits.
    pub(super) fn whole(self) -> Option<i64> {
        let exact = self.0 % 1_000_000_000 == 0;
        i64::try_from(self.0 / 1_000_000_000).ok().filter(|_| exact)
    }
}

impl Opaque for Quantity {
    fn runtime_type_name(&self) -> &str {
        "kubernetes.Quantity"
    }
}

/// A semantic version. What was added about the build does not count.
#[derive(Clone, Debug)]
pub(super) struct Version(pub(super) semver::Version);

impl Version {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        semver::Version::parse(text).map(Self).map_err(|error| format!("\"{text}\" is no version: {error}"))
    }

    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Opaque for Version {
    fn runtime_type_name(&self) -> &str {
        "kubernetes.Semver"
    }
}

/// Attributes or capacities by domain. One that is not there has none, and is no error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Domains(pub(super) HashMap<Key, Value>);

impl Opaque for Domains {
    fn runtime_type_name(&self) -> &str {
        "kubernetes.Domains"
    }
}
