/** What a model disk's runs are made of. Each page depends on the seed and its own place alone, so any part can be made. */
import { KiB } from '../base/units.ts';
import { random } from './random.ts';

/** `random` does not compress; `text` does, to about a quarter; `zeros` are written, unlike a hole. */
export type Pattern = 'random' | 'text' | 'zeros';

export const PAGE = 4 * KiB;

const WORDS = 'the disk of a guest kernel module usr share lib config value error path size block table offset'
  .split(' ')
  .map((word) => Buffer.from(`${word} `));

/** Page `index` (of the whole disk) in a pattern. */
export function patternPage(pattern: Pattern, seed: number, index: number): Uint8Array {
  const page = new Uint8Array(PAGE);
  if (pattern === 'random') {
    const source = random(seed, index);
    const view = new DataView(page.buffer);
    for (let at = 0; at < PAGE; at += 4) {
      view.setUint32(at, source.next(), true);
    }
  } else if (pattern === 'text') {
    fillText(page, seed, index);
  }
  return page;
}

function fillText(page: Uint8Array, seed: number, index: number): void {
  const source = random(seed, index);
  let at = 0;
  while (at < PAGE) {
    // Now and then a number, so that no two pages are alike.
    const word =
      source.below(8) === 0 ? Buffer.from(`${source.next()}\n`) : (WORDS[source.below(WORDS.length)] as Buffer);
    page.set(word.subarray(0, PAGE - at), at);
    at += word.length;
  }
}
