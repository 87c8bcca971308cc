// Keeps listening sockets open while this process must not accept from them.
//
// Node.js accepts from a socket for as long as it has it: a handle can be closed, not paused, and closing closes the
// descriptor. So a pause hands the descriptors to a child that never listens, and a resume takes them back. The child
// lives only during the pause, and ends with the pipe to its parent.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(import.meta.url);

export class Holder {
  #child = null;
  #wanted = null;
  #given = [];

  /** Returns once the child has every one of `handles`. */
  async hold(handles) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(LISTEN_|NOTIFY_|NODE_OPTIONS)/.test(name)));
    this.#child = fork(HERE, ['hold'], { env: { ...env, LISTEN_PID: '' }, execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#child.on('exit', () => this.#wanted?.reject(new Error('the process that held the sockets is gone')));
    this.#child.on('error', (error) => this.#wanted?.reject(error));
    this.#child.on('message', (message, handle) => {
      if (handle) this.#given.push(handle);
      if (message === 'done') this.#wanted?.resolve();
    });
    for (const handle of handles) this.#child.send('hold', handle);
    await this.#ask('held?');
  }

  /** The handles again, in their order. */
  async release() {
    this.#given = [];
    await this.#ask('give');
    this.#child.disconnect();
    this.#child = null;
    return this.#given;
  }

  /** For a process that will not come back. */
  forget() {
    this.#child?.disconnect();
    this.#child = null;
  }

  #ask(question) {
    return new Promise((resolve, reject) => {
      this.#wanted = { resolve, reject };
      if (!this.#child?.connected) reject(new Error('the process that held the sockets is gone'));
      else this.#child.send(question);
    }).finally(() => { this.#wanted = null; });
  }
}

if (process.argv[1] === HERE && process.argv[2] === 'hold') {
  const held = [];
  process.on('SIGTERM', () => {});
  process.on('message', (message, handle) => {
    if (message === 'hold') held.push(handle);
    else if (message === 'held?') process.send('done');
    else if (message === 'give') {
      for (const one of held) process.send('take', one);
      process.send('done');
    }
  });
  process.on('disconnect', () => process.exit(0));
}
