// The state that one process of a component leaves for the next, in one file (docs/service-contract.md):
//
//     {"format": "bumpless-handover/1", "component": …, "version": …, "instance": …, "size": …, "sha256": …}\n
//     the bytes of the state
//
// What does not agree with its head is never handed out. The file appears whole or not at all. Whoever named it removes it.

import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

const FORMAT = 'bumpless-handover/1';
const MAX_HEAD = 4096;
const MAX_STATE = 2 ** 30;

export class HandoverError extends Error {}

/** Puts the state in place of what was there, and resolves when it is on the disk. */
export async function writeHandover(path, component, { state, version = '', instance = '' }) {
  if (state.length > MAX_STATE) throw new HandoverError(`expected a state of at most ${MAX_STATE} bytes, found ${state.length}`);
  const head = { format: FORMAT, component, version, instance, size: state.length, sha256: digest(state) };
  const part = `${path}.${instance || process.pid}.part`;
  await mkdir(dirname(path), { recursive: true });
  try {
    await synced(part, 'w', (file) => file.writeFile(Buffer.concat([Buffer.from(JSON.stringify(head) + '\n'), state])));
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
  await synced(dirname(path), 'r', () => {});
}

/** What was left for `component`; null when nothing was. Throws HandoverError, or what the disk throws. */
export async function readHandover(path, component) {
  let data;
  try {
    data = await readFile(path);
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
  const head = headOf(data.subarray(0, MAX_HEAD));
  if (head.format !== FORMAT) throw new HandoverError(`expected the format ${FORMAT}, found ${JSON.stringify(head.format)}`);
  if (head.component !== component) {
    throw new HandoverError(`expected the state of ${JSON.stringify(component)}, found that of ${JSON.stringify(head.component)}`);
  }
  const state = data.subarray(data.indexOf(10) + 1);
  if (state.length !== head.size) throw new HandoverError(`expected ${head.size} bytes of state, found ${state.length}`);
  if (digest(state) !== head.sha256) throw new HandoverError('expected the state that was written, found another digest');
  return { state, version: String(head.version ?? ''), instance: String(head.instance ?? '') };
}

function headOf(start) {
  const end = start.indexOf(10);
  try {
    const head = JSON.parse(start.subarray(0, end).toString());
    if (end >= 0 && head !== null && typeof head === 'object') return head;
  } catch {
    // told below
  }
  throw new HandoverError(`expected a line with a JSON object, found ${JSON.stringify(start.subarray(0, 40).toString())}`);
}

const digest = (state) => createHash('sha256').update(state).digest('hex');

async function synced(path, flags, work) {
  const file = await open(path, flags, 0o600);
  try {
    await work(file);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** One process's part: takes the state once, when it begins to work; leaves it at its end, if it ever began. */
export class Keeper {
  save = null;
  restore = null;
  outcome = 'not taken yet';
  #taken = false;

  constructor(path, component, version, instance) {
    Object.assign(this, { path, component, version, instance });
  }

  /** Throws whatever `restore` throws; the next call tries again. */
  async take() {
    if (this.#taken) return;
    let left = null;
    this.outcome = 'nothing was left';
    if (this.path && this.restore) {
      try {
        left = await readHandover(this.path, this.component);
      } catch (error) {
        console.error(`the state in ${this.path} is not taken: ${error.message}`);
        this.outcome = `not read: ${error.message}`;
      }
      if (left !== null) {
        await this.restore(left);
        this.outcome = `taken from ${left.instance || 'a process without a name'}`;
      }
    }
    this.#taken = true;
  }

  async leave() {
    if (!this.#taken || !this.path || !this.save) return;
    const state = Buffer.from(await this.save());
    await writeHandover(this.path, this.component, { state, version: this.version, instance: this.instance });
  }
}
