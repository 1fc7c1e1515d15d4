"""The scripts of bench/embedded_base import each other as siblings; let the tests do the same."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench/embedded_base"))
