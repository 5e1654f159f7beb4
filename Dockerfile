# One image for operator, gateway, sidecar and simulator. Classic builder syntax.
ARG BASE=python:3.11-slim
FROM ${BASE}
COPY requirements.lock /src/requirements.lock
RUN pip install --no-cache-dir --require-hashes -r /src/requirements.lock && pip install --no-cache-dir "setuptools>=80,<81"
COPY pyproject.toml README.md LICENSE /src/
COPY operator /src/operator
RUN pip install --no-cache-dir --no-deps --no-build-isolation /src && rm -rf /src
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
CMD ["forebay-operator"]
