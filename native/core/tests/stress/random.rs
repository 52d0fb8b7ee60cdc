//! Numbers and bytes from a seed.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// splitmix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// [0, n)
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// [low, high]
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Zeros, noise, text, or a mixture of them.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut all = vec![0; length];
        let whole = self.chance(50);
        let piece = if whole { length.max(1) } else { self.pick(&[512, 4096, 5000]) };
        for part in all.chunks_mut(piece) {
            match self.below(4) {
                0 => {}
                1 => part.chunks_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_le_bytes()[..c.len()])),
                2 => {
                    let salt = self.below(200);
                    part.iter_mut().enumerate().for_each(|(i, b)| *b = (i as u64 / 7 % 50 + salt) as u8 + 1);
                }
                _ => {
                    let at = self.below(part.len() as u64) as usize;
                    part[at] = 1;
                }
            }
        }
        all
    }
}
