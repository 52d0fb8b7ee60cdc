/** The disk's own id: VMware's is 16 bytes with spaces (`ddb.uuid`), VirtualBox's a UUID (`ddb.uuid.image`). */

/** The usual text form: lower case, with hyphens. Undefined for what is no such id, and for all zeros, which means none. */
export function diskId(text: string): string | undefined {
  const digits = text.replaceAll(/[\s{}-]/g, '').toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(digits) || /^0+$/.test(digits)) {
    return undefined;
  }
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** VMware makes its ids of a SCSI identifier of its own vendor code. */
export function isVmwareId(id: string): boolean {
  return id.startsWith('6000c29');
}

/** `60 00 C2 9b 01 02 03 04-05 06 …`: as VMware writes it, a hyphen in the middle. */
export function vmwareForm(id: string): string {
  const bytes = id.replaceAll('-', '').match(/../g) ?? [];
  return `${bytes.slice(0, 8).join(' ')}-${bytes.slice(8).join(' ')}`;
}
