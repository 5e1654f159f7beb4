#!/bin/bash
# Resolves the dependencies of pyproject.toml into two hashed lock files that name no index.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/pip install --quiet "uv>=0.9,<1"
resolve() { # out title arguments...
  local out=$1 title=$2; shift 2
  .venv/bin/uv pip compile --quiet pyproject.toml --generate-hashes --no-annotate --no-header \
    --universal --python-version 3.11 "$@" -o "$out.new"
  { echo "# $title, pinned and hashed. Made by: make lock"; sed "/^--/d" "$out.new"; } > "$out"; rm "$out.new"
}
resolve requirements-dev.lock "Everything to build, test and run forebay" --extra dev "${@}"
resolve requirements.lock "What the container image holds" --extra operator --extra router --extra simulator -c requirements-dev.lock
