//! `CopyJob`: one job of the engine, as JavaScript drives it.

use std::sync::Arc;

use napi::bindgen_prelude::*;
use napi_derive::napi;
use vdconv_core::fingerprint;
use vdconv_core::ring::Ring;
use vdconv_core::sink::{Sink, Taken};
use vdconv_core::{Extent, Job, Kind};

use crate::config::{Failure, JobConfig, JsLog, whole};

#[napi(object)]
pub struct RunResult {
    /// Present: the job failed, and the rest means nothing.
    pub failure: Option<Failure>,
    pub host_end: f64,
    pub data_bytes: f64,
    pub stored: Option<Uint8Array>,
    pub fingerprint: Option<Uint8Array>,
    pub digest: Option<Uint8Array>,
}

#[napi(object)]
pub struct ReadRequest {
    pub id: u32,
    pub file: u32,
    pub offset: f64,
    pub length: u32,
}

/// A batch of the block map: src/map/extents.ts `ExtentBatch`.
#[napi(object)]
pub struct JsExtents {
    pub count: u32,
    pub start: Float64Array,
    pub length: Float64Array,
    pub kind: Uint8Array,
    pub file: Uint32Array,
    pub offset: Float64Array,
    pub stored: Float64Array,
    pub skip: Float64Array,
}

impl JsExtents {
    pub fn into_core(self) -> Result<Vec<Extent>> {
        let n = self.count as usize;
        let columns = [&self.start, &self.length, &self.offset, &self.stored, &self.skip];
        if columns.iter().any(|c| c.len() < n) || self.kind.len() < n || self.file.len() < n {
            return Err(Error::from_reason("a batch column is shorter than its count"));
        }
        let extent = |i: usize| -> Result<Extent> {
            Ok(Extent {
                start: whole(self.start[i], "start")?,
                length: whole(self.length[i], "length")?,
                kind: Kind::from_number(self.kind[i]).map_err(|e| Error::from_reason(e.message))?,
                file: self.file[i],
                offset: whole(self.offset[i], "offset")?,
                stored: whole(self.stored[i], "stored")?,
                skip: whole(self.skip[i], "skip")?,
            })
        };
        (0..n).map(extent).collect()
    }
}

#[napi]
pub struct CopyJob {
    /// None once closed.
    job: Option<Arc<Job>>,
    ring: Arc<Ring>,
    taken: Arc<Taken>,
}

impl CopyJob {
    fn job(&self) -> Result<&Arc<Job>> {
        self.job.as_ref().ok_or_else(|| Error::from_reason("the job is closed"))
    }
}

/// Runs `work` on a thread of its own and resolves a promise with what it returns. Not a libuv thread: these calls wait
/// for each other, and the pool that file operations need has four.
pub fn promise<'e, T, F>(env: &'e Env, work: F) -> Result<Object<'e>>
where
    T: ToNapiValue + Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (deferred, promise) = env.create_deferred()?;
    std::thread::Builder::new()
        .name("vdconv".into())
        .spawn(move || {
            let value = work();
            deferred.resolve(move |_| Ok(value));
        })
        .map_err(|e| Error::from_reason(format!("no thread: {e}")))?;
    Ok(promise)
}

pub fn next_request(ring: &Ring) -> Option<ReadRequest> {
    let request = ring.next()?;
    let (id, file, length) = (request.id, request.file, request.length);
    Some(ReadRequest { id, file, offset: request.offset as f64, length })
}

fn failed(failure: Failure) -> RunResult {
    RunResult { failure: Some(failure), host_end: 0.0, data_bytes: 0.0, stored: None, fingerprint: None, digest: None }
}

#[napi]
impl CopyJob {
    #[napi(constructor)]
    pub fn new(config: JobConfig) -> Result<Self> {
        let ring = Arc::new(Ring::default());
        let taken = Arc::new(Taken::default());
        let config = config.into_core(Arc::clone(&ring), Arc::clone(&taken))?;
        let job = Job::new(config).map_err(|e| Error::from_reason(e.message))?;
        Ok(Self { job: Some(Arc::new(job)), ring, taken })
    }

