//! What the engine offers besides jobs.

use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::os::fd::{AsFd, IntoRawFd};

use crate::config::{JsLayout, JsLog, duplicate, whole};

/// The parts of [start, end) of a file that are not holes, as [start, end, …]; null where the file system cannot tell.
#[napi]
pub fn data_runs(fd: i32, start: f64, end: f64, max: u32) -> Result<Option<Float64Array>> {
    let file = duplicate(fd)?;
    let runs = vdconv_core::holes::data_runs(file.as_fd(), whole(start, "start")?, whole(end, "end")?, max as usize)?;
    Ok(runs.map(|runs| runs.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect::<Vec<_>>().into()))
}

/// Reserves the space of [0, size) of a file; false where the file system cannot.
#[napi]
pub fn allocate(fd: i32, size: f64) -> Result<bool> {
    let file = duplicate(fd)?;
    vdconv_core::holes::allocate(file.as_fd(), whole(size, "size")?).map_err(|e| Error::from_reason(e.to_string()))
}

/// Opens a file beneath a directory: the descriptor, or -errno. Null where the kernel cannot do it in one step.
#[napi]
pub fn open_beneath(root: String, path: String) -> Option<i32> {
    match vdconv_core::beneath::open_beneath(&root, &path) {
        Ok(file) => file.map(IntoRawFd::into_raw_fd),
        Err(e) => Some(-e.raw_os_error().unwrap_or(5)),
    }
}

/// Whether a file may be read, and lets nobody write to it from now on; its locks are QEMU's.
#[napi]
pub fn lock_for_reading(fd: i32) -> Result<bool> {
    Ok(vdconv_core::locks::lock_for_reading(duplicate(fd)?.as_fd())?)
}

/// Bytes of a block device.
#[napi]
pub fn device_size(fd: i32) -> Result<f64> {
    Ok(vdconv_core::holes::device_size(duplicate(fd)?.as_fd())? as f64)
}

/// The CPUs this process may use.
#[napi]
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Placement alone, over the bits of a scan.
#[napi]
pub struct Replay(vdconv_core::replay::Replay);

#[napi]
impl Replay {
    #[napi(constructor)]
    pub fn new(layout: JsLayout, stored: &[u8]) -> Result<Self> {
        let layout = layout.into_core()?;
        layout.check().map_err(|e| Error::from_reason(e.message))?;
        Ok(Self(vdconv_core::replay::Replay::new(&layout, stored.to_vec())))
    }

    /// The next entries; null at the end.
    #[napi]
    pub fn next(&mut self) -> Result<Option<JsLog>> {
        let log = self.0.next(4096).map_err(|e| Error::from_reason(e.message))?;
        Ok(log.map(JsLog::from))
    }

    /// The end of everything placed, once `next` gave null.
    #[napi(getter)]
    pub fn host_end(&self) -> Option<f64> {
        self.0.host_end().map(|n| n as f64)
    }
}
