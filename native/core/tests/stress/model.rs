//! What a copy must leave, from the guest's bytes alone.

use std::fs::File;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};
use vdconv_core::digest::Method;
use vdconv_core::layout::{Codec, Framing, Packing, TargetCodec};
use vdconv_core::log::{COMPRESSED, Log, PLAIN, SIDE, TABLE, ZERO};
use vdconv_core::placement::{Placer, Stored};
use vdconv_core::{Kind, Outcome, fingerprint};

use super::case::Case;
use super::drive::{Entry, pieces_of};

pub fn image_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Aligned pieces of the disk that are not zero.
fn data(case: &Case) -> Vec<(usize, usize)> {
    let size = case.guest.len();
    let block = if case.layout.explicit_zeros { case.layout.block_size } else { u64::MAX };
    match case.granularity.min(block) as usize {
        0 if case.layout.explicit_zeros => known(case),
        0 if size == 0 => Vec::new(),
        0 => vec![(0, size)],
        g => {
            let pieces = (0..size).step_by(g).map(|at| (at, (at + g).min(size)));
            pieces.filter(|&(from, to)| case.guest[from..to].iter().any(|&b| b != 0)).collect()
        }
    }
}

/// Parts of which the map says something.
fn known(case: &Case) -> Vec<(usize, usize)> {
    let known = case.map.iter().filter(|e| e.kind != Kind::Unallocated);
    known.map(|e| ((e.start - case.map_start) as usize, (e.end() - case.map_start) as usize)).collect()
}

pub fn stored_bits(case: &Case) -> Vec<u8> {
    let all = case.layout.store_all && case.layout.packing == Packing::Blocks && !case.guest.is_empty();
    let parts = match (all, case.layout.explicit_zeros) {
        (true, true) => known(case),
        (true, false) => vec![(0, case.guest.len())],
        (false, _) => data(case),
    };
    bits(case, parts)
}

fn bits(case: &Case, parts: Vec<(usize, usize)>) -> Vec<u8> {
    let block = case.layout.block_size as usize;
    let mut bits = vec![0; case.guest.len().div_ceil(block).div_ceil(8)];
    for (from, to) in parts {
        for n in from / block..to.div_ceil(block) {
            bits[n / 8] |= 1 << (n % 8);
        }
    }
    bits
}

/// Holds a copy to a file against the model.
pub fn verify(case: &Case, entries: &[Entry], outcome: &Outcome, image: &[u8]) {
    assert_eq!(outcome.data_bytes, data(case).iter().map(|(from, to)| (to - from) as u64).sum::<u64>());
    assert_eq!(outcome.fingerprint, case.fingerprint.then(|| fingerprint_of(case)));
    let mut image = image.to_vec();
    assert!(image.len() as u64 <= outcome.host_end, "something was written behind the end");
    image.resize(outcome.host_end as usize, 0);
    if case.layout.packing == Packing::Flat {
        let start = case.layout.data_start as usize;
        assert!(entries.is_empty() && image[start..] == case.guest && image[..start].iter().all(|&b| b == 0));
        return;
    }
    assert_placement(case, entries, outcome.host_end);
    let expected = expected_image(case, entries, &image);
    let differ = image.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(differ, None, "the image differs from the model");
}

pub fn digest_of(case: &Case, method: Method) -> [u8; 32] {
    let Method::Blocks(block) = method else {
        return Sha256::digest(&case.guest).into();
    };
    let mut outer = Sha256::new();
    case.guest.chunks(block as usize).for_each(|block| outer.update(Sha256::digest(block)));
    outer.update((case.guest.len() as u64).to_le_bytes());
    outer.finalize().into()
}

fn fingerprint_of(case: &Case) -> fingerprint::Sum {
    let mut sum = Default::default();
    let first = case.map_start / fingerprint::BLOCK as u64;
    for (index, block) in case.guest.chunks(fingerprint::BLOCK).enumerate() {
        fingerprint::add(&mut sum, first + index as u64, block);
    }
    sum
}

