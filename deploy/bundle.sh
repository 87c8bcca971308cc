#!/usr/bin/env bash
# One file from which a site without a network installs (docs/air-gapped.md): build/bundle/bumpless-VERSION-ARCH.tar.
#
#   deploy/bundle.sh [--images]     with the images of compose.yaml, which `make images` has built
#
#   PYTHON    the Python of the site's machines; Debian's by default
#   *_IMAGE   names of images, as in compose.yaml
#
# Ends 75 where something could not be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8 PYTHON=${PYTHON:-/usr/bin/python3}

case "${1:-}" in
"" | --images) ;;
*)
    echo "bundle: expected --images or nothing, found $1" >&2
    exit 1
    ;;
esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' libs/cli/pyproject.toml)
name=bumpless-$version-$(uname -m)
folder=build/bundle/$name
rm -rf "$folder" "$folder.tar"
mkdir -p "$folder"
deploy/wheels.sh "$folder/wheels"
"$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' >"$folder/PYTHON"
echo "$version" >"$folder/VERSION"
cp deploy/install.sh LICENSE "$folder/"
cp -r docs "$folder/docs"
if [ "${1:-}" = --images ]; then
    mkdir -p "$folder/deploy"
    cp compose.yaml "$folder/"
    cp -r deploy/docker deploy/prometheus deploy/grafana "$folder/deploy/"
    docker save "${BUMPLESS_IMAGE:-bumpless:local}" "${SHOP_IMAGE:-bumpless-shop:local}" "${NATS_IMAGE:-bumpless-nats:local}" \
        "${REDIS_IMAGE:-bumpless-redis:local}" "${PROMETHEUS_IMAGE:-bumpless-prometheus:local}" | gzip -1 >"$folder/images.tar.gz"
fi
(cd "$folder" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
tar -C build/bundle --sort=name --owner=0 --group=0 --numeric-owner -cf "$folder.tar.part" "$name"
mv "$folder.tar.part" "$folder.tar"
rm -rf "$folder"
echo "$folder.tar: sha256 $(sha256sum <"$folder.tar" | cut -d ' ' -f 1)"
