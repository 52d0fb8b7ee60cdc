//! Random disks, maps, layouts and settings against a model of one thread that knows no chunks: every case is a seed.
//! `VDCONV_STRESS_CASES` runs more of them, `VDCONV_STRESS_SEED` begins elsewhere.

mod stress {
    pub mod case;
    pub mod drive;
    pub mod model;
    pub mod random;
}

use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stress::case::{Case, SourceSpec, temporary};
use stress::drive::{Drive, Run, open_source, serve_reads};
use stress::model::{digest_of, image_of, stored_bits, verify};
use stress::random::Random;
use vdconv_core::compare::{Compare, CompareConfig};
use vdconv_core::fingerprint;
use vdconv_core::layout::{Layout, Packing, SideTable, TableGroup, TablePlace};
use vdconv_core::replay::Replay;
use vdconv_core::ring::Ring;
use vdconv_core::sink::{FileSink, Outlet, Sink, StreamSink};
use vdconv_core::source::{Bytes, Source};
use vdconv_core::{Config, Error, ErrorKind, Extent, Job, Kind, Outcome};

/// Runs `cases` seeds, and says which one fails or does not end.
fn each_seed(cases: u64, test: fn(u64)) {
    let from_env = |key: &str| std::env::var(key).ok().and_then(|n| n.parse::<u64>().ok());
    let first = from_env("VDCONV_STRESS_SEED").unwrap_or(1);
    for seed in first..first + from_env("VDCONV_STRESS_CASES").unwrap_or(cases) {
        within(Duration::from_secs(30), &format!("seed {seed}"), move || test(seed));
    }
}

/// Fails where `test` does, or does not end in time.
fn within(limit: Duration, what: &str, test: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        test();
        done.send(()).unwrap();
    });
    match ended.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        _ => assert!(thread.join().is_ok(), "{what} fails"),
    }
}

fn to_file(case: &Case, run: Run) -> (Result<Outcome, Error>, Drive, Vec<u8>) {
    let file = temporary();
    let sink = Sink::File(FileSink::new(file.try_clone().unwrap()));
    let mut drive = Drive::new(case, run, sink, true);
    let result = drive.go(case);
    (result, drive, image_of(&file))
}

/// Whether a stream's tables can come from the writer as it goes.
fn follows(layout: &Layout) -> bool {
    layout.side.is_none() && layout.tables.is_none_or(|t| t.place != TablePlace::Before)
}

#[test]
fn a_file_holds_what_the_model_says_whatever_threads_and_chunks_do() {
    each_seed(80, |seed| {
        let mut random = Random::new(seed);
        let case = Case::new(&mut random);
        let (result, drive, image) = to_file(&case, Run::simple(&case));
        let outcome = result.unwrap();
        verify(&case, &drive.entries, &outcome, &image);
        for _ in 0..2 {
            let run = Run::new(&case, &mut random);
            let digest = run.digest.map(|method| digest_of(&case, method));
            let (result, again, other) = to_file(&case, run);
            let result = result.unwrap();
            assert_eq!(result.digest, digest);
            assert_eq!((result.data_bytes, result.fingerprint), (outcome.data_bytes, outcome.fingerprint));
            assert!(result.stored.is_none_or(|bits| bits == stored_bits(&case)));
            assert!(again.entries == drive.entries && other == image, "threads or chunks changed the output");
        }
    });
}

#[test]
fn parts_of_a_disk_hold_what_the_model_says_and_their_fingerprints_add_up() {
    each_seed(60, |seed| {
        let mut random = Random::new(seed);
        let case = Case::new(&mut random);
        let whole = to_file(&case, Run::simple(&case)).0.unwrap().fingerprint;
        let size = case.guest.len() as u64;
        let unit = if case.fingerprint { 65536 } else { 512 };
        let cut = (random.below(size + 1) / unit * unit).min(size);
        let mut sum = Default::default();
        for (start, end) in [(0, cut), (cut, size)] {
            let part = case.clone().slice(start, end);
            let (result, drive, image) = to_file(&part, Run::new(&part, &mut random));
            let outcome = result.unwrap();
            verify(&part, &drive.entries, &outcome, &image);
            fingerprint::merge(&mut sum, outcome.fingerprint.unwrap_or_default());
        }
        assert_eq!(case.fingerprint.then_some(sum), whole);
    });
}

