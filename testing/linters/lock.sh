#!/bin/bash
# Resolves what checkov needs into a hashed lock file that names no index.
set -euo pipefail
cd "$(dirname "$0")"
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/uv"
"$scratch/uv/bin/pip" install --quiet --disable-pip-version-check "uv>=0.9,<1"
echo "checkov>=3.3,<4" > "$scratch/in"
"$scratch/uv/bin/uv" pip compile --quiet "$scratch/in" --generate-hashes --no-annotate --no-header \
  --universal --python-version 3.11 -o "$scratch/out"
{ echo "# checkov, pinned and hashed. Made by: make linters-lock"; sed '/^--/d' "$scratch/out"; } > checkov.lock
