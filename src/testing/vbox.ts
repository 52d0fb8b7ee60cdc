/**
 * Programs of a folder that no distribution package here has: VirtualBox's own disk code (vbox-img), a current qemu-img,
 * nbdcopy with --blkhash. `make test-oracle` builds the folder and says where it is (VDCONV_ORACLE), and what runs a
 * program of it (VDCONV_ORACLE_RUN: `RUNNER FOLDER WORKDIR COMMAND…`, with WORKDIR as its current directory).
 *
 * A program sees the files of `workdir` only, by names without a directory.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { Missing } from './oracles.ts';

const run = promisify(execFile);

/** Runs a program; gives what it printed, and throws with its message on any exit status but 0. */
export type OracleRun = (workdir: string, command: string, ...args: string[]) => Promise<string>;

/** The runner, or why there is none. */
export function oracleFolder(): OracleRun | Missing {
  const { VDCONV_ORACLE: folder = '', VDCONV_ORACLE_RUN: runner = '' } = process.env;
  if (!existsSync(folder) || !existsSync(runner)) {
    return new Missing(
      'VDCONV_ORACLE and VDCONV_ORACLE_RUN do not say where the programs are: `make test-oracle` does',
    );
  }
  return async (workdir, command, ...args) => {
    const { stdout, stderr } = await run(runner, [folder, workdir, command, ...args], { maxBuffer: 64 << 20 });
    return `${stdout}${stderr}`;
  };
}

/** VirtualBox's formats, as its converter names them. */
export type VboxFormat = 'RAW' | 'VMDK' | 'VHD' | 'VHDX' | 'VDI' | 'QCOW';

/** vbox-img. */
export class VboxImg {
  readonly #run: OracleRun;
  constructor(run: OracleRun) {
    this.#run = run;
  }

  /** `vbox-img ARGS` in `workdir`. */
  img(args: readonly string[], workdir: string): Promise<string> {
    return this.#run(workdir, 'vbox-img', ...args);
  }

  /** Converts `source` to `target`, both in `workdir`; `variant` as `--variant` takes it (Fixed, Stream, …). */
  async convert(
    workdir: string,
    [source, sourceFormat]: readonly [string, VboxFormat],
    [target, targetFormat]: readonly [string, VboxFormat],
    variant?: string,
  ): Promise<void> {
    const from = ['--srcfilename', source, '--srcformat', sourceFormat];
    const to = ['--dstfilename', target, '--dstformat', targetFormat];
    await this.img(['convert', ...from, ...to, ...(variant === undefined ? [] : ['--variant', variant])], workdir);
  }
}

/** For `need(ctx, vboxImg())`. */
export function vboxImg(): VboxImg | Missing {
  const runner = oracleFolder();
  return runner instanceof Missing ? runner : new VboxImg(runner);
}
