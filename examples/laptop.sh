#!/bin/bash
# A fleet on this machine without Kubernetes: two simulated engines with their sidecars, a provider, one gateway.
# Ctrl-C ends it. Then: curl -i http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \
#   -d '{"model":"auto","messages":[{"role":"user","content":"hi"}]}'
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
forebay-simulator serve chat --served-model-name qwen-7b --port 8100 &
forebay-simulator serve sorter --served-model-name qwen-1.5b --port 8200 &
forebay-simulator --role cloud --served-model-name acme-large --port 8900 &
sidecar() { # pool first-port engine-port
  forebay-router --role sidecar --pool "$1" --replica "$1-0" --table examples/table.json --host 127.0.0.1 \
    --engine-url "http://127.0.0.1:$3" --request-port "$2" --control-port "$(($2 + 1))" \
    --metrics-port "$(($2 + 2))" --health-port "$(($2 + 3))" --access-log off &
}
sidecar chat 8180 8100
sidecar sorter 8280 8200
forebay-router --role gateway --table examples/table.json --replica gateway-0 --host 127.0.0.1 \
  --provider-networks 127.0.0.0/8 &
wait
