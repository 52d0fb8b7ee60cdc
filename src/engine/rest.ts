/** What is due after the last byte of data: the same for both engines. */
import type { Content, Piece } from '../map/layout.ts';
import type { CopyJob } from './contract.ts';

interface Rest {
  tables: Iterable<Piece>;
  pieces: readonly Piece[];
  size: number;
}

/** The writer's last pieces, without those that a stream has behind it: its front is out already. */
export function restOf({ writer, sink, layout }: CopyJob, hostEnd: number, content: Content): Rest {
  if (writer === undefined) {
    const size = sink.kind === 'sequential' ? sink.ahead?.size : undefined;
    return { tables: [], pieces: [], size: size ?? hostEnd };
  }
  const { tables = [], pieces, size } = writer.finish(hostEnd, content);
  return sink.kind === 'sequential'
    ? { tables, pieces: pieces.filter(({ offset }) => offset >= layout.dataStart), size }
    : { tables, pieces, size };
}
