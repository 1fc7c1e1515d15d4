#!/usr/bin/env bash
# Install Luthier with its tools into .venv, in the versions of constraints.txt.
#
# torch comes first, because its build is a matter of the machine: where there is an NVIDIA GPU, the build of the
# package index; elsewhere the CPU build, which is a tenth of the size. TORCH_INDEX=URL takes torch from there.
set -euo pipefail
cd "$(dirname "$0")/.."

pip=(.venv/bin/python -m pip --disable-pip-version-check)
torch=$(sed -n 's/^torch==//p' constraints.txt)
cpu_index=https://download.pytorch.org/whl/cpu

has_nvidia_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }
has_torch() { .venv/bin/python -c "import importlib.metadata as m; assert m.version('torch').split('+')[0] == '$torch'" 2>/dev/null; }
is_at_hand() { "${pip[@]}" install --dry-run --quiet --no-deps "$1" >/dev/null 2>&1; }

if [ -n "${TORCH_INDEX:-}" ]; then
    echo "== torch $torch from $TORCH_INDEX"
    "${pip[@]}" install --no-deps --index-url "$TORCH_INDEX" "torch==$torch"
elif has_torch; then
    echo "== torch $torch is there"
elif [ "$(uname -s)" = Linux ] && ! has_nvidia_gpu; then
    if is_at_hand "torch==$torch+cpu"; then
        echo "== torch $torch, the CPU build at hand (no NVIDIA GPU here)"
        "${pip[@]}" install --no-deps "torch==$torch+cpu"
    else
        echo "== torch $torch, the CPU build of $cpu_index (no NVIDIA GPU here)"
        "${pip[@]}" install --no-deps --index-url "$cpu_index" "torch==$torch+cpu"
    fi
fi

echo "== Luthier and what it uses"
"${pip[@]}" install --constraint constraints.txt --editable ".[dev]"
touch .venv/.installed
echo "== installed; try: make demo"
