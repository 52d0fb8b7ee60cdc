//! What JavaScript does with a job: pushes the map, takes the log, serves reads, cancels. Here from threads, with a will of
//! their own.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use vdconv_core::digest::Method;
use vdconv_core::layout::Layout;
use vdconv_core::log::{Log, PLAIN, SIDE, TABLE, ZERO};
use vdconv_core::ring::Ring;
use vdconv_core::sink::Sink;
use vdconv_core::source::{Bytes, Source};
use vdconv_core::{Config, Error, Job, Outcome};

use super::case::{Case, SourceSpec, temporary};
use super::random::Random;

/// How a job runs; nothing of it may change the output.
pub struct Run {
    pub threads: usize,
    pub chunk: u64,
    pub jitter_micros: u64,
    pub scan: bool,
    pub digest: Option<Method>,
    pub seed: u64,
    pub cancel_after: Option<Duration>,
    pub refuse_reads: bool,
    pub stall_reads: bool,
    pub stall_map: bool,
    pub stall_log: bool,
}

impl Run {
    pub fn simple(case: &Case) -> Self {
        Self {
            threads: 1,
            chunk: case.granularity.max(1 << 20),
            jitter_micros: 0,
            scan: false,
            digest: None,
            seed: 0,
            cancel_after: None,
            refuse_reads: false,
            stall_reads: false,
            stall_map: false,
            stall_log: false,
        }
    }

    pub fn new(case: &Case, random: &mut Random) -> Self {
        let blocks = Method::Blocks(512 << random.below(9));
        let digest = random.pick(&[None, Some(Method::Plain), Some(blocks)]);
        Self {
            threads: random.pick(&[1, 2, 3, 4, 8]),
            chunk: case.granularity.max(512 << random.between(2, 9)),
            jitter_micros: random.pick(&[0, 0, 100, 500]),
            scan: random.chance(30),
            digest,
            seed: random.next(),
            ..Self::simple(case)
        }
    }
}

/// Kind, index, offset, stored; a row of plain blocks one by one.
pub type Entry = (u8, u64, u64, u32);

pub struct Drive {
    pub job: Job,
    pub entries: Vec<Entry>,
    run: Run,
    ring: Arc<Ring>,
    logging: bool,
    ahead: Option<Vec<(u64, Vec<u8>)>>,
}

pub fn open_source(spec: &SourceSpec, ring: &Arc<Ring>) -> Source {
    let bytes = if spec.ring {
        Bytes::Ring(Arc::clone(ring))
    } else {
        let file = temporary();
        file.write_all_at(&spec.bytes, 0).unwrap();
        Bytes::File(file)
    };
    Source { bytes, size: spec.bytes.len() as u64, codec: spec.codec }
}

impl Drive {
    pub fn new(case: &Case, run: Run, sink: Sink, logging: bool) -> Self {
        let ring = Arc::new(Ring::default());
        let config = Config {
            sources: case.sources.iter().map(|s| open_source(s, &ring)).collect(),
            ring: Arc::clone(&ring),
            map_start: case.map_start,
            map_end: case.map_end,
            layout: case.layout.clone(),
            scan: run.scan || matches!(sink, Sink::None),
            sink,
            logging,
            fingerprint: case.fingerprint,
            digest: run.digest,
            threads: run.threads,
            chunk: run.chunk,
            granularity: case.granularity,
            jitter_micros: run.jitter_micros,
        };
        Self { job: Job::new(config).unwrap(), entries: Vec::new(), run, ring, logging, ahead: None }
    }

    /// All tables of a stream, which come while it runs.
    pub fn foresee(&mut self, pieces: Vec<(u64, Vec<u8>)>) {
        self.ahead = Some(pieces);
    }

    pub fn end_stream(&self, end: u64) -> Result<(), Error> {
        match &self.job.shared.sink {
            Sink::Stream(stream) => stream.write_up_to(end),
            _ => Ok(()),
        }
    }

