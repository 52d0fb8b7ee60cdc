/** Numbers that look random and are the same for the same seed, on every machine and in every year. */
export interface Random {
  /** 0 to 2^32 - 1. */
  next(): number;
  /** 0 to `limit` - 1, for a limit of at most 2^32. */
  below(limit: number): number;
  /** `min` up to `max`, which is a power of two times as large: each doubling between them is as likely as the next. */
  spread(min: number, max: number): number;
}

/** sfc32 by Chris Doty-Humphrey (PractRand), seeded from two numbers. */
export function random(seed: number, stream = 0): Random {
  let a = seed | 0;
  let b = stream | 0;
  let c = Math.floor(stream / 2 ** 32) | 0;
  let counter = 1;
  const next = () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  // The author's advice: the seed has spread over the whole state after a dozen rounds.
  for (let i = 0; i < 12; i += 1) {
    next();
  }
  const below = (limit: number) => Math.floor((next() / 2 ** 32) * limit);
  return {
    next,
    below,
    spread(min, max) {
      const least = min * 2 ** below(Math.log2(max / min));
      return least + below(least);
    },
  };
}
