import { describe, expect, it } from 'vitest';
import type { ConvertResult, ImageInfo } from '../index.ts';
import { printDropped, printInfo, printJson, printNotes, printResult } from './print.ts';

const plain: ImageInfo = {
  filename: 'disk.img',
  format: 'raw',
  subformat: '',
  virtualSize: 5120,
  fileSize: 100,
  allocatedSize: null,
  blockSize: 0,
  references: [],
  snapshots: [],
  bitmaps: [],
  metadata: {},
  encrypted: false,
  compressed: false,
  dirty: false,
  warnings: [],
  details: {},
};

describe('printInfo', () => {
  it('says only what there is', () => {
    expect(printInfo(plain)).toBe(
      [
        'file:         disk.img',
        'format:       raw',
        'virtual size: 5 KiB (5120 bytes)',
        'file size:    100 B',
        '',
      ].join('\n'),
    );
  });

  it('says everything there is', () => {
    const info: ImageInfo = {
      ...plain,
      format: 'qcow2',
      subformat: 'version 3',
      virtualSize: 8 * 1024 ** 3,
      allocatedSize: 2 * 1024 ** 2,
      blockSize: 65536,
      references: [
        { kind: 'backing', name: 'base.img', format: 'raw', resolved: '/vm/base.img' },
        { kind: 'data-file', name: '/vm/data' },
      ],
      snapshots: [{ id: '1', name: 'before', virtualSize: 1024 ** 3 }],
      encrypted: true,
      compressed: true,
      dirty: true,
      warnings: ['It was not closed.'],
      details: { compat: '1.1', refcountBits: 16 },
    };
    expect(printInfo(info).split('\n')).toEqual([
      'file:         disk.img',
      'format:       qcow2 (version 3)',
      'virtual size: 8 GiB (8589934592 bytes)',
      'file size:    100 B',
      'on disk:      2 MiB',
      'block size:   64 KiB',
      'refers to:    base.img (backing, raw) -> /vm/base.img',
      'refers to:    /vm/data (data-file)',
      'snapshot:     before (id 1, 1 GiB)',
      'encrypted:    yes',
      'compressed:   yes',
      'dirty:        yes',
      'compat:       1.1',
      'refcountBits: 16',
      'warning: It was not closed.',
      '',
    ]);
  });

  it('lets no image write to the terminal', () => {
    const text = '\u001b[2J\nfile: \u202eother';
    const shown = printInfo({
      ...plain,
      references: [{ kind: 'backing', name: text }],
      snapshots: [{ id: text, name: text }],
      warnings: [text],
      details: { [text]: text, list: [text] },
    });
    expect(shown).not.toMatch(/[^\n -~]/);
    expect(shown.trimEnd().split('\n')).toHaveLength(4 + 1 + 1 + 2 + 1);
  });
});

describe('printJson', () => {
  it('keeps every character, and shows none that controls a terminal', () => {
    const value = { name: '\u001b[2J\u0085\u202e\u2028 ü 😀 "\\' };
    const json = printJson(value);
    expect(JSON.parse(json)).toEqual(value);
    expect(json).toBe('{\n  "name": "\\u001b[2J\\u0085\\u202e\\u2028 ü 😀 \\"\\\\"\n}\n');
  });
});

describe('printResult', () => {
  const result: ConvertResult = {
    source: { filename: 'in.vmdk', format: 'vmdk', virtualSize: 8 * 1024 ** 3 },
    target: {
      filename: 'out.qcow2',
      format: 'qcow2',
      virtualSize: 8 * 1024 ** 3,
      fileSize: 3 * 1024 ** 3,
      allocatedSize: 2.1 * 1024 ** 3,
      siblings: [],
    },
    dropped: [],
    dataBytes: 0,
    salvaged: [],
    notes: [],
    engine: 'native',
    seconds: 1.249,
  };

  it('is one line', () => {
    expect(printResult(result)).toBe('in.vmdk (vmdk, 8 GiB) -> out.qcow2 (qcow2, 2.1 GiB on disk) in 1.2 s\n');
  });

  it('says the length where nobody knows what is on disk', () => {
    const target = { ...result.target, allocatedSize: null };
    expect(printResult({ ...result, target })).toBe('in.vmdk (vmdk, 8 GiB) -> out.qcow2 (qcow2, 3 GiB) in 1.2 s\n');
  });

  it('says what the target has no place for, in one line', () => {
    expect(printDropped(result)).toBe('');
    expect(printDropped({ ...result, dropped: ['geometry', 'disk id'] })).toBe(
      'vdconv: note: not carried over, qcow2 has no place for it: geometry, disk id\n',
    );
  });

  it('has its notes as lines of their own', () => {
    expect(printNotes(['Two snapshots were not\ncarried over.', 'Padded.'])).toBe(
      'vdconv: note: Two snapshots were not\\x0acarried over.\nvdconv: note: Padded.\n',
    );
  });
});
