//! Finding zeros.

/// Whether every byte is zero. Data mostly differs in its first bytes, zeros must be read to the end: the head is looked
/// at alone, the rest is folded in blocks that the compiler turns into vector instructions.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at(bytes.len().min(16));
    if head.iter().any(|&b| b != 0) {
        return false;
    }
    let mut blocks = rest.chunks_exact(256);
    for block in blocks.by_ref() {
        if block.iter().fold(0, |all, &b| all | b) != 0 {
            return false;
        }
    }
    blocks.remainder().iter().all(|&b| b == 0)
}

/// Appends to `runs` the parts of `bytes` that are not zero, as [start, end) relative to `base`, looking at
/// pieces of `granularity` bytes, counted from `base`.
pub fn data_runs(bytes: &[u8], base: u64, granularity: u64, runs: &mut Vec<(u64, u64)>) {
    let mut at = base;
    for part in bytes.chunks(granularity as usize) {
        let end = at + part.len() as u64;
        if !is_zero(part) {
            push_run(at, end, runs);
        }
        at = end;
    }
}

/// Appends [start, end), or lengthens the last run where it goes on there.
pub fn push_run(start: u64, end: u64, runs: &mut Vec<(u64, u64)>) {
    match runs.last_mut() {
        Some(last) if last.1 == start => last.1 = end,
        _ => runs.push((start, end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_seen() {
        for length in [0, 1, 15, 16, 17, 255, 256, 271, 272, 273, 4096] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for i in 0..length {
                bytes[i] = 1;
                assert!(!is_zero(&bytes), "byte {i} of {length}");
                bytes[i] = 0;
            }
        }
    }

    #[test]
    fn runs_are_aligned_and_merged() {
        let mut bytes = vec![0; 5 * 512 + 10];
        bytes[512] = 1;
        bytes[1024 + 511] = 1;
        bytes[5 * 512 + 9] = 1;
        let mut runs = Vec::new();
        data_runs(&bytes, 8192, 512, &mut runs);
        assert_eq!(runs, [(8192 + 512, 8192 + 1536), (8192 + 2560, 8192 + 2570)]);
    }
}
