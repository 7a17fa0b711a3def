//! A CUDA process that takes and releases memory as it is told.
//!
//! It is this program itself, started with [`CHILD`]: it loads `libcuda.so.1` at run time, makes a context on the first
//! device, and obeys lines on its input (`take <bytes>`, `release`), answering each with a line.
#![allow(unsafe_code)]

use std::{
    env,
    ffi::c_void,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    ptr,
};

use libloading::{Library, Symbol};

/// The argument that makes this program the child.
pub(crate) const CHILD: &str = "cuda-child";

type Init = unsafe extern "C" fn(u32) -> i32;
type GetDevice = unsafe extern "C" fn(*mut i32, i32) -> i32;
type GetUuid = unsafe extern "C" fn(*mut [u8; 16], i32) -> i32;
type CreateContext = unsafe extern "C" fn(*mut *mut c_void, u32, i32) -> i32;
type Take = unsafe extern "C" fn(*mut u64, usize) -> i32;
type Release = unsafe extern "C" fn(u64) -> i32;
type Fill = unsafe extern "C" fn(u64, u8, usize) -> i32;

/// The child, seen from the parent.
pub(crate) struct Cuda {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// The device's uuid, as NVML writes it.
    pub(crate) uuid: String,
}

impl Cuda {
    /// Starts a process with a context on the first device.
    pub(crate) fn start() -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .arg(CHILD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the CUDA process: {error}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("the CUDA process has no output")?);
        let mut cuda = Self { child, input, output, uuid: String::new() };
        cuda.uuid = cuda.answer()?;
        Ok(cuda)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes so many bytes and writes to all of them.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), String> {
        self.tell(&format!("take {bytes}")).map(drop)
    }

    /// Releases what was taken.
    pub(crate) fn release(&mut self) -> Result<(), String> {
        self.tell("release").map(drop)
    }

    /// Ends it.
    pub(crate) fn end(mut self) {
        self.input = None;
        let _ = self.child.wait();
    }

    fn tell(&mut self, line: &str) -> Result<String, String> {
        let input = self.input.as_mut().ok_or("the CUDA process was ended")?;
        writeln!(input, "{line}").map_err(|error| error.to_string())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| error.to_string())?;
        match line.trim().split_once(' ') {
            Some(("ok", rest)) => Ok(rest.to_owned()),
            _ => Err(format!("the CUDA process said {line:?}")),
        }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's program.
pub(crate) fn child() -> ExitCode {
    match obey() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey() -> Result<(), String> {
    // SAFETY: the driver's library runs its own start-up code, as in every CUDA program.
    let library = unsafe { Library::new("libcuda.so.1") }.map_err(|error| error.to_string())?;
    println!("ok {}", first_device(&library)?);
    let mut taken = None;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        match line.split_once(' ') {
            Some(("take", bytes)) => {
                taken = Some(take(&library, bytes.parse().map_err(|_| "no number of bytes")?)?);
            }
            _ if line == "release" => release(&library, taken.take().ok_or("nothing was taken")?)?,
            _ => return Err(format!("no such command: {line}")),
        }
        println!("ok -");
    }
    Ok(())
}

/// Makes a context on the first device; its uuid.
fn first_device(library: &Library) -> Result<String, String> {
    let init: Symbol<'_, Init> = symbol(library, b"cuInit\0")?;
    let get_device: Symbol<'_, GetDevice> = symbol(library, b"cuDeviceGet\0")?;
    let get_uuid: Symbol<'_, GetUuid> = symbol(library, b"cuDeviceGetUuid\0")?;
    let create_context: Symbol<'_, CreateContext> = symbol(library, b"cuCtxCreate_v2\0")?;
    let (mut device, mut uuid, mut context) = (0, [0; 16], ptr::null_mut());
    // SAFETY: the functions' types are those of cuda.h, and every result is written into a variable that lives here.
    unsafe {
        check("cuInit", init(0))?;
        check("cuDeviceGet", get_device(&mut device, 0))?;
        check("cuDeviceGetUuid", get_uuid(&mut uuid, device))?;
        check("cuCtxCreate", create_context(&mut context, 0, device))?;
    }
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn take(library: &Library, bytes: usize) -> Result<u64, String> {
    let take: Symbol<'_, Take> = symbol(library, b"cuMemAlloc_v2\0")?;
    let fill: Symbol<'_, Fill> = symbol(library, b"cuMemsetD8_v2\0")?;
    let mut address = 0;
    // SAFETY: the functions' types are those of cuda.h; the context is current on this thread; what is filled is what
    // was taken.
    unsafe {
        check("cuMemAlloc", take(&mut address, bytes))?;
        check("cuMemsetD8", fill(address, 1, bytes))?;
    }
    Ok(address)
}

fn release(library: &Library, address: u64) -> Result<(), String> {
    let release: Symbol<'_, Release> = symbol(library, b"cuMemFree_v2\0")?;
    // SAFETY: the function's type is that of cuda.h, and the address came from cuMemAlloc and is freed once.
    check("cuMemFree", unsafe { release(address) })
}

fn symbol<'l, T>(library: &'l Library, name: &[u8]) -> Result<Symbol<'l, T>, String> {
    // SAFETY: each caller gives the type that cuda.h declares for the name.
    unsafe { library.get(name) }.map_err(|error| error.to_string())
}

fn check(name: &str, code: i32) -> Result<(), String> {
    if code == 0 { Ok(()) } else { Err(format!("{name} gave CUDA error {code}")) }
}
