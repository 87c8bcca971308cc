// What the executor tells a managed process: docs/service-contract.md. Reads the environment, touches no descriptor.

export const FIRST_FD = 3;

export class ContractError extends Error {}

/**
 * The identity, limits and shared sockets of process `pid`. Times in milliseconds.
 * Descriptors meant for another process (a LISTEN_PID that is not `pid`) are left alone.
 */
export function readContract(env = process.env, pid = process.pid) {
  const sockets = inherited(env, pid);
  const managed = sockets !== null;
  return {
    managed,
    node: env.BUMPLESS_NODE ?? '',
    component: env.BUMPLESS_COMPONENT ?? '',
    version: env.BUMPLESS_VERSION ?? '',
    digest: env.BUMPLESS_DIGEST ?? '',
    release: env.BUMPLESS_RELEASE ?? '',
    instance: env.BUMPLESS_INSTANCE ?? '',
    stateDir: env.BUMPLESS_STATE_DIR || 'state',
    lameDuckMs: number(env, 'BUMPLESS_LAME_DUCK_MS', 2000),
    drainTimeoutMs: number(env, 'BUMPLESS_DRAIN_TIMEOUT_MS', 30000),
    standby: env.BUMPLESS_STANDBY === '1',
    handoverFile: env.BUMPLESS_HANDOVER_FILE || null,
    // Anybody who merely inherited the variable has something else on that descriptor.
    notifyFd: managed && env.NOTIFY_FD ? number(env, 'NOTIFY_FD', 0) : null,
    notifySocket: env.NOTIFY_SOCKET || null,
    sockets: sockets ?? new Map(),
  };
}

function inherited(env, pid) {
  if (env.LISTEN_PID !== String(pid)) return null;
  const count = number(env, 'LISTEN_FDS', 0);
  const names = env.LISTEN_FDNAMES ? env.LISTEN_FDNAMES.split(':') : Array(count).fill('unknown');
  if (names.length !== count) {
    throw new ContractError(`expected ${count} names in LISTEN_FDNAMES, found ${JSON.stringify(env.LISTEN_FDNAMES)}`);
  }
  const found = new Map();
  names.forEach((name, at) => found.set(name, [...(found.get(name) ?? []), FIRST_FD + at]));
  return found;
}

function number(env, name, otherwise) {
  const text = env[name] || String(otherwise);
  if (!/^[0-9]+$/.test(text)) throw new ContractError(`expected a whole number in ${name}, found ${JSON.stringify(text)}`);
  return Number(text);
}