    pub fn go(&mut self, case: &Case) -> Result<Outcome, Error> {
        let Self { job, entries, run, ring, logging, ahead } = self;
        let (job, run, ring) = (&*job, &*run, &**ring);
        std::thread::scope(|scope| {
            scope.spawn(|| push_map(job, case, run));
            if *logging {
                scope.spawn(|| take_log(job, case, run, entries));
            }
            if let Some(pieces) = ahead.take() {
                scope.spawn(|| put_ahead(job, pieces));
            }
            for n in 0..2 {
                scope.spawn(move || serve_reads(ring, case, run, n));
            }
            if let Some(time) = run.cancel_after {
                scope.spawn(move || {
                    std::thread::sleep(time);
                    job.cancel();
                });
            }
            job.run()
        })
    }
}

fn push_map(job: &Job, case: &Case, run: &Run) {
    let mut random = Random::new(run.seed);
    let mut rest = &case.map[..];
    while !rest.is_empty() {
        let n = random.between(1, 40).min(rest.len() as u64) as usize;
        if run.stall_map && n == rest.len() {
            return;
        }
        job.shared.dispenser.push(rest[..n].to_vec()).unwrap();
        rest = &rest[n..];
        if !job.shared.dispenser.wait_room() {
            return;
        }
    }
    job.shared.dispenser.close().unwrap();
}

fn take_log(job: &Job, case: &Case, run: &Run, entries: &mut Vec<Entry>) {
    while let Some(log) = (!run.stall_log).then(|| job.shared.sequencer.next_entries()).flatten() {
        for i in 0..log.len() {
            for n in 0..log.blocks[i] as u64 {
                let stride = if log.kind[i] == PLAIN { case.layout.stride() } else { 0 };
                let offset = log.offset[i] as u64 + n * stride;
                assert!(n == 0 || log.kind[i] == PLAIN || log.kind[i] == ZERO);
                entries.push((log.kind[i], log.index[i] as u64 + n, offset, log.stored[i]));
            }
        }
        for (offset, bytes) in pieces_of(&case.layout, &log) {
            if let Err(error) = job.shared.sink.put_piece(offset, bytes) {
                job.shared.fail(error);
            }
        }
    }
}

pub fn put_ahead(job: &Job, pieces: Vec<(u64, Vec<u8>)>) {
    let Sink::Stream(stream) = &job.shared.sink else {
        return;
    };
    for (offset, bytes) in pieces {
        stream.put_piece(offset, bytes);
        if !stream.wait_room() {
            return;
        }
    }
    stream.complete();
}

/// The tables of a log, each filled with a number of its own.
pub fn pieces_of(layout: &Layout, log: &Log) -> Vec<(u64, Vec<u8>)> {
    let piece = |i: usize| {
        let fill = |kind: u8| kind + (log.index[i] as u64 % 16) as u8;
        match (log.kind[i], layout.tables, layout.side) {
            (TABLE, Some(t), _) => {
                Some((log.offset[i] as u64 - t.marker, vec![fill(0x60); (t.marker + t.bytes) as usize]))
            }
            (SIDE, _, Some(s)) => Some((log.offset[i] as u64, vec![fill(0x70); s.bytes as usize])),
            _ => None,
        }
    };
    (0..log.len()).filter_map(piece).collect()
}

pub fn serve_reads(ring: &Ring, case: &Case, run: &Run, n: u64) {
    let mut random = Random::new(run.seed ^ n);
    while let Some(request) = ring.next() {
        if run.stall_reads {
            continue;
        }
        if random.chance(5) {
            std::thread::sleep(Duration::from_micros(random.below(300)));
        }
        let at = request.offset as usize;
        let bytes = &case.sources[request.file as usize].bytes[at..at + request.length as usize];
        ring.answer(request.id, if run.refuse_reads { Err("no".into()) } else { Ok(bytes.to_vec()) });
    }
}