/// The case's disk against the same bytes in one plain file, but for some.
#[test]
fn a_comparison_finds_what_differs() {
    each_seed(80, |seed| {
        let mut random = Random::new(seed);
        let case = Case::new(&mut random).read();
        let size = case.guest.len() as u64;
        let mut bytes = case.guest.clone();
        for _ in 0..random.pick(&[0, 1, 3]) {
            if size > 0 {
                bytes[random.below(size) as usize] ^= 1 << random.below(8);
            }
        }
        let differences = || (0..size).filter(|&at| bytes[at as usize] != case.guest[at as usize]);
        let ring = Arc::new(Ring::default());
        let other = SourceSpec { bytes: bytes.clone(), codec: None, ring: random.chance(30) };
        let both = case.sources.iter().chain([&other]);
        let block = random.chance(60).then(|| 512 << random.below(9));
        let config = CompareConfig {
            sources: both.map(|s| open_source(s, &ring)).collect(),
            ring: Arc::clone(&ring),
            size,
            block,
            threads: random.pick(&[1, 2, 3, 8]),
            chunk: 512 << random.between(2, 9),
        };
        let compare = Compare::new(config).unwrap();
        let file = case.sources.len() as u32;
        let run = Run::simple(&case);
        let compared = std::thread::scope(|scope| {
            scope.spawn(|| {
                for extents in case.map.chunks(7) {
                    let known = |e: &Extent| if e.kind.has_bytes() { *e } else { Extent { kind: Kind::Zero, ..*e } };
                    let plain = |e: &Extent| {
                        let (kind, stored, skip) = (Kind::Data, 0, 0);
                        Extent { kind, file, offset: e.start, stored, skip, ..*e }
                    };
                    let sides = [extents.iter().map(known).collect(), extents.iter().map(plain).collect()];
                    let [a, b] = sides;
                    compare.push(a, b).unwrap();
                    if !compare.wait_room() {
                        return;
                    }
                }
                compare.close().unwrap();
            });
            let served = [&case.sources[..], &[other]].concat();
            let case = Case { sources: served, ..case.clone() };
            let (ring, run) = (&ring, &run);
            scope.spawn(move || serve_reads(ring, &case, run, 0));
            compare.run().unwrap()
        });
        match block {
            None => assert_eq!((compared.first_difference, compared.differs), (differences().next(), None)),
            Some(block) => {
                let mut bits = vec![0; size.div_ceil(block).div_ceil(8) as usize];
                differences().for_each(|at| bits[(at / block / 8) as usize] |= 1 << (at / block % 8));
                assert_eq!((compared.first_difference, compared.differs), (None, Some(bits)));
            }
        }
    });
}

