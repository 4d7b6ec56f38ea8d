# Images of karyoseg: targets `cpu` (the default), `gpu` and `notebook` (`cpu` with JupyterLab). Build: `make image`.
#
# The code is not installed but found at /workspace/src: the copy in the image, or the checkout mounted over /workspace,
# as docker-compose.yml does. What is mounted is what runs.

FROM docker.io/library/python:3.11-slim-bookworm AS source
COPY . /workspace
RUN mkdir /workspace/conf/local && chmod -R a+rX /workspace

FROM docker.io/library/python:3.11-slim-bookworm AS base
# git: for DVC, and for the record of where a model comes from. tini: passes signals on, reaps children.
# Any user may run the image (`--user`): all may write to the home and the workspace, as to /tmp.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git tini \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /workspace \
    && useradd --uid 1000 --create-home karyoseg \
    && mkdir --parents /workspace/data \
    && chmod 1777 /home/karyoseg /workspace /workspace/data \
    && python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/workspace/src \
    PYTHONUNBUFFERED=1 \
    HOME=/home/karyoseg \
    USER=karyoseg \
    KEDRO_DISABLE_TELEMETRY=1 \
    DO_NOT_TRACK=1 \
    DVC_NO_ANALYTICS=1 \
    NO_ALBUMENTATIONS_UPDATE=1
WORKDIR /workspace
ENTRYPOINT ["tini", "--"]
CMD ["kedro", "run"]

# The locked packages are layers of their own and the source comes last: a change of the code installs nothing again.
FROM base AS gpu
COPY requirements/gpu.txt requirements/
RUN pip install --no-cache-dir --require-hashes --requirement requirements/gpu.txt
COPY --from=source /workspace /workspace
USER 1000
ARG REVISION=unknown
LABEL org.opencontainers.image.revision=$REVISION

FROM base AS packages
COPY requirements/cpu.txt requirements/
RUN pip install --no-cache-dir --require-hashes --requirement requirements/cpu.txt

FROM packages AS notebook
COPY requirements/notebook.txt requirements/
RUN pip install --no-cache-dir --require-hashes --requirement requirements/notebook.txt
COPY --from=source /workspace /workspace
USER 1000
ARG REVISION=unknown
LABEL org.opencontainers.image.revision=$REVISION
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]

FROM packages AS cpu
COPY --from=source /workspace /workspace
USER 1000
ARG REVISION=unknown
LABEL org.opencontainers.image.revision=$REVISION
