// State that an exclusive service hands to its successor, in one file:
//
//     {"handover": 1, "format": 3, "encoding": "json", "writer": "v7"}\n
//     the state, as JSON or as bytes
//
// `format` is the service's own affair. The file appears whole or not at all. Whoever named it removes it.

import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

const ENVELOPE = 1;

export class HandoverError extends Error {}

export async function writeHandover(path, { state, format, writer = '' }) {
  const bytes = state instanceof Uint8Array;
  const head = { handover: ENVELOPE, format, encoding: bytes ? 'bytes' : 'json', writer };
  const aside = `${path}.${process.pid}`;
  await mkdir(dirname(path), { recursive: true });
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(Buffer.concat([
      Buffer.from(JSON.stringify(head) + '\n'),
      bytes ? state : Buffer.from(JSON.stringify(state)),
    ]));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
}

/** null: nobody left anything. */
export async function readHandover(path) {
  let data;
  try {
    data = await readFile(path);
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
  const end = data.indexOf(10);
  try {
    const head = JSON.parse(data.subarray(0, end < 0 ? data.length : end).toString());
    if (head.handover !== ENVELOPE || !Number.isInteger(head.format)) throw new Error('another envelope');
    const body = data.subarray(end + 1);
    const state = head.encoding === 'bytes' ? body : JSON.parse(body.toString());
    return { state, format: head.format, writer: head.writer ?? '' };
  } catch (error) {
    throw new HandoverError(`expected a handover of version ${ENVELOPE} in ${path}, found ${error.message}`);
  }
}