#[test]
fn a_stream_holds_what_a_file_does() {
    each_seed(60, |seed| {
        let mut random = Random::new(seed);
        let case = Case::new(&mut random);
        let (result, _, mut image) = to_file(&case, Run::simple(&case));
        let outcome = result.unwrap();
        image.resize(outcome.host_end as usize, 0);

        let mut scan = Drive::new(&case, Run::new(&case, &mut random), Sink::None, false);
        let scanned = scan.go(&case).unwrap();
        let stored = scanned.stored.unwrap();
        assert_eq!(stored, stored_bits(&case));
        assert_eq!(scanned.data_bytes, outcome.data_bytes);

        // Bits cannot tell zeros from nothing.
        let plain = case.layout.codec.is_none() && !case.layout.explicit_zeros;
        let ahead = plain && (!follows(&case.layout) || random.chance(50));
        if !plain && !follows(&case.layout) {
            return;
        }
        if !ahead && (!follows(&case.layout) || case.layout.codec.is_some_and(|c| c.max_share > 0)) {
            return;
        }
        let (reader, writer) = std::io::pipe().unwrap();
        let received = received(reader, random.chance(20));
        let sink = Sink::Stream(StreamSink::new(Outlet::file(OwnedFd::from(writer).into()), ahead));
        let mut streamed = Drive::new(&case, Run::new(&case, &mut random), sink, !ahead);
        if ahead {
            streamed.foresee(foreseen(&case.layout, stored));
        }
        let result = streamed.go(&case).unwrap();
        assert_eq!((result.host_end, result.data_bytes), (outcome.host_end, outcome.data_bytes));
        streamed.end_stream(outcome.host_end).unwrap();
        drop(streamed);
        let bytes = received.join().unwrap();
        assert_eq!(bytes.len() as u64, outcome.host_end);
        assert!(bytes == image, "first difference at {:?}", bytes.iter().zip(&image).position(|(a, b)| a != b));
    });
}

/// Takes all that is written.
fn received(mut reader: PipeReader, slow: bool) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut part = vec![0; if slow { 3000 } else { 65536 }];
        loop {
            match reader.read(&mut part).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&part[..n]),
            }
        }
    })
}

fn foreseen(layout: &Layout, stored: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
    let mut replay = Replay::new(layout, stored);
    let mut pieces = Vec::new();
    if layout.packing == Packing::Blocks {
        while let Some(log) = replay.next(100).unwrap() {
            pieces.extend(stress::drive::pieces_of(layout, &log));
        }
    }
    pieces
}

#[test]
fn memory_holds_any_part_of_the_disk() {
    each_seed(60, |seed| {
        let mut random = Random::new(seed);
        let case = Case::new(&mut random).read();
        let size = case.guest.len() as u64;
        let start = if random.chance(30) { 0 } else { random.below(size + 1) };
        let end = if random.chance(30) { size } else { start + random.below(size - start + 1) };
        let case = case.clip(start, end);
        let sink = Sink::Memory(vec![0; (end - start) as usize].into());
        let mut drive = Drive::new(&case, Run::new(&case, &mut random), sink, false);
        drive.go(&case).unwrap();
        assert!(drive.job.take_memory() == case.guest[start as usize..end as usize]);
    });
}

