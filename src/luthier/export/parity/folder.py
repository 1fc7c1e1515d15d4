"""A folder beside the run's model: a whole model, or an adapter over the run's base, loaded as its users load it."""

from pathlib import Path

import torch

from luthier.export.gguf.prove import CUT, proof_texts
from luthier.export.likeness import compare_rows, first_difference
from luthier.export.logits import keep_logits
from luthier.export.parity.findings import Findings
from luthier.export.parity.prompts import TokenFault, asked_prompts, compare_ids
from luthier.export.parity.reference import Case, ModelPlace
from luthier.floor.errors import LuthierError
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.modelling.generate import generate_answers
from luthier.text.render import Renderer
from luthier.text.tokenizer import load_tokenizer, stop_ids


def measure_folder(
    place: ModelPlace, case: Case, *, work: Path, listener: Listener, stop: StopFlag | None
) -> Findings:
    """Measure a model, which is only read. Raises ModelError if it cannot be loaded, EnvironmentFault if memory is short."""
    faults, prompts, texts, notes = _token_faults(place, case)
    listener.say(f"Loading {place.folder}")
    model = place.load(case.recipe)
    kept = keep_logits(
        model,
        case.truth.logits.rows,
        work / "folder.f32",
        label=f"logits of {place.folder.name}",
        listener=listener,
        stop=stop,
    )
    answers: list[list[int]] = []
    if case.truth.prompts:
        with torch.inference_mode():
            answers = generate_answers(
                model,
                case.truth.prompts,
                stop_ids=case.truth.stop_ids,
                pad_id=case.tokenizer.pad_token_id or 0,
                max_new_tokens=case.truth.new_tokens,
                batch_tokens=case.recipe.evaluate.batch_tokens,
                listener=listener,
                stop=stop,
                label=f"answers of {place.folder.name}",
            )
    ends = set(case.truth.stop_ids)
    spoken = [[token for token in answer if token not in ends] for answer in answers]
    return Findings(
        told="ids",
        by="its tokenizer",
        prompts=prompts,
        texts=texts,
        token_faults=tuple(faults),
        likeness=compare_rows(case.truth, kept, case.tokenizer),
        answers=tuple(case.truth.spoken(answer, case.tokenizer) for answer in spoken),
        same_answer_share=case.truth.same_share(spoken),
        answers_in="tokens",
        notes=tuple(notes),
    )


def _token_faults(place: ModelPlace, case: Case) -> tuple[list[TokenFault], int, int, list[str]]:
    """Where the folder's tokenizer and template part from the run's, over how many prompts and texts, and what to note."""
    has_own = any((place.folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    tokenizer = load_tokenizer(place.folder if has_own or place.base_folder is None else place.base_folder)
    faults: list[TokenFault] = []
    texts = proof_texts(
        case.truth, case.tokenizer, with_hard_ones=case.recipe.export.gguf.proof_texts == "all"
    )
    for origin, text in texts:
        ours, theirs = (
            each(text, add_special_tokens=False)["input_ids"] for each in (case.tokenizer, tokenizer)
        )
        if ours != theirs:
            difference = first_difference(ours, theirs, case.tokenizer)
            faults.append(TokenFault(origin, f"{difference}, of the text {text[:CUT]!r}"))
    missing = [token for token in case.truth.stop_ids if token not in stop_ids(tokenizer)]
    known = set(stop_ids(case.tokenizer)) & set(missing)
    if known:
        name = case.tokenizer.convert_ids_to_tokens(min(known))
        faults.append(TokenFault("the tokenizer", f"it does not end an answer at {name!r}, as the run does"))
    asked = asked_prompts(case)
    notes: dict[str, None] = {}
    if asked and case.rows.template is not None:
        try:
            renderer = Renderer(tokenizer, template=case.rows.template, train_on="last")
            rows = [each.row.row for each in asked if each.row.row is not None]
            for each, ids in zip(asked, renderer.render_prompts(rows), strict=True):
                fault = compare_ids(each, ids, case.tokenizer, lambda text: notes.setdefault(text))
                faults += [fault] if fault else []
        except LuthierError as fault:
            faults.append(TokenFault(asked[0].row.origin, "; ".join([fault.what, *fault.problems[:1]])))
    return faults, len(asked), len(texts), list(notes)
