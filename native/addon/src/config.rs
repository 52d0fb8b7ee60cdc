//! The shapes that JavaScript passes, and their way into the core's types.

use std::fs::File;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Arc, Mutex};

use napi::bindgen_prelude::*;
use napi_derive::napi;
use vdconv_core::digest::Method;
use vdconv_core::layout::{Codec, Framing, Layout, Packing, SideTable, TableGroup, TablePlace, TargetCodec};
use vdconv_core::ring::Ring;
use vdconv_core::sink::{FileSink, Outlet, Sink, StreamSink, Taken};
use vdconv_core::source::{Bytes, Source, SourceCodec};
use vdconv_core::{Config, Log};

/// src/map/layout.ts `Layout`, flattened.
#[napi(object)]
pub struct JsLayout {
    pub kind: String,
    pub data_start: f64,
    pub block_size: f64,
    pub data_align: f64,
    pub data_phase: f64,
    pub prefix_bytes: f64,
    pub prefix_fill: u32,
    pub tables: Option<JsTables>,
    pub side: Option<JsSide>,
    pub codec: Option<JsTargetCodec>,
    pub explicit_zeros: Option<bool>,
    pub store_all: Option<bool>,
}

#[napi(object)]
pub struct JsTables {
    pub blocks: f64,
    pub bytes: f64,
    pub align: f64,
    pub marker: f64,
    pub place: String,
}

#[napi(object)]
pub struct JsSide {
    pub every: f64,
    pub bytes: f64,
}

#[napi(object)]
pub struct JsTargetCodec {
    pub name: String,
    pub level: u32,
    pub window_bits: u32,
    pub packing: f64,
    pub framing: String,
    pub incompressible: String,
    pub max_share: u32,
}

#[napi(object)]
pub struct JsSource {
    /// Absent: reads are asked of JavaScript.
    pub fd: Option<i32>,
    pub size: f64,
    pub codec: Option<JsSourceCodec>,
}

#[napi(object)]
pub struct JsSourceCodec {
    pub name: String,
    pub unit: f64,
    pub framing: String,
}

#[napi(object)]
pub struct JobConfig {
    pub files: Vec<JsSource>,
    pub map_start: f64,
    pub map_end: f64,
    pub layout: JsLayout,
    /// `file`, `sequential`, `scan`, `memory`.
    pub sink: String,
    /// `sequential` without one: JavaScript takes the bytes.
    pub sink_fd: Option<i32>,
    pub logging: bool,
    /// Note which blocks are stored.
    pub scan: bool,
    pub fingerprint: bool,
    /// Bytes of a digest's blocks; 0: of all bytes in order; absent: none.
    pub digest: Option<f64>,
    pub threads: u32,
    pub chunk_bytes: f64,
    pub zero_granularity: f64,
    pub jitter_micros: u32,
}

/// Allocation entries, column by column.
#[napi(object)]
pub struct JsLog {
    pub count: u32,
    pub kind: Uint8Array,
    pub index: Float64Array,
    pub blocks: Float64Array,
    pub offset: Float64Array,
    pub stored: Uint32Array,
}

impl From<Log> for JsLog {
    fn from(log: Log) -> Self {
        Self {
            count: log.len() as u32,
            kind: log.kind.into(),
            index: log.index.into(),
            blocks: log.blocks.into(),
            offset: log.offset.into(),
            stored: log.stored.into(),
        }
    }
}

/// A failure of the engine: src/engine/native.ts makes the product's error of it, with a JavaScript stack.
#[napi(object)]
pub struct Failure {
    pub code: String,
    pub message: String,
    pub file: Option<u32>,
    pub offset: Option<f64>,
    pub errno: Option<i32>,
}

impl From<vdconv_core::Error> for Failure {
    fn from(e: vdconv_core::Error) -> Self {
        Self {
            code: e.kind.code().to_owned(),
            message: e.message,
            file: e.file,
            offset: e.offset.map(|n| n as f64),
            errno: e.errno,
        }
    }
}

/// A byte count or offset from JavaScript.
pub fn whole(n: f64, what: &str) -> Result<u64> {
    const LIMIT: f64 = (1u64 << 53) as f64;
    if n.fract() != 0.0 || !(0.0..=LIMIT).contains(&n) {
        return Err(Error::from_reason(format!("{what} is {n}")));
    }
    Ok(n as u64)
}

/// A descriptor of our own for the same open file, so that JavaScript may close its one at any time.
pub fn duplicate(fd: RawFd) -> Result<File> {
    if fd < 0 {
        return Err(Error::from_reason(format!("descriptor {fd}")));
    }
    // SAFETY: the borrow lasts for this call only, and JavaScript, which owns `fd`, waits for it. A number that is not an
    // open descriptor makes dup fail with EBADF; nothing is read through it or closed.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let owned = borrowed.try_clone_to_owned().map_err(|e| Error::from_reason(format!("descriptor {fd}: {e}")))?;
    Ok(File::from(owned))
}

