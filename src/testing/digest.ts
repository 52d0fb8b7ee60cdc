import { createHash } from 'node:crypto';

/** What {@link digestOf} needs of an opened image. */
interface Readable {
  virtualSize: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** SHA-256 of the guest's bytes, read piece by piece, and of `padding` zeros behind them. */
export async function digestOf(
  image: Readable,
  { piece = 4 << 20, padding = 0 }: { piece?: number; padding?: number } = {},
): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < image.virtualSize; at += piece) {
    hash.update(await image.read(at, Math.min(piece, image.virtualSize - at)));
  }
  return hash.update(Buffer.alloc(padding)).digest('hex');
}
