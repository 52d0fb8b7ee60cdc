/**
 * Readers and writers that nobody here wrote, as tests use them: qemu-img and dissect.hypervisor. Where one is missing a
 * test is skipped and says why; with CI set, a missing one is a failure.
 *
 *     test('reads what qemu-img wrote', async (ctx) => {
 *       const qemu = need(ctx, qemuImg());
 *       …
 *     });
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** An oracle that is not there: why, and how to get it. */
export class Missing {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** The oracle, or the end of this test as skipped with the reason. */
export function need<T extends object>(ctx: { skip(note?: string): never }, oracle: T | Missing): T {
  return oracle instanceof Missing ? ctx.skip(oracle.reason) : oracle;
}

export interface QemuCompare {
  /** The content is the same and so are the sizes. */
  identical: boolean;
  sizeA: number;
  sizeB: number;
  /** What qemu-img said. */
  message: string;
}

/** What `qemu-img check --output=json` says; counts that are absent were zero. */
export interface QemuCheck {
  /** 0 clean, 2 corrupt, 3 leaks. */
  exit: number;
  'check-errors': number;
  corruptions?: number;
  leaks?: number;
  'image-end-offset'?: number;
  'total-clusters'?: number;
  'allocated-clusters'?: number;
  'compressed-clusters'?: number;
  'fragmented-clusters'?: number;
}

/** What `qemu-img info --output=json` says, in part. */
export interface QemuInfo {
  'virtual-size': number;
  format: string;
  'actual-size': number;
  'cluster-size'?: number;
  'backing-filename'?: string;
  'format-specific'?: { type: string; data: Record<string, unknown> };
}

/** qemu-img 10 or newer. It counts in sectors: a raw disk of odd size ends in a padded sector for it. */
export class QemuImg {
  readonly version: string;
  constructor(version: string) {
    this.version = version;
  }

  /** Runs `qemu-img ARGS` and gives its standard output; throws with its message on any exit status but 0. */
  async run(...args: string[]): Promise<string> {
    const { stdout } = await run('qemu-img', args, { maxBuffer: 64 << 20 });
    return stdout;
  }

  /** `qemu-img convert ARGS`, for example `convert('-f', 'raw', '-O', 'qcow2', a, b)`. */
  async convert(...args: string[]): Promise<void> {
    await this.run('convert', ...args);
  }

  async info(file: string, format: string): Promise<QemuInfo> {
    return JSON.parse(await this.run('info', '--output=json', '-f', format, file));
  }

  /** The guest's size: the file's own length for raw, which qemu-img would round up to a sector. */
  async size(file: string, format: string): Promise<number> {
    return format === 'raw' ? statSync(file).size : (await this.info(file, format))['virtual-size'];
  }

  /** `qemu-img compare`, which takes a longer disk that ends in zeros for identical, and the sizes as well. */
  async compare(a: string, formatA: string, b: string, formatB: string): Promise<QemuCompare> {
    const sizeA = await this.size(a, formatA);
    const sizeB = await this.size(b, formatB);
    const { exit, output } = await this.#try(['compare', '-f', formatA, '-F', formatB, a, b]);
    if (exit > 1) {
      throw new Error(`qemu-img compare ${a} ${b}: ${output}`);
    }
    const sizes = sizeA === sizeB ? '' : `; sizes differ: ${sizeA} and ${sizeB}`;
    return { identical: exit === 0 && sizeA === sizeB, sizeA, sizeB, message: output + sizes };
  }

  /** `qemu-img check`; throws where it could not check (the format has no check, the image does not open). */
  async check(file: string, format: string): Promise<QemuCheck> {
    const { exit, stdout, output } = await this.#try(['check', '--output=json', '-f', format, file]);
    if (exit !== 0 && exit !== 2 && exit !== 3) {
      throw new Error(`qemu-img check ${file}: ${output}`);
    }
    return { ...JSON.parse(stdout), exit };
  }

  async #try(args: string[]): Promise<{ exit: number; stdout: string; output: string }> {
    try {
      const { stdout, stderr } = await run('qemu-img', args, { maxBuffer: 64 << 20 });
      return { exit: 0, stdout, output: `${stdout}${stderr}`.trim() };
    } catch (cause) {
      const failed = cause as { code?: unknown; stdout: string; stderr: string };
      if (typeof failed.code !== 'number') {
        throw cause;
      }
      return { exit: failed.code, stdout: failed.stdout, output: `${failed.stdout}${failed.stderr}`.trim() };
    }
  }
}

/** The guest's bytes as another reader sees them. */
export interface Content {
  size: number;
  sha256: string;
}

/** dissect.hypervisor in a Python of its own (`make oracles`, or VDCONV_ORACLE_PYTHON names one). */
export class Dissect {
  readonly version: string;
  readonly #python: string;
  constructor(version: string, python: string) {
    this.version = version;
    this.#python = python;
  }

  /** Size and digest of the guest's bytes. A backing file is followed by name. */
  async content(file: string, format: 'qcow2' | 'vmdk' | 'raw'): Promise<Content> {
    const { stdout } = await run(this.#python, [dissectScript, format, file]);
    return JSON.parse(stdout);
  }
}

const dissectScript = fileURLToPath(new URL('./dissect_content.py', import.meta.url));

/** qemu-img of the system. */
export const qemuImg = once((): QemuImg | Missing => {
  const { stdout } = spawnSync('qemu-img', ['--version'], { encoding: 'utf8' });
  const version = /version (\d+)\.[\d.]+/.exec(stdout ?? '');
  if (version === null || Number(version[1]) < 10) {
    const found = version === null ? 'qemu-img is not installed' : `qemu-img ${version[0]} is too old`;
    return missing(`${found}: tests compare with 10 or newer (Debian: qemu-utils, for bookworm from backports)`);
  }
  return new QemuImg(version[0].slice('version '.length));
});

export const dissect = once((): Dissect | Missing => {
  const own = fileURLToPath(new URL('../../.cache/venv/bin/python', import.meta.url));
  const python = process.env.VDCONV_ORACLE_PYTHON ?? own;
  if (!existsSync(python)) {
    return missing(
      'dissect.hypervisor is not installed: `make oracles` does it, or VDCONV_ORACLE_PYTHON names a Python',
    );
  }
  const { stdout, stderr, status } = spawnSync(python, [dissectScript, '--version'], { encoding: 'utf8' });
  return status === 0 ? new Dissect(stdout.trim(), python) : missing(`${python} has no dissect.hypervisor: ${stderr}`);
});

function missing(reason: string): Missing {
  if (process.env.CI) {
    throw new Error(`${reason} (with CI set a missing oracle is a failure)`);
  }
  return new Missing(reason);
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
