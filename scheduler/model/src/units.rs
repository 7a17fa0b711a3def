//! Amounts, as integers with their unit in the type's name. No floating point decides anything.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
        }
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }
    };
}

amount!(
    /// Thousandths of a CPU core.
    MilliCpu(i64)
);
amount!(
    /// Bytes of memory or storage.
    Bytes(i64)
);
amount!(
    /// MiB of the memory of one GPU device.
    GpuMemoryMib(i64)
);
amount!(
    /// Millionths of one GPU device.
    GpuShare(i64)
);
amount!(
    /// A span of time in milliseconds.
    Millis(i64)
);
amount!(
    /// A moment, in milliseconds since an origin that the feeder of the events chooses.
    Timestamp(i64)
);

impl GpuShare {
    /// One whole device.
    pub const DEVICE: Self = Self(1_000_000);

    /// `count` whole devices.
    pub const fn devices(count: u32) -> Self {
        Self(count as i64 * Self::DEVICE.0)
    }
}

impl GpuMemoryMib {
    /// The share of a device that so much of its memory is charged as: rounded up, at most the device (S13).
    pub const fn share_of(self, device: Self) -> GpuShare {
        let whole = if device.0 > 1 { device.0 as i128 } else { 1 };
        let share = (self.0 as i128 * GpuShare::DEVICE.0 as i128 + whole - 1) / whole;
        if share < GpuShare::DEVICE.0 as i128 { GpuShare(share as i64) } else { GpuShare::DEVICE }
    }
}

impl Millis {
    /// `seconds` as milliseconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1000)
    }
}

impl Neg for Millis {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Timestamp {
    /// The moment `span` later; saturates at the ends of time.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The time from `earlier` to this moment; saturates.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 1000, 3)
    }
}

impl fmt::Display for GpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 1_000_000, 6)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, suffix) in [(1i64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")] {
            if self.0 != 0 && self.0 % unit == 0 {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        // Not a round binary amount: three digits after the point of the largest unit below it, or bytes.
        for (unit, suffix) in [(1i64 << 30, "Gi"), (1 << 20, "Mi")] {
            if self.0.abs() >= unit {
                decimal(f, (self.0 as i128 * 1000 / unit as i128) as i64, 1000, 3)?;
                return f.write_str(suffix);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for GpuMemoryMib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0 && self.0 % 1024 == 0 {
            write!(f, "{}Gi", self.0 / 1024)
        } else {
            write!(f, "{}Mi", self.0)
        }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, ms) = if self.0 < 0 { ("-", self.0.unsigned_abs()) } else { ("", self.0 as u64) };
        f.write_str(sign)?;
        match ms {
            0..1000 => write!(f, "{ms}ms"),
            1000..60_000 => decimal(f, ms as i64, 1000, 3).and_then(|()| f.write_str("s")),
            _ => {
                let s = ms / 1000;
                let (d, h, m, s) = (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
                for (n, unit) in [(d, "d"), (h, "h"), (m, "m"), (s, "s")] {
                    if n > 0 {
                        write!(f, "{n}{unit}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Writes `value / unit` exactly, without trailing zeros.
fn decimal(f: &mut fmt::Formatter<'_>, value: i64, unit: i64, digits: usize) -> fmt::Result {
    let (sign, value, unit) = (if value < 0 { "-" } else { "" }, value.unsigned_abs(), unit.unsigned_abs());
    let fraction = format!("{:0digits$}", value % unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        write!(f, "{sign}{}", value / unit)
    } else {
        write!(f, "{sign}{}.{fraction}", value / unit)
    }
}

/// What a node can give out besides GPUs, or what a pod asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
    /// Ephemeral storage. On a node, 0 means that the node reports none; a pod asking for some then does not fit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ephemeral: Bytes,
    /// On a node: the number of pods it takes. In a request: ignored, a pod is one pod.
    #[serde(default, skip_serializing_if = "is_none_asked")]
    pub pods: u32,
    /// Extended resources by name, in their own units, for example `example.com/nic`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extended: BTreeMap<String, i64>,
}

fn is_zero(bytes: &Bytes) -> bool {
    bytes.0 == 0
}

fn is_none_asked(pods: &u32) -> bool {
    *pods == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_exactly_and_shortly() {
        let cases = [
            (GpuShare(300_000).to_string(), "0.3"),
            (GpuShare(-1_500_000).to_string(), "-1.5"),
            (GpuShare::devices(2).to_string(), "2"),
            (MilliCpu(1050).to_string(), "1.05"),
            (Bytes(512 << 30).to_string(), "512Gi"),
            (Bytes(1000).to_string(), "1000"),
            (Bytes(1_000_000_000).to_string(), "953.674Mi"),
            (GpuMemoryMib(16 * 1024).to_string(), "16Gi"),
            (Millis(90_061_000).to_string(), "1d1h1m1s"),
            (Millis(1500).to_string(), "1.5s"),
        ];
        for (printed, expected) in cases {
            assert_eq!(printed, expected);
        }
    }
}
