# syntax=docker/dockerfile:1
# The whole of Tenuto: a Prefect worker that retrains, or the Prefect server.
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON} AS build
# torch without CUDA is a tenth of the size: --build-arg TORCH_INDEX= names the package index that holds it
ARG TORCH_INDEX=
WORKDIR /build
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir pip==25.3
COPY requirements.lock ./
RUN version=$(grep '^torch==' requirements.lock) \
    && /opt/venv/bin/pip install --no-cache-dir --constraint requirements.lock \
       ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$version"
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir --constraint requirements.lock --build-constraint requirements.lock .

FROM ${PYTHON}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /workspace \
    && useradd --uid 1000 --create-home tenuto
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
USER 1000:1000
WORKDIR /workspace
CMD ["prefect", "worker", "start", "--pool", "tenuto", "--type", "process"]
