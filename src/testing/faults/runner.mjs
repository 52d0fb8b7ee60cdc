// A process under the shim: for each message it arms a fault, converts, disarms, and says how it went.
import { openSync } from 'node:fs';

const { convert } = await import(process.env.VDCONV_FAULT_LIBRARY);

/** The shim takes the path for a command, and the opening fails. */
function arm(command) {
  try {
    openSync(`/vdconv-fault/${command}`, 'r');
  } catch {
    // As it must.
  }
}

process.on('message', async ({ fault, source, target, options }) => {
  let outcome = 'done';
  arm(fault);
  try {
    await convert(source, target, options);
  } catch (error) {
    outcome = `${error.code ?? 'no code'} ${error.message}`;
  }
  arm('none,-,0,0');
  process.send({ outcome });
});
process.send({ outcome: 'ready' });
