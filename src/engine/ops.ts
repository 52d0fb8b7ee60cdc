/** The writes of one unit, in the order of placement, neighbours merged. */

/** Where an operation's bytes are: the chunk, the encoded blocks, a constant, a table that the writer will supply. */
export type From = 'chunk' | 'encoded' | 'fill' | 'writer';

export interface Op {
  offset: number;
  length: number;
  from: From;
  /** Index into the chunk or the encoded bytes; the constant. */
  at: number;
}

export class Ops {
  readonly list: Op[] = [];

  push(offset: number, length: number, from: From, at = 0): void {
    const last = this.list.at(-1);
    if (last !== undefined && last.offset + last.length === offset && last.from === from && follows(last, at)) {
      last.length += length;
    } else {
      this.list.push({ offset, length, from, at });
    }
  }

  clear(): void {
    this.list.length = 0;
  }
}

/** A table is looked up by its own offset, so tables do not merge. */
function follows({ from, at, length }: Op, next: number): boolean {
  return from === 'fill' ? at === next : from !== 'writer' && at + length === next;
}
