// Runs a command and measures the whole process: wall, user and system seconds, peak memory.
import { spawnSync } from 'node:child_process';

// The measured command is the only child of this: no other process's memory or time is counted.
const METER = `import os, resource, subprocess, sys, time
t = time.monotonic()
p = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
w = time.monotonic() - t
u = resource.getrusage(resource.RUSAGE_CHILDREN)
print(w, u.ru_utime, u.ru_stime, u.ru_maxrss, p.returncode)`;

/** @returns seconds, and MiB; throws where the exit status is another one. */
export function meter(command, status = 0) {
  const { stdout, stderr } = spawnSync('python3', ['-c', METER, ...command], { encoding: 'utf8' });
  const [wall, user, system, rss, ended] = stdout.trim().split(' ').map(Number);
  if (ended !== status) throw new Error(`${command.join(' ')}\nended with ${ended}: ${stderr}`);
  return { wall, cpu: user + system, user, system, rss: rss / 1024 };
}

export function run(command, ...args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\nended with ${status}: ${stderr}${stdout}`);
  return stdout;
}

/** Whether a program is there. */
export function has(command) {
  return spawnSync(command, ['--version']).error === undefined;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function round3(value) {
  return Math.round(value * 1000) / 1000;
}