/// Runs, and holds the time from the first trouble to the end against a limit.
fn ends_soon(drive: &mut Drive, case: &Case, kinds: &[ErrorKind]) {
    let begun = Instant::now();
    if let Err(error) = drive.go(case) {
        assert!(kinds.contains(&error.kind), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "ended after {:?}", begun.elapsed());
}

#[test]
fn a_job_that_is_cancelled_or_fails_ends_at_once() {
    use ErrorKind::{Aborted, Read, Truncated, Write};
    each_seed(150, |seed| {
        let mut random = Random::new(seed);
        let mut case = Case::new(&mut random);
        let mut run = Run::new(&case, &mut random);
        let cancel = random.chance(60);
        run.cancel_after = cancel.then(|| Duration::from_micros(random.below(4000)));
        // Who stops serving.
        run.refuse_reads = random.chance(10);
        run.stall_reads = cancel && random.chance(20);
        run.stall_map = cancel && random.chance(20);
        run.stall_log = cancel && random.chance(20);
        if random.chance(10)
            && let Some(source) = case.sources.first_mut()
        {
            source.bytes.truncate(source.bytes.len() / 2);
        }
        let kinds = [Aborted, Read, Truncated, Write];
        match random.below(3) {
            0 => {
                let sink = Sink::File(FileSink::new(temporary()));
                ends_soon(&mut Drive::new(&case, run, sink, true), &case, &kinds);
            }
            1 => {
                let (reader, writer) = std::io::pipe().unwrap();
                // A reader that never reads is the hardest case; where nobody cancels, it goes away.
                let reader = cancel.then_some(reader);
                if !cancel && !follows(&case.layout) {
                    return;
                }
                if case.layout.codec.is_some_and(|c| c.max_share > 0) {
                    return;
                }
                let sink =
                    Sink::Stream(StreamSink::new(Outlet::file(OwnedFd::from(writer).into()), !follows(&case.layout)));
                ends_soon(&mut Drive::new(&case, run, sink, follows(&case.layout)), &case, &kinds);
                drop(reader);
            }
            _ => ends_soon(&mut Drive::new(&case, run, Sink::None, false), &case, &kinds),
        }
    });
}

#[test]
fn a_stream_whose_source_changed_since_its_scan_says_so() {
    each_seed(60, |seed| {
        let mut random = Random::new(seed);
        let mut case = Case::new(&mut random);
        case.layout.codec = None;
        (case.layout.explicit_zeros, case.layout.store_all) = (false, false);
        let mut stored = stored_bits(&case);
        if stored.is_empty() || case.layout.packing == Packing::Flat {
            return;
        }
        for _ in 0..random.between(1, 3) {
            let at = random.below(stored.len() as u64) as usize;
            stored[at] ^= 1 << random.below(8);
        }
        let blocks = case.guest.len().div_ceil(case.layout.block_size as usize);
        stored.iter_mut().enumerate().for_each(|(i, b)| *b &= (0xff_u32 >> (i * 8 + 8).saturating_sub(blocks)) as u8);
        let mut replay = Replay::new(&case.layout, stored.clone());
        while replay.next(1000).unwrap().is_some() {}
        let end = replay.host_end().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let received = received(reader, false);
        let sink = Sink::Stream(StreamSink::new(Outlet::file(OwnedFd::from(writer).into()), true));
        let mut drive = Drive::new(&case, Run::new(&case, &mut random), sink, false);
        drive.foresee(foreseen(&case.layout, stored));
        let result = drive.go(&case).and_then(|_| drive.end_stream(end));
        assert!(result.map_or_else(|e| e.kind == ErrorKind::Changed, |()| true));
        drop(drive);
        received.join().unwrap();
    });
}

/// A flat disk of `size` bytes of data in one file, to be driven by hand.
fn plain_job(size: u64, layout: Layout, sink: Sink, logging: bool) -> Job {
    let bytes = vec![7; size as usize];
    let file = temporary();
    file.write_all_at(&bytes, 0).unwrap();
    let job = Job::new(Config {
        sources: vec![Source { bytes: Bytes::File(file), size, codec: None }],
        ring: Arc::default(),
        map_start: 0,
        map_end: size,
        layout,
        sink,
        logging,
        scan: false,
        fingerprint: false,
        digest: None,
        threads: 4,
        chunk: 1 << 20,
        granularity: 4096,
        jitter_micros: 0,
    });
    let job = job.unwrap();
    let extent = Extent { start: 0, length: size, kind: Kind::Data, file: 0, offset: 0, stored: 0, skip: 0 };
    job.shared.dispenser.push(if size > 0 { vec![extent] } else { vec![] }).unwrap();
    job.shared.dispenser.close().unwrap();
    job
}

#[test]
fn a_pipe_that_is_full_holds_up_neither_tables_nor_a_cancel() {
    within(Duration::from_secs(10), "a full pipe", || {
        let (_reader, writer) = std::io::pipe().unwrap();
        let sink = Sink::Stream(StreamSink::new(Outlet::file(OwnedFd::from(writer).into()), true));
        let job = plain_job(4 << 20, Layout::flat(0), sink, false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| job.run());
            std::thread::sleep(Duration::from_millis(50));
            let begun = Instant::now();
            job.shared.sink.put_piece(1 << 40, vec![1]).unwrap();
            job.cancel();
            assert!(begun.elapsed() < Duration::from_millis(200), "what JavaScript's thread calls does not wait");
            assert_eq!(running.join().unwrap().unwrap_err().kind, ErrorKind::Aborted);
            assert!(begun.elapsed() < Duration::from_millis(1000));
        });
    });
}

