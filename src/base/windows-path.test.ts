import { expect, test } from 'vitest';
import { windowsPath } from './windows-path.ts';

test.each([
  ['base.vhd', '.\\base.vhd'],
  ['./base.vhd', '.\\base.vhd'],
  ['..base', '.\\..base'],
  ['a b/c.vhd', '.\\a b\\c.vhd'],
  ['../x/base.vhd', '..\\x\\base.vhd'],
  ['/x/base.vhd', '\\x\\base.vhd'],
])('%s', (name, path) => {
  expect(windowsPath(name)).toBe(path);
});

test('a backslash is part of a name here, and none there', () => {
  expect(() => windowsPath('a\\b.vhd')).toThrow(expect.objectContaining({ code: 'usage', file: 'a\\b.vhd' }));
  expect(() => windowsPath('a\\b.vhd')).toThrow(/the base has a backslash in its path/);
});