fn codec(name: &str) -> Result<Codec> {
    match name {
        "deflate" => Ok(Codec::Deflate),
        "zlib" => Ok(Codec::Zlib),
        "zstd" => Ok(Codec::Zstd),
        _ => Err(Error::from_reason(format!("codec {name}"))),
    }
}

fn framing(name: &str) -> Result<Framing> {
    match name {
        "none" => Ok(Framing::None),
        "grain-marker" => Ok(Framing::GrainMarker),
        _ => Err(Error::from_reason(format!("framing {name}"))),
    }
}

impl JsLayout {
    pub fn into_core(self) -> Result<Layout> {
        let tables = |t: JsTables| -> Result<TableGroup> {
            Ok(TableGroup {
                blocks: whole(t.blocks, "tables.blocks")?,
                bytes: whole(t.bytes, "tables.bytes")?,
                align: whole(t.align, "tables.align")?,
                marker: whole(t.marker, "tables.marker")?,
                place: if t.place == "after" { TablePlace::After } else { TablePlace::Before },
            })
        };
        let side = |s: JsSide| -> Result<SideTable> {
            Ok(SideTable { every: whole(s.every, "side.every")?, bytes: whole(s.bytes, "side.bytes")? })
        };
        let target = |c: JsTargetCodec| -> Result<TargetCodec> {
            Ok(TargetCodec {
                codec: codec(&c.name)?,
                level: c.level,
                window_bits: u8::try_from(c.window_bits).unwrap_or(0),
                packing: whole(c.packing, "codec.packing")?,
                framing: framing(&c.framing)?,
                incompressible_plain: c.incompressible == "plain",
                max_share: c.max_share,
            })
        };
        Ok(Layout {
            packing: if self.kind == "flat" { Packing::Flat } else { Packing::Blocks },
            data_start: whole(self.data_start, "dataStart")?,
            block_size: whole(self.block_size, "blockSize")?,
            data_align: whole(self.data_align, "dataAlign")?,
            data_phase: whole(self.data_phase, "dataPhase")?,
            prefix_bytes: whole(self.prefix_bytes, "prefixBytes")?,
            prefix_fill: self.prefix_fill as u8,
            tables: self.tables.map(tables).transpose()?,
            side: self.side.map(side).transpose()?,
            codec: self.codec.map(target).transpose()?,
            explicit_zeros: self.explicit_zeros.unwrap_or(false),
            store_all: self.store_all.unwrap_or(false),
        })
    }
}

impl JsSource {
    pub fn into_core(self, ring: &Arc<Ring>) -> Result<Source> {
        let codec = |c: JsSourceCodec| -> Result<SourceCodec> {
            let unit = whole(c.unit, "codec.unit")?;
            Ok(SourceCodec { codec: codec(&c.name)?, unit, framing: framing(&c.framing)? })
        };
        Ok(Source {
            bytes: match self.fd {
                Some(fd) => Bytes::File(duplicate(fd)?),
                None => Bytes::Ring(Arc::clone(ring)),
            },
            size: whole(self.size, "size")?,
            codec: self.codec.map(codec).transpose()?,
        })
    }
}

fn digest_method(block: u64) -> Method {
    if block == 0 { Method::Plain } else { Method::Blocks(block) }
}

impl JobConfig {
    pub fn into_core(self, ring: Arc<Ring>, taken: Arc<Taken>) -> Result<Config> {
        let (map_start, map_end) = (whole(self.map_start, "mapStart")?, whole(self.map_end, "mapEnd")?);
        let fd = || self.sink_fd.ok_or_else(|| Error::from_reason("the sink has no descriptor"));
        let sink = match self.sink.as_str() {
            "file" => Sink::File(FileSink::new(duplicate(fd()?)?)),
            "sequential" => {
                let outlet = match self.sink_fd {
                    Some(fd) => Outlet::file(duplicate(fd)?),
                    None => Outlet::Taken(taken),
                };
                Sink::Stream(StreamSink::new(outlet, !self.logging))
            }
            "scan" => Sink::None,
            "memory" => {
                let length = map_end.saturating_sub(map_start) as usize;
                Sink::Memory(Mutex::new(vec![0; length]))
            }
            other => return Err(Error::from_reason(format!("sink {other}"))),
        };
        Ok(Config {
            sources: self.files.into_iter().map(|s| s.into_core(&ring)).collect::<Result<_>>()?,
            map_start,
            map_end,
            layout: self.layout.into_core()?,
            scan: self.scan,
            fingerprint: self.fingerprint,
            digest: self.digest.map(|n| whole(n, "digest")).transpose()?.map(digest_method),
            sink,
            logging: self.logging,
            threads: self.threads as usize,
            chunk: whole(self.chunk_bytes, "chunkBytes")?,
            granularity: whole(self.zero_granularity, "zeroGranularity")?,
            jitter_micros: u64::from(self.jitter_micros),
            ring,
        })
    }
}
