#!/usr/bin/env bash
# Installs Bumpless from the folder in which this lies, without a network (docs/air-gapped.md).
#
#   ./install.sh [PREFIX]     a virtual environment PREFIX-VERSION, and PREFIX, a link to it; /opt/bumpless by default
#   ./install.sh --images     the images of compose.yaml, into the Docker of this machine
#
# Installed again with a later bundle, the link is moved in one step; the version before stays until somebody removes it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
wrong() {
    echo "install: $*" >&2
    exit 1
}

(cd "$here" && sha256sum --check --quiet --strict SHA256SUMS >&2) ||
    wrong "expected the files of SHA256SUMS, found others; copy the bundle here again"
if [ "${1:-}" = --images ]; then
    [ -e "$here/images.tar.gz" ] || wrong "expected a bundle with images, found none in it; make one with deploy/bundle.sh --images"
    gzip -dc "$here/images.tar.gz" | docker load
    exit
fi
prefix=${1:-/opt/bumpless}
python=${PYTHON:-/usr/bin/python3}
wanted=$(cat "$here/PYTHON")
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || wrong "expected Python $wanted, found none at $python; name one with PYTHON"
[ "$found" = "$wanted" ] || wrong "expected Python $wanted, which the wheels are for, found $found at $python; name another with PYTHON"
[ ! -e "$prefix" ] || [ -L "$prefix" ] || wrong "expected nothing or a link at $prefix, found something else; move it away"
place=$prefix-$(cat "$here/VERSION")
if cmp -s "$here/SHA256SUMS" "$place/SHA256SUMS"; then
    echo "$place is there already"
else
    # One that is not whole has no list.
    [ ! -e "$place/SHA256SUMS" ] || wrong "expected nothing at $place, found another bundle of this version; give another PREFIX, or remove it when nothing runs from it"
    rm -rf "$place"
    "$python" -m venv "$place" || wrong "expected a Python with venv, found none; on Debian: apt-get install python3-venv"
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-index --no-deps "$here"/wheels/*.whl
    "$place/bin/python" -m pip check --disable-pip-version-check >/dev/null
    cp "$here/SHA256SUMS" "$place/SHA256SUMS"
fi
ln -sfn "$place" "$prefix.part"
mv -T "$prefix.part" "$prefix"
echo "$prefix is a link to $place"
