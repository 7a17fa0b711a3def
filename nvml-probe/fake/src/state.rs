//! What the library keeps between calls: the script as last read, how often it was opened, the sets of events.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nvml_wrapper_sys::bindings as nvml;

use crate::script::{Device, ErrorCode, MigInstance, Script};

/// The result of a call: nothing, or NVML's number of the error.
pub(crate) type Outcome = Result<(), nvml::nvmlReturn_t>;

pub(crate) const INVALID_ARGUMENT: nvml::nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
pub(crate) const NOT_SUPPORTED: nvml::nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
pub(crate) const NOT_FOUND: nvml::nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND;
pub(crate) const INSUFFICIENT_SIZE: nvml::nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE;
const UNINITIALIZED: nvml::nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED;
const UNKNOWN: nvml::nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN;

/// Handles begin here, so that no handle is null or looks like an index.
const FIRST_HANDLE: usize = 0x1_0000;
/// A device's handle is followed by those of its places for MIG instances.
const HANDLES_PER_DEVICE: usize = 64;

static STATE: Mutex<State> = Mutex::new(State::new());

/// All that is kept.
pub(crate) struct State {
    script: Option<(FileStamp, Script)>,
    opened: u32,
    boot: u64,
    /// By handle; a freed one is none.
    pub(crate) sets: Vec<Option<EventSet>>,
}

/// A set of events.
#[derive(Default)]
pub(crate) struct EventSet {
    /// Events of the script before this one are delivered, or came before the set.
    pub(crate) next: usize,
    /// Device index and bits.
    pub(crate) registered: Vec<(u32, u64)>,
}

/// What tells one version of the file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileStamp(u64, u64, i64, i64);

