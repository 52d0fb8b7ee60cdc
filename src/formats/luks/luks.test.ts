/** LUKS volumes and encrypted QCOW2: described without a password, refused by the name of their method. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { check } from '../../ops/check.ts';
import { convert } from '../../ops/convert.ts';
import { info } from '../../ops/info.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { tempDir } from '../../testing/tmp.ts';

const SECRET = ['--object', 'secret,id=s,data=x'] as const;

/** From the specification: header of 4096 bytes, then JSON. */
function luks2(json: string): Buffer {
  const bytes = Buffer.alloc(16384 + 65536);
  bytes.write('LUKS\xba\xbe\0\x02', 0, 'latin1');
  bytes.writeBigUInt64BE(16384n, 8);
  bytes.write('the label', 24, 'latin1');
  bytes.write('sha256', 72, 'latin1');
  bytes.write('c0ffee00-0000-4000-8000-000000000000', 168, 'latin1');
  bytes.write(json, 4096, 'latin1');
  return bytes;
}

describe('LUKS1, made by qemu-img', () => {
  test('info says what it is; conversion is refused, -f raw is not', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const path = join(await tempDir(), 'a.img');
    const options = 'key-secret=s,iter-time=10,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256';
    await qemu.run('create', '-q', '-f', 'luks', ...SECRET, '-o', options, path, '1M');
    // A header for aes-256-xts has 2068480 bytes.
    expect(await info(path)).toMatchObject({
      ...{ format: 'luks', subformat: 'LUKS1', virtualSize: 1024 * 1024, encrypted: true },
      details: { cipher: 'aes-xts-plain64', hash: 'sha256', keyBits: 512, payloadOffset: 2068480, keySlots: 1 },
    });
    await expect(convert(path, `${path}.qcow2`)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(
        'encrypted, LUKS1 with aes-xts-plain64: not supported; decrypt it with qemu-img',
      ),
    });
    await convert(path, `${path}.raw`, { format: 'raw' });
    expect(Buffer.compare(await readFile(`${path}.raw`), await readFile(path))).toBe(0);
    await expect(check(path)).rejects.toMatchObject({ code: 'unsupported', field: 'check' });
  });
});

describe('LUKS2, by hand', () => {
  test('info says what it is', async () => {
    const path = join(await tempDir(), 'a.img');
    const segment = { type: 'crypt', offset: '16384', size: 'dynamic', encryption: 'serpent-xts-plain64' };
    await writeFile(path, luks2(JSON.stringify({ segments: { 0: segment } })));
    expect(await info(path)).toMatchObject({
      ...{ format: 'luks', subformat: 'LUKS2', virtualSize: 65536, encrypted: true },
      details: { cipher: 'serpent-xts-plain64', label: 'the label', uuid: 'c0ffee00-0000-4000-8000-000000000000' },
    });
    await expect(convert(path, `${path}.raw`)).rejects.toMatchObject({
      message: expect.stringContaining('encrypted, LUKS2 with serpent-xts-plain64: not supported'),
    });
  });

  test('broken headers', async () => {
    const path = join(await tempDir(), 'a.img');
    await writeFile(path, luks2('{"segments":'));
    await expect(info(path)).rejects.toMatchObject({ code: 'corrupt', field: 'JSON area' });
    await writeFile(path, luks2('{}').subarray(0, 4096));
    await expect(info(path)).rejects.toMatchObject({ code: 'truncated' });
    const large = luks2('{}');
    large.writeBigUInt64BE(2n ** 40n, 8);
    await writeFile(path, large);
    await expect(info(path)).rejects.toMatchObject({ code: 'limit', field: 'headerSize' });
    await writeFile(path, Buffer.from('LUKS\xba\xbe\0\x07'.padEnd(600, '\0'), 'latin1'));
    await expect(info(path)).rejects.toMatchObject({ code: 'unsupported', field: 'version' });
  });
});

test.for([
  ['luks', 'LUKS'],
  ['aes', 'AES'],
])('QCOW2 with %s: info says so, conversion names it', async ([format, method], ctx) => {
  const qemu = need(ctx, qemuImg());
  const path = join(await tempDir(), 'a.qcow2');
  const more = format === 'luks' ? ',encrypt.iter-time=10' : '';
  const options = `encrypt.format=${format},encrypt.key-secret=s${more}`;
  await qemu.run('create', '-q', '-f', 'qcow2', ...SECRET, '-o', options, path, '1M');
  expect(await info(path)).toMatchObject({ format: 'qcow2', encrypted: true, details: { encryption: method } });
  await expect(convert(path, `${path}.raw`)).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining(`encrypted, ${method}: not supported`),
  });
});
