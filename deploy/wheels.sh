#!/usr/bin/env bash
# Puts every wheel that Bumpless runs on into a folder, those of this clone included; nothing has to be fetched after that.
#
#   deploy/wheels.sh FOLDER
#
#   PYTHON    what they are for, with venv; Debian's by default
#
# pip checks hashes here: one package comes as its source, and the wheel that is made of it has a hash of its own. What was
# fetched once is kept in build/wheels. Ends 75 where something could not be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-/usr/bin/python3}
kept=build/wheels
mark=$("$PYTHON" --version && sha256sum <requirements/runtime.txt)
if [ "$mark" != "$(cat "$kept.mark" 2>/dev/null)" ]; then
    echo "wheels: fetched for $("$PYTHON" --version)"
    rm -rf "$kept" "$kept.venv"
    "$PYTHON" -m venv "$kept.venv"
    "$kept.venv/bin/pip" wheel --quiet --require-hashes --wheel-dir "$kept" -r requirements/runtime.txt || {
        echo "wheels: expected to fetch those of requirements/runtime.txt, and could not; see above" >&2
        exit 75
    }
    echo "$mark" >"$kept.mark"
fi
mkdir -p "$1"
cp "$kept"/*.whl "$1/"
.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$1" \
    libs/common libs/service libs/cli services/*/
