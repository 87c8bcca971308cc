#!/usr/bin/env bash
# Runs a command with a Docker that answers: the one that is there, or a dockerd of its own below build/docker, which ends
# with the command. For machines, such as those of CI, where nothing has been started.
#
#   deploy/docker/daemon.sh COMMAND...
set -euo pipefail
cd "$(dirname "$0")/../.."

if docker version >/dev/null 2>&1; then exec "$@"; fi
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
here=$PWD/build/docker
mkdir -p "$here"
# The path of a socket may have 107 characters; that of a clone may be longer.
sockets=$(mktemp -d)
export DOCKER_HOST=unix://$sockets/docker.sock
as_root dockerd --group "$(id -g)" --host "$DOCKER_HOST" --data-root "$here/data" --exec-root "$sockets/exec" \
    --pidfile "$sockets/pid" >"$here/dockerd.log" 2>&1 &
ends() {
    as_root kill "$(cat "$sockets/pid" 2>/dev/null)" 2>/dev/null || true
    wait || true
    as_root rm -rf "$sockets"
}
trap ends EXIT
for _ in $(seq 300); do
    docker version >/dev/null 2>&1 && break
    sleep 0.1
done
docker version >/dev/null 2>&1 || {
    tail -n 20 "$here/dockerd.log" >&2
    echo "expected a dockerd that answers within 30 s, found none; see above" >&2
    exit 75
}
"$@"
