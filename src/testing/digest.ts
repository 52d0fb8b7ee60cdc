import { createHash } from 'node:crypto';

/** What {@link digestOf} needs of an opened image. */
interface Readable {
  virtualSize: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** SHA-256 of the guest's bytes, read piece by piece. */
export async function digestOf(image: Readable, piece: number = 4 << 20): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < image.virtualSize; at += piece) {
    hash.update(await image.read(at, Math.min(piece, image.virtualSize - at)));
  }
  return hash.digest('hex');
}
