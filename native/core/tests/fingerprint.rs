//! The fingerprint against the vectors of tests/fingerprint/vectors.py, and against changes that a weak sum would miss.

use serde::Deserialize;
use vdconv_core::fingerprint::{BLOCK, Sum, add, bytes};

#[derive(Deserialize)]
struct Vector {
    why: String,
    size: u64,
    /// Offset, byte (none: the pattern), length.
    fills: Vec<(u64, Option<char>, u64)>,
    fingerprint: String,
}

fn pattern(length: u64) -> impl Iterator<Item = u8> {
    (0..length).map(|i| ((i * i * 7 + i / 3) % 251) as u8)
}

#[test]
fn agrees_with_every_vector() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("fingerprint/vectors.json")).unwrap();
    assert!(vectors.len() >= 7);
    for Vector { why, size, fills, fingerprint } in vectors {
        let mut sum = Sum::default();
        for (offset, fill, length) in fills {
            let base = offset / BLOCK as u64;
            let mut part = vec![0; (offset % BLOCK as u64) as usize];
            match fill {
                Some(c) => part.extend(std::iter::repeat_n(c as u8, length as usize)),
                None => part.extend(pattern(length)),
            }
            part.truncate((size - base * BLOCK as u64) as usize);
            part.chunks(BLOCK).zip(base..).for_each(|(block, index)| add(&mut sum, index, block));
        }
        let hex: String = bytes(sum).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, fingerprint, "{why}");
    }
}

fn of(disk: &[u8]) -> Sum {
    let mut sum = Sum::default();
    disk.chunks(BLOCK).zip(0..).for_each(|(block, index)| add(&mut sum, index, block));
    sum
}

#[test]
fn no_two_similar_disks_have_the_same() {
    let disk: Vec<u8> = pattern(2 * BLOCK as u64).collect();
    let mut seen = std::collections::HashSet::from([of(&disk)]);
    let mut differs = |what: &str, other: &[u8]| assert!(seen.insert(of(other)), "{what}");
    for bit in (0..disk.len() * 8).step_by(509) {
        let mut other = disk.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        differs("one bit", &other);
    }
    let (first, second) = disk.split_at(BLOCK);
    differs("blocks swapped", &[second, first].concat());
    differs("a block twice", &[first, first].concat());
    differs("the other block twice", &[second, second].concat());
    for unit in [1, 4, 16, 256, 512, 4096] {
        let mut shifted = disk.clone();
        shifted.rotate_right(unit);
        differs("content shifted", &shifted);
        let mut swapped = disk.clone();
        let (a, b) = swapped.split_at_mut(8192);
        a[..unit].swap_with_slice(&mut b[..unit]);
        differs("pieces swapped", &swapped);
    }
    for length in [1, 100, 65535, 65537] {
        differs("a shorter disk", &disk[..length]);
    }
}

/// Words of zeros but for one, in every place of a block: lanes start apart and never meet.
#[test]
fn sparse_blocks_do_not_collide() {
    let mut seen = std::collections::HashSet::new();
    for at in (0..BLOCK).step_by(4) {
        for byte in [1, 0x80] {
            let mut block = vec![0; BLOCK];
            block[at] = byte;
            assert!(seen.insert(of(&block)), "{byte} at {at}");
        }
    }
}
