# Canari's images, one target each; `make images` builds them all.
#   runtime   serves one version: it fetches the version's bento, and holds nothing of the platform
#   platform  the services and the jobs, with sample versions that were trained here
#   trainer   the platform with TensorFlow, and with what `canari up` runs on one machine
#   lineage   MLflow's server
# `development` is the platform for `skaffold dev`.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Each image's own part of the lock, so that its libraries are installed anew only where that part changes. The times are
# set back because some builders take a file's time for a part of it.
FROM ${PYTHON_IMAGE} AS lists
WORKDIR /lists
COPY pyproject.toml requirements.lock ./
# MLflow's server imports none of the excluded: they log models and draw plots, and would more than double the image.
RUN --mount=type=cache,target=/cache \
    grep '^uv==' requirements.lock >uv.txt \
    && pip install --quiet --root-user-action=ignore --cache-dir /cache --requirement uv.txt \
    && list() { uv pip compile --quiet --no-header --no-annotate --constraint requirements.lock --output-file "$@"; } \
    && list runtime.txt pyproject.toml --extra serve \
    && list platform.txt pyproject.toml --extra platform --extra s3 \
    && list trainer.txt pyproject.toml --extra platform --extra s3 --extra serve --extra train --extra laptop \
    && printf '%s\n' docker matplotlib pyarrow scikit-learn scipy skops >unused.in \
    && list lineage.txt --group lineage --excludes unused.in \
    && echo watchfiles >development.in && list development.txt development.in \
    && touch --date=@0 ./*.txt

# Nobody's account is used, and nothing is written to: every folder that is, is mounted.
FROM ${PYTHON_IMAGE} AS base
LABEL org.opencontainers.image.vendor="The Canari developers" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV HOME=/tmp \
    PATH=/opt/canari/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/opt/canari
WORKDIR /app
RUN python -m venv --without-pip /opt/canari

# Libraries are installed by a tool that no layer keeps, and compiled: on a read-only root each start would do it again.
FROM base AS runtime
COPY --from=lists /lists/uv.txt /lists/runtime.txt ./
RUN --mount=type=cache,target=/cache \
    pip install --quiet --root-user-action=ignore --cache-dir /cache --target /tmp/tools --requirement uv.txt \
    && /tmp/tools/bin/uv pip sync --quiet --cache-dir /cache/uv --link-mode copy --compile-bytecode runtime.txt \
    && rm -r /tmp/tools
COPY canari canari
ARG VERSION=0.0.0
LABEL org.opencontainers.image.title="canari/runtime" \
      org.opencontainers.image.description="Serves one version of a model from its bento." \
      org.opencontainers.image.version="${VERSION}"
USER 10001:10001
CMD ["python", "-m", "canari.runtime.serve", "--help"]

FROM base AS trainer
COPY --from=lists /lists/uv.txt /lists/trainer.txt ./
RUN --mount=type=cache,target=/cache \
    pip install --quiet --root-user-action=ignore --cache-dir /cache --target /tmp/tools --requirement uv.txt \
    && /tmp/tools/bin/uv pip sync --quiet --cache-dir /cache/uv --link-mode copy --compile-bytecode trainer.txt \
    && rm -r /tmp/tools
# A volume that is mounted here for the first time gets its owner from this folder.
RUN install --directory --owner 10001 --group 10001 /data
COPY bentofile.yaml ./
COPY bentos bentos
COPY canari canari
COPY services services
ARG VERSION=0.0.0
LABEL org.opencontainers.image.title="canari/trainer" \
      org.opencontainers.image.description="Trains, measures and packages versions; runs Canari on one machine." \
      org.opencontainers.image.version="${VERSION}"
USER 10001:10001
CMD ["python", "-m", "canari.cli", "--help"]

# Small versions for a platform that has none yet; whoever installs Canari gets its first answer from them.
FROM trainer AS samples
RUN python -m services.jobs pack drift --demo --to /tmp/samples \
    && python -m services.jobs pack cats_dogs --demo --to /tmp/samples

FROM base AS platform
COPY --from=lists /lists/uv.txt /lists/platform.txt ./
RUN --mount=type=cache,target=/cache \
    pip install --quiet --root-user-action=ignore --cache-dir /cache --target /tmp/tools --requirement uv.txt \
    && /tmp/tools/bin/uv pip sync --quiet --cache-dir /cache/uv --link-mode copy --compile-bytecode platform.txt \
    && rm -r /tmp/tools
COPY --from=samples /tmp/samples /samples
COPY bentos bentos
COPY canari canari
COPY services services
ARG VERSION=0.0.0
LABEL org.opencontainers.image.title="canari/platform" \
      org.opencontainers.image.description="Canari's services, controller and jobs." \
      org.opencontainers.image.version="${VERSION}"
USER 10001:10001
CMD ["python", "-m", "services.jobs", "--help"]

# Services run from a copy that Skaffold can write to, and start anew when a file of it changes; jobs just run.
FROM platform AS development
USER 0:0
COPY --from=lists /lists/uv.txt /lists/development.txt ./
RUN --mount=type=cache,target=/cache \
    pip install --quiet --root-user-action=ignore --cache-dir /cache --target /tmp/tools --requirement uv.txt \
    && /tmp/tools/bin/uv pip install --quiet --cache-dir /cache/uv --link-mode copy --requirement development.txt \
    && rm -r /tmp/tools
ENV PYTHONPATH=/tmp/app
USER 10001:10001
ENTRYPOINT ["sh", "-c", "cp -rn /app /tmp && cd /tmp/app && case $* in *services.jobs*) exec \"$@\" ;; esac; exec watchfiles --filter python \"$*\" .", "--"]

FROM base AS lineage
COPY --from=lists /lists/uv.txt /lists/lineage.txt ./
RUN --mount=type=cache,target=/cache \
    pip install --quiet --root-user-action=ignore --cache-dir /cache --target /tmp/tools --requirement uv.txt \
    && /tmp/tools/bin/uv pip sync --quiet --cache-dir /cache/uv --link-mode copy --compile-bytecode lineage.txt \
    && rm -r /tmp/tools
# Its job runner would keep eight more processes for what Canari does not use.
ENV MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
ARG VERSION=0.0.0
LABEL org.opencontainers.image.title="canari/lineage" \
      org.opencontainers.image.description="MLflow's server: where each version comes from." \
      org.opencontainers.image.version="${VERSION}"
USER 10001:10001
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000"]
