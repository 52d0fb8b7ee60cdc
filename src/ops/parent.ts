/** Whether a file is the parent that a layer was made over. */
import { escapeText, VdconvError } from '../base/errors.ts';
import type { Image } from '../formats/format.ts';

/**
 * Throws `corrupt` where both images say who they are and the child means another parent: the parent was written to
 * after the child was made, or is another image, and the two together are a disk that never was.
 */
export function checkParent(child: Image, childName: string, parent: Image, parentName: string): void {
  const { parents: meant, field = '' } = child.lineage ?? {};
  const found = parent.lineage?.own;
  if (child.format !== parent.format || meant === undefined || found === undefined) {
    return;
  }
  if (meant.some((id) => same(id, found))) {
    return;
  }
  const whose = `the id of ${escapeText(parentName)} is ${escapeText(found)}`;
  throw new VdconvError('corrupt', `${field} is ${meant.map(escapeText).join(' or ')}, but ${whose}`, {
    file: childName,
    format: child.format,
    field,
    hint: 'the parent is another image, or was written to after this layer was made',
  });
}

/** qemu-img leaves out a CID's leading zeros, VMware writes all eight digits. */
function same(a: string, b: string): boolean {
  const normal = (id: string) => id.toLowerCase().replace(/^0+/, '');
  return normal(a) === normal(b);
}
