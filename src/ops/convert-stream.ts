/** `convert` into a stream, which takes bytes at its own speed, in order. */
import { escapeText, VdconvError } from '../base/errors.ts';
import type { CopyOptions, Engine, Outlet } from '../engine/contract.ts';
import { copyToStream, needsSpool } from '../engine/stream.ts';
import { createSpool, type Spool } from '../io/spool.ts';
import { Kind } from '../map/extents.ts';
import { FLAT } from '../map/flat.ts';
import { uniform } from '../map/uniform.ts';
import { copyJob, type Work, type Written } from './copy-job.ts';
import { STREAM } from './stream-name.ts';

export async function writeStream(work: Work, to: Outlet): Promise<Written> {
  const { plan } = work;
  if (plan.siblings !== undefined && plan.siblings.length > 0) {
    const names = plan.siblings.map(({ name }) => escapeText(name)).join(', ');
    throw new VdconvError('usage', `such an image is several files (${names}): it cannot be written to a stream`);
  }
  return needsSpool(plan) ? writeSpooled(work, to) : writeInOrder(work, to);
}

async function writeInOrder(work: Work, to: Outlet): Promise<Written> {
  const { engine, chain, plan } = work;
  const job = () => copyJob(work, plan);
  const { size, dataBytes, digest } = await copyToStream(engine, {
    ...job(),
    map: () => job().map,
    writer: () => plan.writer(),
    ...(plan.front === undefined ? {} : { front: plan.front }),
    to,
    name: STREAM,
  });
  await chain.assertUnchanged();
  return { size, dataBytes, digest, allocatedSize: null };
}

/** Where sizes decide places, what comes first is known last: the image is made in a temporary file first. */
async function writeSpooled(work: Work, to: Outlet): Promise<Written> {
  const { engine, chain, plan, options } = work;
  const { signal, onProgress } = options;
  const total = plan.virtualSize;
  const spool = createSpool(options.spool);
  try {
    const half = onProgress && (({ done }: { done: number }) => onProgress({ done: Math.floor(done / 2), total }));
    const job = copyJob({ ...work, options: { ...options, onProgress: half } }, plan);
    const { size, dataBytes, digest } = await engine.copy({
      ...job,
      sink: { kind: 'file', fd: spool.fd, name: spool.name },
    });
    await chain.assertUnchanged();
    spool.truncate(size);
    const update = (done: number) =>
      onProgress?.({ done: done === size ? total : Math.floor((total / 2) * (1 + done / size)), total });
    await sendSpool(engine, spool, size, to, { signal, onProgress: update });
    const note = `the output was made in a temporary file in ${escapeText(spool.name)} first: its tables precede data whose compressed sizes they hold`;
    return { size, dataBytes, digest, allocatedSize: null, notes: [note] };
  } finally {
    spool.close();
  }
}

async function sendSpool(engine: Engine, spool: Spool, size: number, to: Outlet, options: CopyOptions): Promise<void> {
  const { fd, name } = spool;
  const read = (offset: number, length: number) => spool.read(offset, length);
  await engine.copy({
    files: [{ source: { fd, name, size, read, async close() {} } }],
    map: uniform(0, size, Kind.data),
    virtualSize: size,
    layout: FLAT,
    sink: { kind: 'sequential', to, name: STREAM, front: [] },
    writer: { add: () => [], finish: () => ({ pieces: [], size }) },
    options,
  });
}
