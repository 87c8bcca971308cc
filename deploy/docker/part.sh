#!/bin/sh
# Runs one part of Bumpless by its name; anything else as it is. Ops ports are open to the container's network, and all
# of them are 9400, which the health check of the image asks.
set -eu
case ${1:-} in
planner | health-gate | rollback | alerts | events | dashboard) module=bumpless.$(echo "$1" | tr - _).app ;;
executor) module=bumpless.executor.launcher ;;
setup)
    shift
    exec /opt/bumpless/bin/python /usr/local/lib/bumpless/setup.py "$@"
    ;;
*) exec "$@" ;;
esac
prefix=BUMPLESS_$(echo "$1" | tr a-z- A-Z_)
export "${prefix}_OPS_PORT=9400" "${prefix}_OPS_HOST=0.0.0.0"
shift
exec /opt/bumpless/bin/python -m "$module" "$@"
