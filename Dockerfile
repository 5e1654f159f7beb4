# One image for operator, gateway, sidecar and simulator, the request path compiled. Classic builder syntax.
ARG BASE=python:3.11-slim

FROM ${BASE} AS base
COPY requirements.lock /src/requirements.lock
RUN pip install --no-cache-dir --require-hashes -r /src/requirements.lock

FROM base AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY requirements-dev.lock /src/
RUN pip install --no-cache-dir --require-hashes -r /src/requirements-dev.lock
COPY pyproject.toml setup.py README.md LICENSE /src/
COPY operator /src/operator
WORKDIR /src
RUN FOREBAY_COMPILE=1 pip install --no-cache-dir --no-deps --no-build-isolation --prefix=/out .

FROM base
COPY --from=build /out /usr/local
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
CMD ["forebay-operator"]
