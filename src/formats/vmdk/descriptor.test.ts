import { expect, test } from 'vitest';
import { parseDescriptor } from './descriptor.ts';
import { fileKind } from './kind.ts';

const parse = (text: string | Uint8Array) =>
  parseDescriptor(typeof text === 'string' ? new TextEncoder().encode(text) : text, 'disk.vmdk');
const kindOf = (text: string) => fileKind(new TextEncoder().encode(text));

const VMWARE = `# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=3a1b2c4d
parentCID=ffffffff
createType="monolithicFlat"

# Extent description
RW 2097152 FLAT "disk-flat.vmdk" 0

# The Disk Data Base 
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.heads = "255"
`;

test('a descriptor as VMware writes it', () => {
  const { header, extents, ddb, createType } = parse(VMWARE);
  expect(createType).toBe('monolithicFlat');
  expect(Object.fromEntries(header)).toMatchObject({ version: '1', cid: '3a1b2c4d', parentcid: 'ffffffff' });
  expect(extents).toEqual([{ access: 'RW', sectors: 2097152, type: 'FLAT', name: 'disk-flat.vmdk', offset: 0 }]);
  expect(Object.fromEntries(ddb)).toEqual({ adaptertype: 'lsilogic', 'geometry.heads': '255' });
});

test('line ends, spaces, letter case and order do not matter', () => {
  const odd =
    '\r\n# c\r\n\tddb.adapterType="ide"\r\nrw\t 8  Flat   "sub dir/a=b.vmdk"   3 uuid dev\r\nCREATETYPE = "custom" \r\n';
  const { createType, extents, ddb } = parse(odd);
  expect(createType).toBe('custom');
  expect(extents).toEqual([{ access: 'RW', sectors: 8, type: 'FLAT', name: 'sub dir/a=b.vmdk', offset: 3 }]);
  expect(ddb.get('adaptertype')).toBe('ide');
});

test('what follows the first NUL is padding', () => {
  expect(parse('createType="custom"\nRW 1 ZERO\n\0RW 1 ZERO\n').extents).toHaveLength(1);
});

test('an extent of zeros has no file', () => {
  const { extents } = parse('createType="custom"\nRDONLY 63 ZERO\nNOACCESS 1 ZERO\n');
  expect(extents.map(({ access, name }) => [access, name])).toEqual([
    ['RDONLY', undefined],
    ['NOACCESS', undefined],
  ]);
});

test('names are read in the encoding that the descriptor names', () => {
  const text = [...'encoding="windows-1252"\ncreateType="custom"\nRW 1 FLAT "'].map((c) => c.charCodeAt(0));
  const { extents } = parse(Uint8Array.from([...text, 0xe9, 0x22, 0x20, 0x30]));
  expect(extents[0]?.name).toBe('é');
});

test.each([
  ['a count below zero', 'RW -1 FLAT "a" 0'],
  ['a count that is no number', 'RW 12x FLAT "a" 0'],
  ['an offset that is no number', 'RW 12 FLAT "a" 12x'],
  ['a name without its end', 'RW 12 FLAT "a 0'],
  ['no name', 'RW 12 FLAT'],
  ['no type', 'RW 12'],
])('an extent with %s is refused', (_, line) => {
  const refused = () => parse(`createType="custom"\n${line}\n`);
  expect(refused).toThrow(expect.objectContaining({ code: 'corrupt', field: 'descriptor', file: 'disk.vmdk' }));
  expect(refused).toThrow(/line 2: .* is not an extent/);
});

test.each([
  ['too many extents', `createType="custom"\n${'RW 1 ZERO\n'.repeat(4097)}`, /4096/],
  ['a count of 2^63', 'createType="custom"\nRW 9223372036854775808 ZERO\n', /64 TiB/],
  ['an offset of 2^55', 'createType="custom"\nRW 1 FLAT "a" 36028797018963968\n', /64 TiB/],
])('over a limit: %s', (_, text, message) => {
  expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'limit' }));
  expect(() => parse(text)).toThrow(message);
});

test('two values for a key that decides the content are refused, and shown escaped', () => {
  const refused = () => parse('createType="custom"\ncreateType="\u001b[2J"\n');
  expect(refused).toThrow(expect.objectContaining({ code: 'corrupt' }));
  expect(refused).toThrow("'\\x1b[2J' after 'custom'");
  expect(() => parse('version=1\nCID=1\n')).toThrow(/no createType/);
});

test('descriptors are recognised where qemu sees raw bytes', () => {
  expect(kindOf(VMWARE)).toBe('descriptor');
  expect(kindOf(`\r\n${VMWARE.replace('version=1', 'encoding="x"\nversion=4')}`)).toBe('descriptor');
  expect(kindOf('version=1\r\nCreateType = "vmfs"\r\nRW 63 VMFS "a"\r\n')).toBe('descriptor');
  expect(kindOf('createType=1, an extent line is missing')).toBeUndefined();
  expect(kindOf('\u0001createType="vmfs"\nRW 63 VMFS "a"\n')).toBeUndefined();
});

test('a head of line ends alone is judged at once', () => {
  const began = performance.now();
  expect(kindOf('\n'.repeat(65536))).toBeUndefined();
  expect(kindOf(' '.repeat(65536))).toBeUndefined();
  expect(performance.now() - began).toBeLessThan(2000);
});