#[test]
fn a_pipe_that_somebody_made_non_blocking_is_waited_for() {
    within(Duration::from_secs(10), "a non-blocking pipe", || {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let job = plain_job(
            4 << 20,
            Layout::flat(0),
            Sink::Stream(StreamSink::new(Outlet::file(OwnedFd::from(ours).into()), false)),
            false,
        );
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        job.run().unwrap();
        drop(job);
        assert!(reader.join().unwrap() == vec![7; 4 << 20]);
    });
}

/// Every block an entry of its own.
fn many_entries() -> Job {
    let layout = Layout { packing: Packing::Blocks, block_size: 512, data_align: 1024, ..Layout::flat(0) };
    plain_job(64 << 20, layout, Sink::None, true)
}

#[test]
fn a_log_that_nobody_takes_stops_the_job_but_not_its_cancel() {
    within(Duration::from_secs(20), "a full log", || {
        let job = many_entries();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| job.run());
            std::thread::sleep(Duration::from_secs(1));
            assert!(!running.is_finished() && job.done() < 64 << 20);
            job.cancel();
            assert_eq!(running.join().unwrap().unwrap_err().kind, ErrorKind::Aborted);
            assert!(job.shared.sequencer.next_entries().is_none());
        });
    });
}

#[test]
fn a_log_that_is_taken_late_comes_whole() {
    within(Duration::from_secs(20), "a slow log", || {
        let job = many_entries();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| job.run());
            let mut next = 0;
            while let Some(log) = job.shared.sequencer.next_entries() {
                std::thread::sleep(Duration::from_millis(5));
                assert!(log.len() <= 65536 + 2048, "{} entries", log.len());
                for index in &log.index {
                    assert_eq!(*index, f64::from(next));
                    next += 1;
                }
            }
            assert_eq!(next, 131_072);
            running.join().unwrap().unwrap();
        });
    });
}

#[test]
fn what_cannot_be_placed_at_the_end_is_an_error() {
    // More bytes of side tables than there are offsets: what is placed last passes 2^53.
    let side = Some(SideTable { every: 1 << 50, bytes: (1 << 50) - 512 });
    let layout = Layout { packing: Packing::Blocks, side, ..Layout::flat((1 << 53) - 4096) };
    let (result, ended) = channel();
    std::thread::spawn(move || result.send(plain_job(0, layout, Sink::None, true).run().map(drop)));
    let error = ended.recv_timeout(Duration::from_secs(5)).unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
}

#[test]
fn tables_that_come_ahead_wait_for_room() {
    within(Duration::from_secs(20), "tables ahead", || {
        let tables = TableGroup { blocks: 1, bytes: 1 << 20, align: 1, marker: 0, place: TablePlace::Before };
        let layout = Layout { packing: Packing::Blocks, block_size: 4096, tables: Some(tables), ..Layout::flat(0) };
        let pieces = foreseen(&layout, vec![0xff; 5]);
        let (reader, writer) = std::io::pipe().unwrap();
        let sink = Sink::Stream(StreamSink::new(Outlet::file(OwnedFd::from(writer).into()), true));
        // The source has lost half of its blocks since.
        let job = plain_job(20 * 4096, layout, sink, false);
        let received = std::thread::scope(|scope| {
            let putting = scope.spawn(|| stress::drive::put_ahead(&job, pieces));
            std::thread::sleep(Duration::from_millis(300));
            assert!(!putting.is_finished(), "tables pile up");
            let received = received(reader, false);
            job.run().unwrap();
            putting.join().unwrap();
            received
        });
        drop(job);
        assert_eq!(received.join().unwrap().len(), 20 * (4096 + (1 << 20)));
    });
}
