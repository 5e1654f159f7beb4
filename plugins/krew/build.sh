#!/bin/bash
# One archive for krew: the program with all it needs for this platform and this Python, and a launcher. Says its checksum.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
out=build/krew; stage=$out/stage
version=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
name=kubectl-forebay-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')-py$version.tar.gz
rm -rf "$out"; mkdir -p "$stage/lib"
$python -m pip install --quiet --disable-pip-version-check --no-compile --target "$stage/lib" -c <(sed '/--hash/d; s/ \\$//; /^#/d' requirements-dev.lock) '.[cli]'
rm -rf "$stage/lib/bin"
cat > "$stage/kubectl-forebay" <<LAUNCHER
#!/bin/sh
# krew links to this file; what it needs lies beside it.
here=\$(dirname "\$(readlink -f "\$0")")
python=\$(command -v python$version) || { echo "error: kubectl forebay needs python$version" >&2; exit 1; }
PYTHONPATH="\$here/lib" exec "\$python" -P -m forebay.cli "\$@"
LAUNCHER
chmod +x "$stage/kubectl-forebay"
cp LICENSE "$stage"
tar -C "$stage" -czf "$out/$name" --owner=0 --group=0 --sort=name --mtime=@0 LICENSE kubectl-forebay lib
"$stage/kubectl-forebay" --version
sha256sum "$out/$name"
