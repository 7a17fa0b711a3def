//! Units of what is read, as integers: no amount is ever a bare number.

use std::fmt;

use serde::Serialize;

macro_rules! units {
    ($($(#[$doc:meta])* $name:ident($inner:ty), $suffix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!("{}", $suffix), self.0))
            }
        }
    )*};
}

units! {
    /// Degrees Celsius.
    Celsius(u32), " C";
    /// Thousandths of a watt.
    Milliwatts(u32), " mW";
    /// Hundredths of a whole.
    Percent(u32), " %";
    /// A process, as the driver's host numbers it.
    Pid(u32), "";
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Whole MiB, rounded down.
    pub fn mib(self) -> u64 {
        self.0 >> 20
    }

    /// Whole MiB, rounded up.
    pub fn mib_up(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} MiB", self.mib()))
    }
}
