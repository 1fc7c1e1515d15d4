#!/usr/bin/env bash
# Make .venv with a Python that Luthier runs on: PYTHON, else the newest one on the path that is new enough.
set -euo pipefail
cd "$(dirname "$0")/.."

is_new_enough() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

found=""
for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if is_new_enough "$python"; then
        found=$python
        break
    fi
done
if [ -z "$found" ]; then
    echo "error: Luthier needs Python 3.11 or later; ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 || echo missing)" >&2
    echo "Install one, then name it: make venv PYTHON=python3.12" >&2
    exit 5
fi

if [ ! -x .venv/bin/python ]; then
    echo "== making .venv with $("$found" --version)"
    if ! "$found" -m venv .venv; then
        rm -rf .venv
        echo "error: $found cannot make a virtual environment" >&2
        echo "On Debian and Ubuntu: apt install python3-venv" >&2
        exit 5
    fi
fi
touch .venv/.made
