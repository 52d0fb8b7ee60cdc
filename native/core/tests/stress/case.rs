//! A disk with its map and sources, and a layout for it.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::{Compress, Compression, FlushCompress, Status};
use vdconv_core::layout::{Codec, Framing, Layout, Packing, SideTable, TableGroup, TablePlace, TargetCodec};
use vdconv_core::source::SourceCodec;
use vdconv_core::{Extent, Kind};

use super::random::Random;

#[derive(Clone)]
pub struct SourceSpec {
    pub bytes: Vec<u8>,
    pub codec: Option<SourceCodec>,
    pub ring: bool,
}

#[derive(Clone)]
pub struct Case {
    pub guest: Vec<u8>,
    pub map: Vec<Extent>,
    pub map_start: u64,
    pub map_end: u64,
    pub sources: Vec<SourceSpec>,
    pub layout: Layout,
    pub granularity: u64,
    pub fingerprint: bool,
}

/// A file without a name.
pub fn temporary() -> File {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("vdconv-stress-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

impl Case {
    pub fn new(random: &mut Random) -> Self {
        let size = match random.below(10) {
            0 => random.below(3),
            1 => random.below(5000),
            2 | 3 => random.below(600_000),
            _ => 512 * random.below(1200),
        };
        let sources = (0..random.between(1, 4)).map(|_| source(random)).collect();
        let granularity = if random.chance(15) { 0 } else { 512 << random.below(7) };
        let layout = layout(random);
        layout.check().unwrap();
        let mut case = Self {
            guest: vec![0; size as usize],
            map: Vec::new(),
            map_start: 0,
            map_end: size,
            sources,
            layout,
            granularity,
            fingerprint: random.chance(50),
        };
        case.make_map(random);
        case
    }

    fn make_map(&mut self, random: &mut Random) {
        let fine = random.chance(30);
        // The unit that each source gave last.
        let mut units: Vec<Option<Unit>> = self.sources.iter().map(|_| None).collect();
        let mut at = 0;
        while at < self.map_end {
            let length = match random.below(10) {
                0 => random.between(1, 3000),
                1..6 => 512 * random.between(1, 16),
                6 if !fine => 512 * random.between(1, 400),
                7 if !fine => 65536,
                _ => 4096 * random.between(1, 8),
            };
            let length = length.min(self.map_end - at);
            let file = random.below(self.sources.len() as u64) as usize;
            let mut extent =
                Extent { start: at, length, kind: Kind::Zero, file: file as u32, offset: 0, stored: 0, skip: 0 };
            let source = &mut self.sources[file];
            match (random.below(4), source.codec) {
                (0, _) => {}
                (1, _) => extent.kind = Kind::Unallocated,
                (_, None) => {
                    extent.kind = Kind::Data;
                    extent.offset = source.bytes.len() as u64;
                    let bytes = random.bytes(length as usize);
                    self.guest[at as usize..(at + length) as usize].copy_from_slice(&bytes);
                    source.bytes.extend(bytes);
                }
                (_, Some(codec)) => {
                    let last = units[file].take().filter(|u| at < u.start + codec.unit && random.chance(70));
                    let unit = last.unwrap_or_else(|| new_unit(source, &codec, at, random));
                    extent.kind = Kind::Compressed;
                    extent.skip = at - unit.start;
                    extent.length = length.min(unit.bytes.len() as u64 - extent.skip);
                    (extent.offset, extent.stored) = (unit.offset, unit.bound);
                    let from = extent.skip as usize;
                    let n = extent.length as usize;
                    self.guest[at as usize..at as usize + n].copy_from_slice(&unit.bytes[from..from + n]);
                    units[file] = Some(unit).filter(|u| u.bytes.len() as u64 == codec.unit);
                }
            }
            at += extent.length;
            self.map.push(extent);
        }
    }

    /// The same disk, to be read.
    pub fn read(self) -> Self {
        Self { layout: Layout::flat(0), fingerprint: false, ..self }
    }

    /// The same disk's [start, end) as an output of its own.
    pub fn slice(self, start: u64, end: u64) -> Self {
        let mut part = self.clip(start, end);
        part.guest = part.guest[start as usize..end as usize].to_vec();
        part
    }

    /// Only [start, end) of its map.
    pub fn clip(mut self, start: u64, end: u64) -> Self {
        let within = |e: &Extent| {
            let (from, to) = (e.start.max(start), e.end().min(end));
            (from < to).then(|| e.split(from - e.start).1.split(to - from).0)
        };
        self.map = self.map.iter().filter_map(within).collect();
        (self.map_start, self.map_end) = (start, end);
        self
    }
}

fn source(random: &mut Random) -> SourceSpec {
    let codec = random.chance(50).then(|| SourceCodec {
        codec: random.pick(&[Codec::Deflate, Codec::Zlib, Codec::Zstd]),
        unit: 512 << random.below(8),
        framing: random.pick(&[Framing::None, Framing::GrainMarker]),
    });
    SourceSpec { bytes: vec![0xdb; random.below(2000) as usize], codec, ring: random.chance(30) }
}

/// A compressed unit: where it begins on the disk and in its file, the bound of what is stored, the bytes it promises.
struct Unit {
    start: u64,
    offset: u64,
    bound: u64,
    bytes: Vec<u8>,
}

/// Stores a unit that covers guest offset `at`.
fn new_unit(source: &mut SourceSpec, codec: &SourceCodec, at: u64, random: &mut Random) -> Unit {
    let skip = if random.chance(50) { 0 } else { random.below(codec.unit) };
    let start = at.saturating_sub(skip) / 512 * 512;
    let start = if at - start < codec.unit { start } else { at / 512 * 512 };
    let least = at - start + 1;
    let mut bytes = random.bytes(codec.unit as usize);
    let promised = match random.below(10) {
        0 => random.between(least, codec.unit),
        _ => codec.unit,
    };
    bytes.truncate(promised as usize);
    let mut stored = bytes.clone();
    if promised == codec.unit && codec.codec != Codec::Zlib && random.chance(10) {
        stored.extend(random.bytes(700));
    }
    let stream = pack(codec.codec, 15, random.between(1, 9) as u32, &stored);
    let offset = source.bytes.len() as u64;
    if codec.framing == Framing::GrainMarker {
        source.bytes.extend((start / 512).to_le_bytes());
        source.bytes.extend((stream.len() as u32).to_le_bytes());
    }
    source.bytes.extend(stream);
    let exact = source.bytes.len() as u64 - offset;
    let bound = if random.chance(50) { exact } else { exact + random.below(2 * codec.unit) };
    let gap = random.pick(&[0, 3, 100]);
    source.bytes.extend(random.bytes(gap));
    Unit { start, offset, bound, bytes }
}

fn pack(codec: Codec, window: u8, level: u32, bytes: &[u8]) -> Vec<u8> {
    if codec == Codec::Zstd {
        let mut out = vec![0; zstd_safe::compress_bound(bytes.len())];
        let length = zstd_safe::compress(&mut out[..], bytes, level as i32).unwrap();
        out.truncate(length);
        return out;
    }
    let mut c = Compress::new_with_window_bits(Compression::new(level), codec == Codec::Zlib, window);
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 200);
    assert_eq!(c.compress_vec(bytes, &mut out, FlushCompress::Finish).unwrap(), Status::StreamEnd);
    out
}

fn layout(random: &mut Random) -> Layout {
    let data_start = 512 * random.pick(&[0, 1, 8, 128, 129]);
    if random.chance(12) {
        return Layout::flat(data_start);
    }
    let shifts = random.pick(&[5, 9, 11]);
    let block_size = 512 << random.below(shifts);
    let codec = random.chance(50).then(|| target(random));
    let shares = codec.is_some_and(|c| c.max_share > 0);
    let data_align: u64 = if shares { block_size } else { random.pick(&[1, 512, 4096, block_size]) };
    let data_phase = if data_align > 512 && !shares { 512 * random.below(2) } else { 0 };
    let tables = random.chance(60).then(|| TableGroup {
        blocks: random.between(1, 20),
        bytes: random.pick(&[100, 512, 4096]),
        align: random.pick(&[1, 512, 4096]),
        marker: random.pick(&[0, 0, 512]),
        place: random.pick(&[TablePlace::Before, TablePlace::After]),
    });
    let side = random
        .chance(40)
        .then(|| SideTable { every: random.pick(&[5000, 16384, 65536]), bytes: random.pick(&[512, 4096]) });
    let notes = random.below(6);
    let prefix_bytes = if codec.is_some() { 0 } else { random.pick(&[0, 0, 512, 700]) };
    Layout {
        packing: Packing::Blocks,
        data_start,
        block_size,
        data_align,
        data_phase,
        prefix_bytes,
        prefix_fill: 0xff,
        tables,
        side,
        codec,
        explicit_zeros: notes == 0 || notes == 2,
        store_all: (notes == 1 || notes == 2) && codec.is_none(),
    }
}

fn target(random: &mut Random) -> TargetCodec {
    let shares = random.chance(40);
    let window_bits = random.pick(&[12, 15]);
    TargetCodec {
        codec: random.pick(&[Codec::Deflate, Codec::Zlib, Codec::Zstd]),
        level: random.between(1, 9) as u32,
        window_bits,
        packing: if shares { 1 } else { random.pick(&[1, 512]) },
        framing: if shares { Framing::None } else { random.pick(&[Framing::None, Framing::GrainMarker]) },
        incompressible_plain: shares || random.chance(50),
        max_share: if shares { random.pick(&[1, 2, 65535]) } else { 0 },
    }
}
