/** Whether a file is the parent that a layer was made over. */
import { escapeText, VdconvError } from '../base/errors.ts';
import type { Image } from '../formats/format.ts';

/**
 * Throws `corrupt` where both images say who they are and the child means another parent: the parent was written to
 * after the child was made, and the two together are a disk that never was. Formats tell by `details`: `cid` for
 * oneself, `parentCid` for the parent (VMDK 5.0 §The descriptor file: header).
 */
export function checkParent(child: Image, childName: string, parent: Image, parentName: string): void {
  const { parentCid: meant } = child.facts.details;
  const { cid: found } = parent.facts.details;
  if (typeof meant === 'string' && typeof found === 'string' && number(meant) !== number(found)) {
    const whose = `the CID of ${escapeText(parentName)} is ${escapeText(found)}`;
    throw new VdconvError('corrupt', `parentCID is ${escapeText(meant)}, but ${whose}`, {
      file: childName,
      format: child.format,
      field: 'parentCID',
      hint: 'the parent is another image, or was written to after this layer was made',
    });
  }
}

/** qemu-img leaves out leading zeros, VMware writes all eight digits. */
function number(cid: string): string {
  return cid.replace(/^0+/, '');
}
