//! A digest of the disk's content while it moves: SHA-256 of the bytes in order, or of blocks that are hashed side by side
//! (the construction of blkhash: H over the concatenated H(block), the last block short if it is, then the disk's length
//! as u64 LE). Zeros are not read for the second: what a block of them hashes to is known.

use sha2::{Digest as _, Sha256};

use crate::error::Result;
use crate::zero::is_zero;

pub type Hash = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Of blocks of this many bytes.
    Blocks(u64),
    Plain,
}

/// The part that grows in virtual order.
pub struct Outer {
    method: Method,
    size: u64,
    sha: Sha256,
    /// Bytes of the disk that are in it.
    done: u64,
    zero_block: Hash,
}

impl Outer {
    pub fn new(method: Method, size: u64) -> Self {
        let zero_block = match method {
            Method::Blocks(block) => hash(&vec![0; block.min(size) as usize]),
            Method::Plain => Hash::default(),
        };
        Self { method, size, sha: Sha256::new(), done: 0, zero_block }
    }

    /// The next part that is not zeros: `bytes` at `start`, or their block's hash.
    pub fn add(&mut self, start: u64, part: &Part<'_>) {
        self.zeros_up_to(start);
        match part {
            Part::Block { hash, end } => {
                self.sha.update(hash);
                self.done = *end;
            }
            Part::Bytes(bytes) => {
                self.sha.update(bytes);
                self.done = start + bytes.len() as u64;
            }
        }
    }

    pub fn finish(&mut self) -> Hash {
        self.zeros_up_to(self.size);
        if self.method != Method::Plain {
            self.sha.update(self.size.to_le_bytes());
        }
        self.sha.finalize_reset().into()
    }

    fn zeros_up_to(&mut self, end: u64) {
        static ZEROS: [u8; 65536] = [0; 65536];
        while self.done < end {
            match self.method {
                Method::Blocks(block) if end - self.done >= block.min(self.size) => {
                    self.sha.update(self.zero_block);
                    self.done += block.min(self.size);
                }
                Method::Blocks(_) => {
                    self.sha.update(hash(&vec![0; (end - self.done) as usize]));
                    self.done = end;
                }
                Method::Plain => {
                    let n = (end - self.done).min(ZEROS.len() as u64);
                    self.sha.update(&ZEROS[..n as usize]);
                    self.done += n;
                }
            }
        }
    }
}

pub enum Part<'a> {
    Block { hash: Hash, end: u64 },
    Bytes(&'a [u8]),
}

/// The hash of a block that is not all zeros.
pub fn block_hash(block: &[u8]) -> Option<Hash> {
    (!is_zero(block)).then(|| hash(block))
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Refuses what the pipeline cannot cut.
pub fn check(method: Method) -> Result<()> {
    match method {
        Method::Blocks(block) if !block.is_power_of_two() || !(512..=16 << 20).contains(&block) => {
            Err(crate::Error::internal(format!("a digest over blocks of {block} bytes")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: Hash) -> String {
        hash.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// blkhash's own vectors: one block of 64 KiB, of 'A' and of zeros.
    #[test]
    fn published_vectors() {
        let block = vec![b'A'; 65536];
        let mut outer = Outer::new(Method::Blocks(65536), 65536);
        outer.add(0, &Part::Block { hash: block_hash(&block).unwrap(), end: 65536 });
        assert_eq!(hex(outer.finish()), "2e3a5f57d5e726ee5de62db1a85ff816f4fa6ea4627807d9a51bdc4c883e165e");
        let mut outer = Outer::new(Method::Blocks(65536), 65536);
        assert_eq!(hex(outer.finish()), "8ab067ab7939a3d4f40cbb118956c07c06aeae2d075d6e0a2ebbb94bd42832af");
    }

    /// FIPS 180-4's "abc", behind and before zeros that nobody pushes.
    #[test]
    fn plain_bytes_and_their_gaps() {
        let mut outer = Outer::new(Method::Plain, 3);
        outer.add(0, &Part::Bytes(b"abc"));
        assert_eq!(hex(outer.finish()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let mut whole = vec![0; 200_000];
        whole[70_000..70_003].copy_from_slice(b"abc");
        let mut outer = Outer::new(Method::Plain, 200_000);
        outer.add(70_000, &Part::Bytes(b"abc"));
        assert_eq!(outer.finish(), hash(&whole));
    }
}
