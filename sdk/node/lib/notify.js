// What the process says: on the pipe NOTIFY_FD, because dgram cannot reach the Unix socket NOTIFY_SOCKET; where there is
// no pipe (systemd), through the program systemd-notify. The executor may be away: nothing here ever throws.

import { execFile } from 'node:child_process';
import { writeSync } from 'node:fs';

export function notifier(contract) {
  return (...states) => {
    if (contract.notifyFd !== null) {
      try {
        writeSync(contract.notifyFd, states.join('\n') + '\n');
      } catch {
        // Its reader died with the executor (EPIPE). The next executor asks on the admin socket.
      }
    } else if (contract.notifySocket) {
      execFile('systemd-notify', states, () => {});
    }
  };
}
