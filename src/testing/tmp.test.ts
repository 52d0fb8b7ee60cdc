import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tempDir } from './tmp.ts';

describe('a temporary directory', () => {
  let dir = '';

  test('is there for its test', async () => {
    dir = await tempDir();
    writeFileSync(join(dir, 'left.img'), 'x');
    expect(existsSync(join(dir, 'left.img'))).toBe(true);
  });

  test('is gone behind it', () => {
    expect(dir).not.toBe('');
    expect(existsSync(dir)).toBe(false);
  });
});