/// The stored blocks are the model's, and their places what placement says alone.
fn assert_placement(case: &Case, entries: &[Entry], host_end: u64) {
    let stored = stored_bits(case);
    let noted = if case.layout.explicit_zeros { bits(case, known(case)) } else { vec![0; stored.len()] };
    let is_set = |bits: &[u8], n: u64| bits[n as usize / 8] >> (n % 8) & 1 == 1;
    let blocks: Vec<_> = entries.iter().filter(|e| [PLAIN, COMPRESSED, ZERO].contains(&e.0)).collect();
    let all = 0..stored.len() as u64 * 8;
    let foreseen = all.filter(|n| is_set(&stored, *n) || is_set(&noted, *n)).map(|n| (n, is_set(&stored, n)));
    assert_eq!(blocks.iter().map(|e| (e.1, e.0 != ZERO)).collect::<Vec<_>>(), foreseen.collect::<Vec<_>>());
    let mut placer = Placer::new(&case.layout);
    let mut log = Log::default();
    for &&(kind, block, offset, stored) in &blocks {
        if kind == ZERO {
            placer.zeros(block, block + 1, &mut log).unwrap();
            continue;
        }
        let stored = if kind == PLAIN { Stored::Plain } else { Stored::Compressed(stored) };
        assert_eq!(placer.place(block, stored, &mut log).unwrap(), offset);
    }
    assert_eq!(placer.finish(&mut log).unwrap(), host_end);
}

/// The image that the entries make; proves that no two of them overlap, and that blobs decode to their blocks.
fn expected_image(case: &Case, entries: &[Entry], image: &[u8]) -> Vec<u8> {
    let mut expected = vec![0; image.len()];
    let mut taken = vec![false; image.len()];
    let mut put = |offset: u64, bytes: &[u8]| {
        let range = offset as usize..offset as usize + bytes.len();
        assert!(offset >= case.layout.data_start && taken[range.clone()].iter().all(|t| !t), "overlap at {offset}");
        taken[range.clone()].fill(true);
        expected[range].copy_from_slice(bytes);
    };
    let size = case.layout.block_size as usize;
    for &(kind, index, offset, stored) in entries {
        if kind == TABLE || kind == SIDE {
            let mut log = Log::default();
            log.push(kind, index, offset, stored);
            pieces_of(&case.layout, &log).iter().for_each(|(offset, bytes)| put(*offset, bytes));
            continue;
        }
        if kind == ZERO {
            continue;
        }
        let from = index as usize * size;
        let mut block = case.guest[from..(from + size).min(case.guest.len())].to_vec();
        block.resize(size, 0);
        if kind == PLAIN {
            let prefix = case.layout.prefix_bytes;
            put(offset - prefix, &vec![case.layout.prefix_fill; prefix as usize]);
            put(offset, &block);
        } else {
            let blob = &image[offset as usize..offset as usize + stored as usize];
            assert!(unpack(&case.layout.codec.unwrap(), from as u64, blob) == block, "block {index}");
            put(offset, blob);
        }
    }
    expected
}

fn unpack(codec: &TargetCodec, start: u64, blob: &[u8]) -> Vec<u8> {
    let stream = match codec.framing {
        Framing::None => blob,
        Framing::GrainMarker => {
            assert_eq!(blob[..8], (start / 512).to_le_bytes());
            assert_eq!(blob[8..12], (blob.len() as u32 - 12).to_le_bytes());
            &blob[12..]
        }
    };
    if codec.codec == Codec::Zstd {
        let mut out = vec![0; 2 << 20];
        let length = zstd_safe::decompress(&mut out[..], stream).unwrap();
        out.truncate(length);
        return out;
    }
    let mut d = Decompress::new_with_window_bits(codec.codec == Codec::Zlib, codec.window_bits);
    let mut out = Vec::with_capacity(2 << 20);
    assert_eq!(d.decompress_vec(stream, &mut out, FlushDecompress::Finish).unwrap(), Status::StreamEnd);
    assert_eq!(d.total_in(), stream.len() as u64);
    out
}
