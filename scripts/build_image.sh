#!/usr/bin/env bash
# Build a container image: scripts/build_image.sh [cpu|gpu|notebook] [TAG]
#
# Uses docker if its daemon answers, else buildah or podman, which need no daemon and run inside other containers too.
# BUILD_ARGS holds further options of the builder, for example BUILD_ARGS="--no-cache".
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-cpu}
tag=${2:-karyoseg:$target}

if docker info >/dev/null 2>&1; then
  builder=(docker build)
elif program=$(command -v buildah || command -v podman); then
  builder=("$program" build --format docker --layers --isolation chroot)
else
  echo "$0: found neither a docker daemon that answers, nor buildah or podman." >&2
  echo "Start docker, or install buildah (Debian and Ubuntu: apt-get install buildah)." >&2
  exit 1
fi

# The image says which commit it was built from, as `git describe` puts it.
revision=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
read -ra extra <<<"${BUILD_ARGS:-}"
# ${extra[@]+...}: the bash of macOS takes an empty array for an unset one.
exec "${builder[@]}" --target "$target" --tag "$tag" --build-arg "REVISION=$revision" ${extra[@]+"${extra[@]}"} .
