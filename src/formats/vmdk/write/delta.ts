/** A layer over another VMDK: monolithicSparse with its parent's id and name. VMDK 5.0 §Parent of a delta link. */
import { escapeText, VdconvError } from '../../../base/errors.ts';
import { formatSize, sectorsToBytes } from '../../../base/units.ts';
import type { BaseImage } from '../../format.ts';
import type { DescriptorValues } from './descriptor-text.ts';
import { planSparse } from './sparse-writer.ts';
import type { PlannedFiles, Target } from './target.ts';

export function planDelta(target: Target, base: BaseImage): PlannedFiles {
  const refused = (what: string, hint?: string) => new VdconvError('usage', what, { format: 'vmdk', hint });
  const { subformat, capacity } = target;
  if (subformat !== 'monolithicSparse') {
    throw refused(`a VMDK of subformat ${subformat} cannot lie over a base`, 'choose -o subformat=monolithicSparse');
  }
  if (base.format !== 'vmdk') {
    throw refused(`the base is ${base.format}; a VMDK lies over VMDK only`, 'choose qcow2, which lies over any format');
  }
  if (base.virtualSize !== sectorsToBytes(capacity)) {
    const sizes = `the disk has ${formatSize(sectorsToBytes(capacity))}, its base ${formatSize(base.virtualSize)}`;
    throw refused(`${sizes}: VMware takes a VMDK only over a base of the same size`);
  }
  return planSparse(target, {
    parent: parentOf(base, refused),
    zeroedGrains: target.request.options.zeroed_grain === true,
  });
}

function parentOf(
  { name, lineage }: BaseImage,
  refused: (what: string) => VdconvError,
): NonNullable<DescriptorValues['parent']> {
  const cid = lineage?.own ?? '';
  if (!/^[0-9a-f]{1,8}$/i.test(cid)) {
    throw refused(`the base has no CID ('${escapeText(cid)}'): a VMDK cannot say that it belongs to it`);
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
  if (/["\u0000-\u001f\u007f]/.test(name) || new TextEncoder().encode(name).length > MAX_HINT) {
    const rule = `a VMDK names its parent in at most ${MAX_HINT} bytes, without quotes and control characters`;
    throw refused(`the base's name '${escapeText(name)}' cannot be written: ${rule}`);
  }
  return { cid: cid.toLowerCase().padStart(8, '0'), name };
}

/** qemu reads 1023 bytes. */
const MAX_HINT = 1023;