    /// Moves everything; resolves when the last byte of data is written. Never rejects for what the job met.
    #[napi(ts_return_type = "Promise<RunResult>")]
    pub fn run<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let job = Arc::clone(self.job()?);
        promise(env, move || match job.run() {
            Ok(o) => RunResult {
                failure: None,
                host_end: o.host_end as f64,
                data_bytes: o.data_bytes as f64,
                stored: o.stored.map(Uint8Array::from),
                fingerprint: o.fingerprint.map(|sum| fingerprint::bytes(sum).into()),
                digest: o.digest.map(|hash| hash.to_vec().into()),
            },
            Err(e) => failed(e.into()),
        })
    }

    /// The next batch of the block map.
    #[napi]
    pub fn push(&self, batch: JsExtents) -> Result<()> {
        self.job()?.shared.dispenser.push(batch.into_core()?).map_err(|e| Error::from_reason(e.message))
    }

    /// Resolves when another batch is welcome; false: push no more, the job is over.
    #[napi(ts_return_type = "Promise<boolean>")]
    pub fn room<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let job = Arc::clone(self.job()?);
        promise(env, move || job.shared.dispenser.wait_room())
    }

    /// The map is complete.
    #[napi]
    pub fn end(&self) -> Result<()> {
        self.job()?.shared.dispenser.close().map_err(|e| Error::from_reason(e.message))
    }

    /// The next allocation entries; null when there will be none.
    #[napi(ts_return_type = "Promise<JsLog | null>")]
    pub fn allocations<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let job = Arc::clone(self.job()?);
        promise(env, move || job.shared.sequencer.next_entries().map(JsLog::from))
    }

    /// The next read to serve with `supply` or `refuse`; null when there will be none.
    #[napi(ts_return_type = "Promise<ReadRequest | null>")]
    pub fn request<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let ring = Arc::clone(&self.ring);
        promise(env, move || next_request(&ring))
    }

    #[napi]
    pub fn supply(&self, id: u32, bytes: &[u8]) {
        self.ring.answer(id, Ok(bytes.to_vec()));
    }

    #[napi]
    pub fn refuse(&self, id: u32, why: String) {
        self.ring.answer(id, Err(why));
    }

    /// Puts a table in place: at once in a file, when the stream gets there in a pipe.
    #[napi]
    pub fn put_piece(&self, offset: f64, bytes: &[u8]) -> Result<Option<Failure>> {
        let offset = whole(offset, "offset")?;
        Ok(self.job()?.shared.sink.put_piece(offset, bytes.to_vec()).err().map(Failure::from))
    }

    /// Sequential sink: resolves when another piece that was computed ahead is welcome; false: the job is over.
    #[napi(ts_return_type = "Promise<boolean>")]
    pub fn pieces_room<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let job = Arc::clone(self.job()?);
        promise(env, move || match &job.shared.sink {
            Sink::Stream(stream) => stream.wait_room(),
            _ => true,
        })
    }

    /// Sequential sink: every piece that was computed ahead has been put.
    #[napi]
    pub fn pieces_complete(&self) -> Result<()> {
        if let Sink::Stream(stream) = &self.job()?.shared.sink {
            stream.complete();
        }
        Ok(())
    }

    /// Sequential sink: writes the pieces before `end` in order, and zeros up to it.
    #[napi(ts_return_type = "Promise<Failure | null>")]
    pub fn write_up_to<'e>(&self, env: &'e Env, end: f64) -> Result<Object<'e>> {
        let end = whole(end, "end")?;
        let job = Arc::clone(self.job()?);
        promise(env, move || match &job.shared.sink {
            Sink::Stream(stream) => stream.write_up_to(end).err().map(Failure::from),
            _ => None,
        })
    }

    /// Sequential sink without a descriptor: the next bytes; null when there will be none.
    #[napi(ts_return_type = "Promise<Uint8Array | null>")]
    pub fn take_bytes<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let taken = Arc::clone(&self.taken);
        promise(env, move || taken.take().map(Uint8Array::from))
    }

    /// Sequential sink without a descriptor: all is written; `take_bytes` gives the rest.
    #[napi]
    pub fn bytes_complete(&self) {
        self.taken.close();
    }

    /// Memory sink: the bytes.
    #[napi]
    pub fn take_memory(&self) -> Result<Uint8Array> {
        Ok(self.job()?.take_memory().into())
    }

    #[napi]
    pub fn cancel(&self) {
        if let Some(job) = &self.job {
            job.cancel();
        }
    }

    /// Lets go of the files once the job is over. The garbage collector may leave this object alone for long, and a
    /// descriptor keeps a deleted file's space, and its file system mounted.
    #[napi]
    pub fn close(&mut self) {
        self.job = None;
    }

    #[napi(getter)]
    pub fn done(&self) -> f64 {
        self.job.as_ref().map_or(0.0, |job| job.done() as f64)
    }
}
