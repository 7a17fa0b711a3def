//! Amounts of GPUs, CPU and memory, and durations, as they are written in objects.
//!
//! An amount is a string or an integer. It is kept as it was written, so that an object that an older API server has let
//! through can still be read and told what is wrong with it; [`GpuAmount::read`] and its like read it exactly. The rules in
//! the schemas refuse what `read` would refuse, with one exception that they cannot express cheaply: CPU finer than `1m`
//! written with an exponent.

use crate::quantity::{self, Allowed};
use berth_model::Millis;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// An amount as read: so many units, or as much as is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// In the resource's unit.
    Of(i64),
    /// Whatever is asked for.
    Unlimited,
}

/// The word for [`Amount::Unlimited`].
pub const UNLIMITED: &str = "unlimited";

fn read(text: &str, per_one: i64, max: i64, allowed: Allowed) -> Result<Amount, Allowed> {
    if text == UNLIMITED {
        return Ok(Amount::Unlimited);
    }
    match quantity::quantity(text, per_one) {
        Ok(amount) if (0..=max).contains(&amount) => Ok(Amount::Of(amount)),
        _ => Err(allowed),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IntOrString {
    Int(i64),
    String(String),
}

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident, $per_one:expr, $max:expr, $allowed:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// What may be written.
            pub const ALLOWED: Allowed = $allowed;

            /// The amount in its unit.
            ///
            /// # Errors
            /// What is allowed.
            pub fn read(&self) -> Result<Amount, Allowed> {
                read(&self.0, $per_one, $max, $allowed)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(Self(match IntOrString::deserialize(from)? {
                    IntOrString::Int(int) => int.to_string(),
                    IntOrString::String(text) => text,
                }))
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "x-kubernetes-int-or-string": true,
                    "maxLength": 24,
                    "x-kubernetes-validations": [{ "rule": $rule, "message": concat!("allowed: ", $allowed) }],
                })
            }
        }
    };
}

/// The most GPUs that may be written, in devices.
const GPUS_MAX: i64 = 10_000_000;
/// The most CPU that may be written, in cores.
const CORES_MAX: i64 = 1_000_000_000;
/// The most memory that may be written, in bytes.
const MEMORY_MAX: i64 = 64 << 50;

amount!(
    /// A number of GPU devices, whole or not: `2`, `"1.5"`, `"unlimited"`. Read in millionths of a device.
    GpuAmount, 1_000_000, GPUS_MAX * 1_000_000,
    "a number of GPU devices from 0 to 10000000 with at most six digits after the point, as in 8 or \"1.5\", or \"unlimited\"",
    "type(self) == int ? self >= 0 && self <= 10000000 : self == 'unlimited' || (self.matches('^[0-9]{1,8}([.][0-9]{1,6})?$') && quantity(self).compareTo(quantity('10000000')) <= 0)"
);
amount!(
    /// A number of CPU cores: `16`, `"1.5"`, `"500m"`, `"unlimited"`. Read in thousandths of a core.
    CpuAmount, 1000, CORES_MAX * 1000,
    "CPU cores from 0 to 1000000000, at least 1m apart, as in 16, \"1.5\" or \"500m\", or \"unlimited\"",
    "type(self) == int ? self >= 0 && self <= 1000000000 : self == 'unlimited' || (self.matches('^([0-9]{1,10}([.][0-9]{1,3})?|[0-9]{1,13}m|[0-9]{1,7}k)$') && quantity(self).compareTo(quantity('1000000000')) <= 0)"
);
amount!(
    /// Memory: `"512Gi"`, `1000000`, `"unlimited"`. Read in bytes.
    MemoryAmount, 1, MEMORY_MAX,
    "memory in whole bytes from 0 to 64Pi, as in \"512Gi\", or \"unlimited\"",
    "type(self) == int ? self >= 0 && self <= 72057594037927936 : self == 'unlimited' || (isQuantity(self) && quantity(self).isInteger() && quantity(self).compareTo(quantity('0')) >= 0 && quantity(self).compareTo(quantity('64Pi')) <= 0)"
);

/// A span of time: `90s`, `1h30m`, `1d`; units `d`, `h`, `m`, `s`, `ms`, the largest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

impl Span {
    /// What may be written.
    pub const ALLOWED: Allowed = "a duration such as 0s, 90s, 1h30m or 1d, units largest first";

    /// The span, which may be negative.
    ///
    /// # Errors
    /// What is allowed.
    pub fn read(&self) -> Result<Millis, Allowed> {
        quantity::duration(&self.0).map_err(|_| Self::ALLOWED)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let rule = "self.matches('^-?(0|([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}([.][0-9]{1,3})?s)?([0-9]{1,12}ms)?)$') && self != '' && self != '-'";
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "x-kubernetes-validations": [{ "rule": rule, "message": format!("allowed: {}", Self::ALLOWED) }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_strings_or_integers_and_exact() {
        let gpu = |text: &str| GpuAmount(text.to_owned()).read();
        assert_eq!(gpu("1.5"), Ok(Amount::Of(1_500_000)));
        assert_eq!(gpu("unlimited"), Ok(Amount::Unlimited));
        assert_eq!(serde_json::from_str::<GpuAmount>("2").unwrap(), GpuAmount("2".into()));
        assert_eq!(serde_json::from_str::<GpuAmount>("\"2\"").unwrap(), GpuAmount("2".into()));
        assert!(serde_json::from_str::<GpuAmount>("true").is_err());
        for text in ["-1", "0.1234567", "many", "", "10000001"] {
            assert_eq!(gpu(text), Err(GpuAmount::ALLOWED), "{text}");
        }
        assert_eq!(CpuAmount("500m".into()).read(), Ok(Amount::Of(500)));
        assert_eq!(MemoryAmount("1.5Gi".into()).read(), Ok(Amount::Of(3 << 29)));
        assert_eq!(MemoryAmount("1.001Ki".into()).read(), Err(MemoryAmount::ALLOWED));
        assert_eq!(MemoryAmount("65Pi".into()).read(), Err(MemoryAmount::ALLOWED));
        assert_eq!(Span("-1s".into()).read(), Ok(Millis(-1000)));
        assert_eq!(Span("soon".into()).read(), Err(Span::ALLOWED));
    }
}
