/** QCOW2 §External data file: the file that holds the guest's bytes where the image itself does not. */
import { VdconvError } from '../../base/errors.ts';
import type { ByteSource, Reference, ReferenceGate } from '../../io/types.ts';
import { has, Incompatible } from './features.ts';
import type { Header } from './header.ts';
import { headerV3 } from './layout.ts';

export function isExternal({ incompatibleFeatures }: Header): boolean {
  return has(incompatibleFeatures, Incompatible.externalDataFile);
}

/** Without incompatible feature bit 2 the name means nothing. */
export function dataFileReference(header: Header): Reference | undefined {
  const name = header.extensions.dataFile;
  return name === undefined || !isExternal(header) ? undefined : { kind: 'data-file', name, format: 'raw' };
}

/**
 * The data file of an image that has one, or why it cannot be had: nobody's permission is needed to describe the image,
 * so a refusal is kept until its block map is asked for.
 */
export async function openDataFile(source: ByteSource, header: Header, gate: ReferenceGate): Promise<DataFileState> {
  if (!isExternal(header)) {
    return {};
  }
  const reference = dataFileReference(header);
  if (reference === undefined) {
    const { offset } = headerV3.fields.incompatibleFeatures;
    const what = `guest data lies in an external data file that no header extension names (incompatibleFeatures at offset ${offset})`;
    return { failure: new VdconvError('corrupt', what, { ...header.origin, field: 'incompatibleFeatures', offset }) };
  }
  try {
    return { file: await gate.open(reference, source) };
  } catch (failure) {
    if (failure instanceof VdconvError) {
      return { failure };
    }
    throw failure;
  }
}

interface DataFileState {
  file?: ByteSource;
  failure?: VdconvError;
}
