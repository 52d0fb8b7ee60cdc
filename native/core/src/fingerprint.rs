//! What a disk holds, in 16 bytes that do not depend on how it was read: the sum of one contribution a block of 64 KiB.
//! It tells contents apart, it does not withstand who makes two alike on purpose. src/engine/fingerprint.ts is the same
//! function; tests/fingerprint/vectors.json was worked out by a third one.

use crate::zero::is_zero;

/// Bytes of the disk that make one contribution; the last one goes on with zeros.
pub const BLOCK: usize = 65536;
/// So many that vector units are busy although each step of a lane waits for the one before.
const LANES: usize = 64;
/// A prime of 32 bits, as are those of `mixed`.
const P: u32 = 0x9e37_79b1;

pub type Sum = [u32; 4];

/// Adds what the block with number `index` contributes; nothing where it is all zeros.
pub fn add(sum: &mut Sum, index: u64, block: &[u8]) {
    if is_zero(block) {
        return;
    }
    let hash = match <&[u8; BLOCK]>::try_from(block) {
        Ok(whole) => hash(whole),
        Err(_) => {
            let mut whole = [0; BLOCK];
            whole[..block.len()].copy_from_slice(block);
            hash(&whole)
        }
    };
    merge(sum, mixed(hash, index));
}

pub fn merge(sum: &mut Sum, other: Sum) {
    sum.iter_mut().zip(other).for_each(|(word, other)| *word = word.wrapping_add(other));
}

/// As JavaScript gets it.
pub fn bytes(sum: Sum) -> Vec<u8> {
    sum.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn hash(block: &[u8; BLOCK]) -> Sum {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked, and the function needs nothing else.
        return unsafe { hash_avx2(block) };
    }
    hash_portable(block)
}

/// The same, compiled for wider vectors: three times as fast.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn hash_avx2(block: &[u8; BLOCK]) -> Sum {
    hash_portable(block)
}

/// Each lane takes every 64th word. Then lanes fold into four words, each of every fourth lane.
#[inline(always)]
fn hash_portable(block: &[u8; BLOCK]) -> Sum {
    let mut lanes: [u32; LANES] = std::array::from_fn(|i| (i as u32 + 1).wrapping_mul(P));
    for stripe in block.chunks_exact(4 * LANES) {
        for (lane, word) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            *lane = (*lane ^ word).rotate_left(15).wrapping_mul(P);
        }
    }
    let mut hash = [0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    for four in lanes.chunks_exact(4) {
        for (word, lane) in hash.iter_mut().zip(four) {
            *word = (*word ^ lane).rotate_left(13).wrapping_mul(P);
        }
    }
    hash
}

/// Every bit of a hash and of its block's number into every bit of the contribution.
fn mixed([mut a, mut b, mut c, mut d]: Sum, index: u64) -> Sum {
    a ^= index as u32;
    b ^= (index >> 32) as u32;
    for _ in 0..4 {
        a = (a ^ d.rotate_left(7)).wrapping_mul(0x85eb_ca77);
        b = (b ^ a.rotate_left(11)).wrapping_mul(0xc2b2_ae3d);
        c = (c ^ b.rotate_left(17)).wrapping_mul(0x27d4_eb2f);
        d = (d ^ c.rotate_left(23)).wrapping_mul(0x1656_67b1);
    }
    [a ^ a >> 15, b ^ b >> 15, c ^ c >> 15, d ^ d >> 15]
}
