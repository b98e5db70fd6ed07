# syntax=docker/dockerfile:1
# `tenuto serve` and what it needs: no torch, no Prefect, no DVC, no Great Expectations.
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON} AS build
WORKDIR /build
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir pip==25.3
COPY pyproject.toml requirements.lock ./
RUN /opt/venv/bin/pip install --no-cache-dir --constraint requirements.lock --group serving
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --build-constraint requirements.lock .

FROM ${PYTHON}
RUN useradd --uid 1000 --create-home tenuto
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true
USER 1000:1000
WORKDIR /workspace
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["tenuto", "serve", "--host", "0.0.0.0", "--port", "8000"]
