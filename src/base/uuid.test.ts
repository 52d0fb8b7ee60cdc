import { expect, test } from 'vitest';
import { checkUuid, guidBytes, guidText, mixedEndian, uuidBytes, uuidText } from './uuid.ts';

const TEXT = '00112233-4455-6677-8899-aabbccddeeff';
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('bytes as they are written', () => {
  expect(hex(uuidBytes(TEXT.toUpperCase()))).toBe('00112233445566778899aabbccddeeff');
  expect(uuidText(uuidBytes(TEXT))).toBe(TEXT);
});

test('GUIDs: three groups little-endian, two as they are', () => {
  expect(hex(guidBytes(TEXT))).toBe('33221100554477668899aabbccddeeff');
  expect(guidText(guidBytes(TEXT))).toBe(TEXT);
  expect(mixedEndian(guidBytes(TEXT))).toEqual(uuidBytes(TEXT));
});

test.each(['', TEXT, TEXT.toUpperCase()])('an option takes "%s"', (text) => {
  expect(() => checkUuid(text)).not.toThrow();
});

test.each(['x', `{${TEXT}}`, TEXT.replaceAll('-', ''), `${TEXT}0`, '\x1b', '00000000-0000-0000-0000-000000000000'])(
  'an option does not take %j',
  (text) => {
    expect(() => checkUuid(text)).toThrow(expect.objectContaining({ code: 'usage' }));
    expect(() => checkUuid(text)).toThrow(/^uuid is .*: it must be a UUID such as/);
  },
);
