#!/usr/bin/env bash
# Builds the images of compose.yaml: all of them, or the targets that are named (bumpless shop nats redis prometheus).
# `build.sh base` fetches what the base is made of, and stops there.
#
#   BASE_IMAGE    what they stand on; without it one is made of Debian's packages (needs root and debootstrap)
#   *_IMAGE       their names, as in compose.yaml
#   PYTHON        of the very version that the base has, with venv: what is installed follows from it; Debian's by default
#
# What comes from elsewhere is fetched here, as apt and pip are configured on this machine; the builds reach no network.
# Ends 75 where that could not be fetched, 1 where an image could not be built.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C.UTF-8

context=build/docker/context
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
not_fetched() {
    echo "images: expected to fetch $1, and could not; see above" >&2
    exit 75
}

# Debian's mirror, release and key, as apt has them here.
make_base() {
    local release mirror root=build/docker/root
    mkdir -p build/docker
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' | awk -v r="$release" '$1 == r && $2 == "main" { print $3; exit }')
    [ -n "$mirror" ] || not_fetched "Debian $release: apt knows no mirror of it"
    echo "images: base of Debian $release"
    as_root rm -rf "$root"
    as_root debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,redis-server \
        "$release" "$root" "$mirror" >build/docker/debootstrap.log 2>&1 ||
        { tail -n 20 build/docker/debootstrap.log >&2; not_fetched "a root of Debian $release"; }
    as_root tar -C "$root" --exclude './var/cache/apt/*' --exclude './var/lib/apt/lists/*' --exclude './var/log/*' \
        --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*' --exclude './dev/*' \
        -c . >build/docker/base.tar.part
    as_root rm -rf "$root"
    mv build/docker/base.tar.part build/docker/base.tar
}

fetch_prometheus() {
    if [ ! -e build/docker/prometheus ]; then
        echo "images: prometheus"
        rm -rf build/docker/deb && mkdir -p build/docker/deb
        (cd build/docker/deb && apt-get download -qq prometheus) || not_fetched "Debian's prometheus"
        dpkg-deb -x build/docker/deb/prometheus_*.deb build/docker/deb/root
        mv build/docker/deb/root/usr/bin/prometheus build/docker/prometheus
        rm -rf build/docker/deb
    fi
    cp build/docker/prometheus "$context/"
}

name_of() {
    case $1 in
    bumpless) echo "${BUMPLESS_IMAGE:-bumpless:local}" ;;
    shop) echo "${SHOP_IMAGE:-bumpless-shop:local}" ;;
    nats) echo "${NATS_IMAGE:-bumpless-nats:local}" ;;
    redis) echo "${REDIS_IMAGE:-bumpless-redis:local}" ;;
    prometheus) echo "${PROMETHEUS_IMAGE:-bumpless-prometheus:local}" ;;
    *)
        echo "images: expected one of bumpless, shop, nats, redis, prometheus; found $1" >&2
        return 1
        ;;
    esac
}

if [ "${1:-}" = base ]; then
    [ -e build/docker/base.tar ] || make_base
    exit
fi
[ $# -gt 0 ] || set -- bumpless shop nats redis prometheus
for target in "$@"; do name_of "$target" >/dev/null; done
rm -rf "$context"
mkdir -p "$context/examples"
cp deploy/docker/{Dockerfile,healthy.py,nats.conf,part.sh,redis.conf,setup.py} "$context/"
cp -r examples/shop "$context/examples/"
if [ -z "${BASE_IMAGE:-}" ]; then
    BASE_IMAGE=bumpless-base:local
    if ! docker image inspect "$BASE_IMAGE" >/dev/null 2>&1; then
        [ -e build/docker/base.tar ] || make_base
        docker import build/docker/base.tar "$BASE_IMAGE" >/dev/null
    fi
fi
deploy/wheels.sh "$context/wheels"
case " $* " in *" prometheus "*) fetch_prometheus ;; *) : >"$context/prometheus" ;; esac
for target in "$@"; do
    echo "images: $(name_of "$target")"
    DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} docker build --quiet --network none --build-arg "BASE_IMAGE=$BASE_IMAGE" --target "$target" \
        --tag "$(name_of "$target")" "$context" >/dev/null
done