/// What a handle stands for.
pub(crate) enum Target<'s> {
    Device(u32, &'s Device),
    Mig(&'s MigInstance),
}

impl State {
    const fn new() -> Self {
        Self { script: None, opened: 0, boot: 0, sets: Vec::new() }
    }

    /// The script as it is now.
    pub(crate) fn script(&self) -> Result<&Script, nvml::nvmlReturn_t> {
        self.script.as_ref().map(|(_, script)| script).ok_or(UNKNOWN)
    }

    fn refresh(&mut self) -> io::Result<()> {
        let path = script_path()?;
        let metadata = fs::metadata(&path)?;
        let stamp = FileStamp(metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if self.script.as_ref().is_some_and(|(known, _)| *known == stamp) {
            return Ok(());
        }
        self.script = Some((stamp, serde_json::from_slice(&fs::read(&path)?)?));
        Ok(())
    }
}

/// `$NVML_FAKE_SCRIPT`, or `nvml-fake.json` beside the library: a copy of the library is a machine of its own.
fn script_path() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os("NVML_FAKE_SCRIPT") {
        return Ok(path.into());
    }
    let library = own_path().ok_or_else(|| io::Error::other("the library cannot find itself"))?;
    Ok(library.with_file_name("nvml-fake.json"))
}

fn own_path() -> Option<PathBuf> {
    use std::{ffi::CStr, ffi::OsStr, mem, os::unix::ffi::OsStrExt};
    // SAFETY: all zeros is a value of this struct of pointers.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    let here = own_path as *const () as *const libc::c_void;
    // SAFETY: the address is in this library, and the result is written into a struct that lives here.
    if unsafe { libc::dladdr(here, &mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own name of the library, which lives as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_owned())
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn code(outcome: Outcome) -> nvml::nvmlReturn_t {
    outcome.err().unwrap_or(nvml::nvmlReturn_enum_NVML_SUCCESS)
}

/// Opens the library.
pub(crate) fn open() -> nvml::nvmlReturn_t {
    let mut state = lock();
    if let Err(error) = state.refresh() {
        eprintln!("nvml-fake: the script cannot be read: {error}");
        return UNKNOWN;
    }
    let (down, boot) = match state.script() {
        Ok(script) => (script.down, script.boot),
        Err(code) => return code,
    };
    if let Some(error) = down {
        return error.code();
    }
    if boot != state.boot {
        state.sets.clear();
    }
    state.boot = boot;
    state.opened += 1;
    nvml::nvmlReturn_enum_NVML_SUCCESS
}

/// Closes it.
pub(crate) fn close() -> nvml::nvmlReturn_t {
    let mut state = lock();
    if state.opened == 0 {
        return UNINITIALIZED;
    }
    state.opened -= 1;
    nvml::nvmlReturn_enum_NVML_SUCCESS
}

/// A call of this name, with what is kept.
pub(crate) fn call(name: &str, work: impl FnOnce(&mut State) -> Outcome) -> nvml::nvmlReturn_t {
    let mut state = lock();
    if state.opened == 0 {
        return UNINITIALIZED;
    }
    if let Err(error) = state.refresh() {
        eprintln!("nvml-fake: the script cannot be read: {error}");
        return UNKNOWN;
    }
    let outcome = state.script().and_then(|script| {
        if let Some(error) = script.down.or(script.failures.get(name).copied()) {
            return Err(error.code());
        }
        if script.boot == state.boot { Ok(()) } else { Err(UNINITIALIZED) }
    });
    code(outcome.and_then(|()| work(&mut state)))
}

/// A call on a device or a MIG instance.
pub(crate) fn call_on(
    name: &str,
    handle: nvml::nvmlDevice_t,
    work: impl FnOnce(Target<'_>) -> Outcome,
) -> nvml::nvmlReturn_t {
    call(name, |state| {
        let script = state.script()?;
        let (index, place) = parts(handle).ok_or(INVALID_ARGUMENT)?;
        let device = script.devices.get(index as usize).ok_or(INVALID_ARGUMENT)?;
        if let Some(error) = device.state.or(device.failures.get(name).copied()) {
            return Err(error.code());
        }
        let Some(place) = place else {
            return work(Target::Device(index, device));
        };
        let instance = device.mig.as_ref().and_then(|mig| mig.instances.get(place)?.as_ref());
        work(Target::Mig(instance.ok_or(NOT_FOUND)?))
    })
}

/// A call that only whole devices know.
pub(crate) fn call_on_device(
    name: &str,
    handle: nvml::nvmlDevice_t,
    work: impl FnOnce(&Device) -> Outcome,
) -> nvml::nvmlReturn_t {
    call_on(name, handle, |target| match target {
        Target::Device(_, device) => work(device),
        Target::Mig(_) => Err(NOT_SUPPORTED),
    })
}

/// The handle of a device, or of one of its places for MIG instances.
pub(crate) fn handle(index: u32, place: Option<usize>) -> nvml::nvmlDevice_t {
    let offset = place.map_or(0, |place| place + 1);
    std::ptr::without_provenance_mut(FIRST_HANDLE + index as usize * HANDLES_PER_DEVICE + offset)
}

/// What [`handle`] put together.
pub(crate) fn parts(handle: nvml::nvmlDevice_t) -> Option<(u32, Option<usize>)> {
    let number = (handle as usize).checked_sub(FIRST_HANDLE)?;
    let index = u32::try_from(number / HANDLES_PER_DEVICE).ok()?;
    Some((index, (number % HANDLES_PER_DEVICE).checked_sub(1)))
}

impl ErrorCode {
    /// NVML's number.
    pub(crate) fn code(self) -> nvml::nvmlReturn_t {
        match self {
            Self::Uninitialized => nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED,
            Self::NotSupported => nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED,
            Self::NoPermission => nvml::nvmlReturn_enum_NVML_ERROR_NO_PERMISSION,
            Self::DriverNotLoaded => nvml::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED,
            Self::Timeout => nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT,
            Self::FunctionNotFound => nvml::nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND,
            Self::GpuIsLost => nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST,
            Self::ResetRequired => nvml::nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED,
            Self::LibRmVersionMismatch => nvml::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            Self::Unknown => nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN,
        }
    }
}
