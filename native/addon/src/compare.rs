//! `CompareJob`: two disks held against each other, as JavaScript drives it.

use std::sync::Arc;

use napi::bindgen_prelude::*;
use napi_derive::napi;
use vdconv_core::compare::{Compare, CompareConfig as Config};
use vdconv_core::ring::Ring;

use crate::config::{Failure, JsSource, whole};
use crate::job::{JsExtents, ReadRequest, next_request, promise};

#[napi(object)]
pub struct CompareConfig {
    /// Of both sides: extents say which.
    pub files: Vec<JsSource>,
    pub size: f64,
    /// Present: all is compared, and blocks of this size are told.
    pub block: Option<f64>,
    pub threads: u32,
    pub chunk_bytes: f64,
}

#[napi(object)]
pub struct Compared {
    /// Present: the job failed, and the rest means nothing.
    pub failure: Option<Failure>,
    pub first_difference: Option<f64>,
    pub differs: Option<Uint8Array>,
    pub bytes_read: f64,
}

#[napi]
pub struct CompareJob {
    /// None once closed.
    job: Option<Arc<Compare>>,
    ring: Arc<Ring>,
}

impl CompareJob {
    fn job(&self) -> Result<&Arc<Compare>> {
        self.job.as_ref().ok_or_else(|| Error::from_reason("the job is closed"))
    }
}

fn reason(e: vdconv_core::Error) -> Error {
    Error::from_reason(e.message)
}

#[napi]
impl CompareJob {
    #[napi(constructor)]
    pub fn new(config: CompareConfig) -> Result<Self> {
        let ring = Arc::new(Ring::default());
        let core = Config {
            sources: config.files.into_iter().map(|s| s.into_core(&ring)).collect::<Result<_>>()?,
            ring: Arc::clone(&ring),
            size: whole(config.size, "size")?,
            block: config.block.map(|n| whole(n, "block")).transpose()?,
            threads: config.threads as usize,
            chunk: whole(config.chunk_bytes, "chunkBytes")?,
        };
        Ok(Self { job: Some(Arc::new(Compare::new(core).map_err(reason)?)), ring })
    }

    /// Never rejects for what the job met.
    #[napi(ts_return_type = "Promise<Compared>")]
    pub fn run<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let job = Arc::clone(self.job()?);
        promise(env, move || match job.run() {
            Ok(c) => Compared {
                failure: None,
                first_difference: c.first_difference.map(|n| n as f64),
                differs: c.differs.map(Uint8Array::from),
                bytes_read: c.bytes_read as f64,
            },
            Err(e) => Compared { failure: Some(e.into()), first_difference: None, differs: None, bytes_read: 0.0 },
        })
    }

    /// The next batches of both block maps, cut alike.
    #[napi]
    pub fn push(&self, a: JsExtents, b: JsExtents) -> Result<()> {
        self.job()?.push(a.into_core()?, b.into_core()?).map_err(reason)
    }

    /// Resolves when another batch is welcome; false: push no more, the job is over.
    #[napi(ts_return_type = "Promise<boolean>")]
    pub fn room<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let job = Arc::clone(self.job()?);
        promise(env, move || job.wait_room())
    }

    /// The maps are complete.
    #[napi]
    pub fn end(&self) -> Result<()> {
        self.job()?.close().map_err(reason)
    }

    /// The next read to serve with `supply` or `refuse`; null when there will be none.
    #[napi(ts_return_type = "Promise<ReadRequest | null>")]
    pub fn request<'e>(&self, env: &'e Env) -> Result<Object<'e>> {
        let ring = Arc::clone(&self.ring);
        promise(env, move || -> Option<ReadRequest> { next_request(&ring) })
    }

    #[napi]
    pub fn supply(&self, id: u32, bytes: &[u8]) {
        self.ring.answer(id, Ok(bytes.to_vec()));
    }

    #[napi]
    pub fn refuse(&self, id: u32, why: String) {
        self.ring.answer(id, Err(why));
    }

    #[napi]
    pub fn cancel(&self) {
        if let Some(job) = &self.job {
            job.cancel();
        }
    }

    /// Lets go of the files once the job is over.
    #[napi]
    pub fn close(&mut self) {
        self.job = None;
    }

    #[napi(getter)]
    pub fn done(&self) -> f64 {
        self.job.as_ref().map_or(0.0, |job| job.done() as f64)
    }
}
