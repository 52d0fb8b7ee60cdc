/** Subformats of several files: the extents, and a descriptor of its own that names them. */
import { escapeText, VdconvError } from '../../../base/errors.ts';
import { LIMITS } from '../../../base/limits.ts';
import { divCeil, formatSize, type Sectors, sectorsToBytes } from '../../../base/units.ts';
import { FLAT } from '../../../map/flat.ts';
import type { PlanFile, SiblingFile } from '../../format.ts';
import { encodeDescriptor } from './descriptor-text.ts';
import { planExtent } from './sparse-writer.ts';
import { descriptorOf, type PlannedFiles, type Target } from './target.ts';

/** What VMware and VirtualBox put into one file, 2047 MiB: a sparse one stays below 2 GiB with its tables too. */
const SPLIT: Sectors = 4192256;

/** NAME-flat.vmdk. */
export function planFlat(target: Target, type: 'FLAT' | 'VMFS'): PlannedFiles {
  const { capacity } = target;
  const name = fileName(target, 'flat');
  const offset = type === 'FLAT' ? ' 0' : '';
  const file = { name, ...flatFile({ start: 0, end: sectorsToBytes(capacity) }) };
  return { ...descriptorFile(target, [`RW ${capacity} ${type} "${name}"${offset}`]), siblings: [file] };
}

/** NAME-f001.vmdk, NAME-f002.vmdk, … */
export function planSplitFlat(target: Target): PlannedFiles {
  return planSplit(target, 'f', (name, sectors) => `RW ${sectors} FLAT "${name}" 0`, flatFile);
}

/** NAME-s001.vmdk, NAME-s002.vmdk, … */
export function planSplitSparse(target: Target): PlannedFiles {
  return planSplit(target, 's', (name, sectors) => `RW ${sectors} SPARSE "${name}"`, planExtent);
}

type Range = Required<PlanFile>['range'];

function planSplit(
  target: Target,
  letter: string,
  line: (name: string, sectors: Sectors) => string,
  file: (range: Range) => PlanFile,
): PlannedFiles {
  const { capacity } = target;
  const count = divCeil(capacity, SPLIT);
  if (count > LIMITS.extents) {
    const most = formatSize(sectorsToBytes(LIMITS.extents * SPLIT));
    throw new VdconvError(
      'limit',
      `the disk would be split into ${count} files; vdconv splits disks of at most ${most}`,
      {
        format: 'vmdk',
      },
    );
  }
  const siblings: SiblingFile[] = [];
  const lines: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const name = fileName(target, `${letter}${String(i + 1).padStart(3, '0')}`);
    const sectors = Math.min(SPLIT, capacity - i * SPLIT);
    const start = sectorsToBytes(i * SPLIT);
    siblings.push({ name, ...file({ start, end: start + sectorsToBytes(sectors) }) });
    lines.push(line(name, sectors));
  }
  return { ...descriptorFile(target, lines), siblings };
}

/** The guest's bytes as they are. */
function flatFile(range: Range): PlanFile {
  const size = range.end - range.start;
  return {
    layout: FLAT,
    range,
    writer: () => ({ add: () => [], finish: () => ({ pieces: [], size }) }),
  };
}

/** The file that the user named: text, and no guest's byte. */
function descriptorFile(target: Target, lines: readonly string[]): PlanFile {
  const values = descriptorOf(target, lines);
  return {
    layout: { ...FLAT, kind: 'blocks' },
    range: { start: 0, end: 0 },
    fingerprint: target.request.randomId === undefined,
    writer: () => ({
      add: () => [],
      finish: (_, content) => {
        const bytes = encodeDescriptor(values, content?.fingerprint);
        return { pieces: [{ offset: 0, bytes }], size: bytes.length };
      },
    }),
  };
}

/** The name of a file beside the target, as VMware's products make it of the target's name. */
function fileName({ request, subformat }: Target, suffix: string): string {
  const { name } = request;
  if (name === undefined) {
    throw new VdconvError(
      'usage',
      `a VMDK of subformat ${subformat} is several files: it cannot be written to a stream`,
      {
        format: 'vmdk',
        hint: 'choose -o subformat=streamOptimized or monolithicSparse',
      },
    );
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
  if (/["\u0000-\u001f\u007f]/.test(name)) {
    const why = 'a descriptor cannot name files with quotes or control characters';
    throw new VdconvError('usage', `the name '${escapeText(name)}' does not go with subformat ${subformat}: ${why}`, {
      format: 'vmdk',
    });
  }
  return `${name.replace(/\.vmdk$/i, '')}-${suffix}.vmdk`;
}
