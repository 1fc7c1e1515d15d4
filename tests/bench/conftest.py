"""The scripts of bench/ and of bench/embedded_base import each other as siblings; let the tests do the same."""

import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path[:0] = [str(BENCH / "embedded_base"), str(BENCH)]
