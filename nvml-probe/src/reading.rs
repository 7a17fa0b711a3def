//! What one call to NVML gave: a value, or why there is none.
//!
//! A missing value is never 0 and never ends the program. It stays apart from a value up to the last table and metric:
//! [`Reading`] has no default and no way to a number that skips the question.

use std::fmt;

use nvml_wrapper::error::NvmlError;
use serde::{Serialize, Serializer, ser::SerializeMap};

/// A value that NVML gave, or why it gave none.
///
/// In JSON a known value is the value itself, an unknown one is `{"unknown": "why"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// The value.
    Known(T),
    /// This device, driver or mode of operation has no such value: asking again is of no use.
    Unsupported,
    /// The call failed this time.
    Failed(Failure),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The loaded library is older than the call.
    #[error("the driver's library has no such call ({0})")]
    MissingSymbol(String),
    /// The caller may not ask this.
    #[error("no permission")]
    NoPermission,
    /// The device fell off the bus, or cannot be reached otherwise (S18).
    #[error("the device is lost")]
    Lost,
    /// The device answers nothing before it is reset (S18).
    #[error("the device needs a reset")]
    ResetRequired,
    /// The driver was unloaded or replaced: every handle is void, and NVML must be opened again.
    #[error("NVML is gone: {0}")]
    SessionGone(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Whether the device itself is out of reach, not only this value.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, Self::Lost | Self::ResetRequired)
    }

    /// Whether NVML must be opened again.
    pub fn is_session_gone(&self) -> bool {
        matches!(self, Self::SessionGone(_))
    }
}

impl From<NvmlError> for Failure {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::FailedToLoadSymbol(what) => Self::MissingSymbol(what),
            NvmlError::FunctionNotFound => Self::MissingSymbol(NvmlError::FunctionNotFound.to_string()),
            NvmlError::NoPermission => Self::NoPermission,
            NvmlError::GpuLost => Self::Lost,
            NvmlError::ResetRequired => Self::ResetRequired,
            NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch => {
                Self::SessionGone(error.to_string())
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unsupported | Self::Failed(_) => None,
        }
    }

    /// Why there is no value, if there is none.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Known(_) | Self::Unsupported => None,
        }
    }

    /// The same reading of another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Known(value) => Reading::Known(f(value)),
            Self::Unsupported => Reading::Unsupported,
            Self::Failed(failure) => Reading::Failed(failure),
        }
    }

    /// This reading, or another one where this gave no value.
    pub fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Known(_) => self,
            Self::Unsupported | Self::Failed(_) => match other() {
                known @ Self::Known(_) => known,
                Self::Unsupported | Self::Failed(_) => self,
            },
        }
    }
}

impl<T> From<Result<T, NvmlError>> for Reading<T> {
    fn from(result: Result<T, NvmlError>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(NvmlError::NotSupported) => Self::Unsupported,
            Err(error) => Self::Failed(error.into()),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Unsupported => f.pad("unknown (not supported)"),
            Self::Failed(failure) => f.pad(&format!("unknown ({failure})")),
        }
    }
}

impl<T: Serialize> Serialize for Reading<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let why = match self {
            Self::Known(value) => return value.serialize(serializer),
            Self::Unsupported => "not supported".to_owned(),
            Self::Failed(failure) => failure.to_string(),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("unknown", &why)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_never_a_number() {
        let known: Reading<u64> = Ok(0).into();
        let unsupported: Reading<u64> = Err(NvmlError::NotSupported).into();
        let lost: Reading<u64> = Err(NvmlError::GpuLost).into();
        let gone: Reading<u64> = Err(NvmlError::LibRmVersionMismatch).into();
        assert_eq!(serde_json::to_string(&known).unwrap(), "0");
        assert_eq!(serde_json::to_string(&unsupported).unwrap(), r#"{"unknown":"not supported"}"#);
        assert_eq!(lost.to_string(), "unknown (the device is lost)");
        assert!(lost.failure().unwrap().is_device_lost());
        assert!(gone.failure().unwrap().is_session_gone());
        assert_eq!(unsupported.known(), None);
    }
}
