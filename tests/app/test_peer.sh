#!/usr/bin/env bash
# The models in PyTorch compute what hylas computes: loss, gradients, training. Skipped without PyTorch.
set -euo pipefail
for python in "$(dirname "$HYLAS")/venv/bin/python" python3; do
    if "$python" -c 'import torch' 2>/dev/null; then
        exec "$python" "$HYLAS_SOURCE/bench/peer/check.py" --hylas "$HYLAS"
    fi
done
echo "skipped: neither build/venv nor python3 has PyTorch (bench/peer/README.md)"
exit 77
