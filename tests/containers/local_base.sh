#!/usr/bin/env bash
# Where no image registry can be reached: make Debian with its own Python and give it the name of the official image.
# Needs root, podman, buildah and mmdebstrap. Usage: tests/containers/local_base.sh docker.io/library/python:3.11-slim-bookworm
set -euo pipefail

name=$1
suite=${name##*-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
  --include=ca-certificates,python3,python3-pip,python3-venv "$suite" "$folder/root.tar"
podman import --quiet "$folder/root.tar" localhost/debian-python
# As in the official image: Python under /usr/local/bin, and pip free to install.
buildah build --isolation chroot --squash --tag "$name" --file - "$folder" <<'DOCKERFILE'
FROM localhost/debian-python
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED \
    && ln -s /usr/bin/python3 /usr/local/bin/python \
    && ln -s /usr/bin/python3 /usr/local/bin/python3 \
    && ln -s /usr/bin/pip3 /usr/local/bin/pip
ENV LANG=C.UTF-8
CMD ["python3"]
DOCKERFILE
