"""How much of the KL divergence a server shows that tells only its likeliest tokens: over 20 and 5 candidates against the whole vocabulary.

    python bench/verify/measure_candidates.py RUN

RUN is a merged run with GGUF files. Every file is computed by llama.cpp; its candidates are its own likeliest, as a server's are. The
result goes to candidates.json beside this script.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from luthier.config.compose import load_recipe
from luthier.export.gguf.prove import logits_of
from luthier.export.parity.candidates import Told, compare_told
from luthier.export.parity.reference import ask_reference, find_reference
from luthier.floor.files import write_json
from luthier.floor.log import Silent
from luthier.floor.rundir import open_run
from luthier.llamacpp.find import need_library
from luthier.measure.parity import kl_divergences, log_softmax
from luthier.reports.gguf import GgufReport

COUNTS = (20, 5)
HERE = Path(__file__).parent


def main() -> None:
    run = open_run(sys.argv[1])
    recipe = load_recipe(run.config_used, ["verify.answers=0"]).recipe
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        reference = find_reference(recipe, run)
        case = ask_reference(
            recipe, run, reference, with_answers=False, work=work, listener=Silent(), stop=None
        )
        for file in GgufReport.read(run.report("export/gguf")).files:
            other = logits_of(Path(file.path), case.truth, library=need_library().path, work=work, stop=None)
            found[file.type] = measure(case.truth.logits, other)
            print(file.type, found[file.type])
    result = {"run": str(run.name), "rows": len(case.truth.rows), "types": found}
    write_json(HERE / "candidates.json", result)
    print(json.dumps(result, indent=2))


def measure(truth, other) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """Mean KL over all tokens, exact and over the likeliest candidates of the other side."""
    exact, bounds, tokens = 0.0, dict.fromkeys(COUNTS, 0.0), 0
    for (_, ours_TV), (_, theirs_TV) in zip(truth.by_row(), other.by_row(), strict=True):
        exact += float(kl_divergences(ours_TV.astype(np.float64), theirs_TV.astype(np.float64)).sum())
        tokens += len(ours_TV)
        for ours_V, theirs_V in zip(ours_TV, theirs_TV, strict=True):
            logprobs_V = log_softmax(theirs_V.astype(np.float64))
            order = np.argsort(-logprobs_V)
            for count in COUNTS:
                likeliest = order[:count].tolist()
                told = Told((likeliest[0],), {token: float(logprobs_V[token]) for token in likeliest})
                bounds[count] += compare_told(ours_V, told, None).kl
    figures = {"exact": exact / tokens} | {f"over_{count}": bounds[count] / tokens for count in COUNTS}
    return {"tokens": tokens, **figures}


if __name__ == "__main__":
    main()
