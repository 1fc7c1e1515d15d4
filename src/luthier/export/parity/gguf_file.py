"""A GGUF file beside the run's model: its ids, its template, its logits and answers, all by llama.cpp in a process of its own."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from luthier.export.gguf.prove import CUT, fault_of_ends, proof_texts
from luthier.export.likeness import compare_rows, first_difference
from luthier.export.logits import KeptLogits
from luthier.export.parity.findings import Findings
from luthier.export.parity.prompts import Asked, TokenFault, asked_prompts, compare_ids
from luthier.export.parity.reference import Case
from luthier.floor.errors import ModelError
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.llamacpp import abi, process
from luthier.llamacpp.tasks import Measure, Measured, Prompts, Row
from luthier.text.template import Conversation, TemplateRefusal, TemplateRenderer


def measure_gguf(
    file: Path, case: Case, *, library: Path, work: Path, listener: Listener, stop: StopFlag | None
) -> Findings:
    """Measure a file, which is only read. Raises ModelError gguf-load if llama.cpp refuses it."""
    asked = asked_prompts(case)
    listener.say(f"Reading {file.name} with llama.cpp")
    vocabulary = process.measure(Measure(library=str(library), model=str(file)), work=work, stop=stop)
    written, faults = _written_prompts(asked, case, vocabulary)
    with_hard_ones = case.recipe.export.gguf.proof_texts == "all"
    texts = proof_texts(case.truth, case.tokenizer, with_hard_ones=with_hard_ones)
    listener.say(
        f"Computing {len(case.truth.rows):,} rows and {len(case.truth.prompts):,} answers in llama.cpp"
    )
    measured, kept = _compute(
        file, case, [text for _, text in (*texts, *written)], library=library, work=work, stop=stop
    )
    faults += _text_faults(texts, measured.ids, case)
    notes: dict[str, None] = {}
    for (each, _), ids in zip(written, measured.ids[len(texts) :], strict=True):
        begun = ids if ids[: len(measured.begin)] == measured.begin else (*measured.begin, *ids)
        fault = compare_ids(each, begun, case.tokenizer, lambda text: notes.setdefault(text))
        faults += [fault] if fault else []
    ends = fault_of_ends(case.truth, measured, case.tokenizer)
    if ends is not None:
        faults.append(TokenFault(f"it ends answers at {list(measured.stop_ids)}", ends))
    return Findings(
        told="ids",
        by=f"llama.cpp {abi.VERSION}",
        prompts=len(asked),
        texts=len(texts),
        token_faults=tuple(faults),
        likeness=compare_rows(case.truth, kept, case.tokenizer),
        answers=tuple(case.truth.spoken(answer, case.tokenizer) for answer in measured.answers),
        same_answer_share=case.truth.same_share(measured.answers),
        answers_in="tokens",
        notes=tuple(notes),
        file_type=measured.file_type,
    )


def _compute(
    file: Path, case: Case, texts: Sequence[str], *, library: Path, work: Path, stop: StopFlag | None
) -> tuple[Measured, KeptLogits]:
    """The ids of every text, the logits of the held-out rows, the greedy answers."""
    kept = work / "file.f32"
    prompts = Prompts(
        ids=case.truth.prompts,
        stop_ids=case.truth.stop_ids,
        new_tokens=case.truth.new_tokens,
    )
    task = Measure(
        library=str(library),
        model=str(file),
        threads=torch.get_num_threads(),
        texts=tuple(texts),
        rows=tuple(Row(ids=row.ids, positions=row.positions) for row in case.truth.logits.rows),
        logits=str(kept),
        prompts=prompts,
    )
    measured = process.measure(task, work=work, stop=stop)
    return measured, KeptLogits(kept, case.truth.logits.rows, measured.vocabulary)


def _text_faults(
    texts: Sequence[tuple[str, str]], theirs: Sequence[tuple[int, ...]], case: Case
) -> list[TokenFault]:
    """The texts of which llama.cpp makes other ids."""
    faults = []
    for (origin, text), ids in zip(texts, theirs, strict=False):
        ours = tuple(case.tokenizer(text, add_special_tokens=False)["input_ids"])
        if ours != ids:
            difference = first_difference(ours, ids, case.tokenizer)
            faults.append(TokenFault(origin, f"{difference}, of the text {text[:CUT]!r}"))
    return faults


def _written_prompts(
    asked: Sequence[Asked], case: Case, measured: Measured
) -> tuple[list[tuple[Asked, str]], list[TokenFault]]:
    """The prompts as llama.cpp's server writes them: conversations by the template that the file brings."""
    if case.rows.template != "chat" or not asked:
        # Conversations in the guide's tags no program writes by itself: whoever asks writes them out.
        return [(each, each.text or str(case.tokenizer.decode(list(each.ids)))) for each in asked], []
    if not measured.chat_template:
        what = "the rows are conversations, and the file brings no chat template"
        return [], [TokenFault(asked[0].row.origin, what)]
    bearer = copy.copy(case.tokenizer)
    bearer.chat_template = measured.chat_template
    wanted = [Conversation(each.messages, True, each.tools) for each in asked]
    try:
        with TemplateRenderer(bearer) as renderer:
            texts = renderer.render(wanted)
    except ModelError as fault:
        return [], [TokenFault("the file's chat template", fault.what)]
    written, faults = [], []
    for each, text in zip(asked, texts, strict=True):
        if isinstance(text, TemplateRefusal):
            faults.append(TokenFault(each.row.origin, f"the file's chat template refuses it: {text}"))
        else:
            written.append((each, text))
    return written, faults
