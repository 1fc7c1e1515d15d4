"""Read rows that another program tokenized: ids, and which of them are learnt.

What trainers leave behind: `input_ids` and `labels` (-100 where there is no loss), with an `attention_mask` that is 0 over padding
(axolotl, LLaMA-Factory, Transformers' examples); TRL's `completion_mask` and `assistant_masks`; others' `loss_mask`. A token is
learnt where everything that the row has of these says so, and everywhere if it has none of them.

Nothing is guessed: labels that are other tokens, masks of another length, loss on padding and rows that were packed are refused.
"""

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.text.problems import LineFault, describe
from luthier.text.row import Row, Tokens

NO_LOSS = -100  # torch's cross entropy passes over targets of this value
LARGEST_ID = 2**32 - 1
LOSS_MASKS = ("loss_mask", "completion_mask", "assistant_masks")
FIELDS = frozenset({"input_ids", "labels", "attention_mask", "position_ids", "seq_lengths", *LOSS_MASKS})
UNPACKED = "Write the rows before they are packed: packing is done here, without letting them see each other."

IntsT = npt.NDArray[np.int64]
FlagsT = npt.NDArray[np.bool_]


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a row of tokens."""
    return [] if "input_ids" in record else ["input_ids"]


def read(record: Mapping[str, Any], origin: str) -> Row:
    """The row, padding taken off both ends. Raises LineFault (data-field) naming the field and the place in it."""
    ids_T = _ints(record["input_ids"], "input_ids")
    wrong = np.flatnonzero((ids_T < 0) | (ids_T > LARGEST_ID))
    if len(wrong):
        raise LineFault("data-field", f"input_ids[{wrong[0]}] is {ids_T[wrong[0]]}, which is no token's id")
    learnt_T = _learnt(record, ids_T)
    kept = _without_padding(record, len(ids_T))
    _refuse_loss_on_padding(record, learnt_T, kept)
    _refuse_packed(record, kept)
    tokens = Tokens(
        ids_T[kept].astype(np.uint32).tobytes(),
        learnt_T[kept].astype(np.uint8).tobytes(),
        padding=len(ids_T) - (kept.stop - kept.start),
    )
    return Row("tokens", origin, tokens=tokens)


def _learnt(record: Mapping[str, Any], ids_T: IntsT) -> FlagsT:
    """Where labels and masks all want loss."""
    learnt_T = np.ones(len(ids_T), dtype=bool)
    if record.get("labels") is not None:
        labels_T = _ints(record["labels"], "labels", len(ids_T))
        learnt_T = labels_T != NO_LOSS
        wrong = np.flatnonzero(learnt_T & (labels_T != ids_T))
        if len(wrong):
            raise _wrong_label(int(wrong[0]), labels_T, ids_T)
    for name in LOSS_MASKS:
        if record.get(name) is not None:
            learnt_T &= _flags(record[name], name, len(ids_T))
    return learnt_T


def _wrong_label(place: int, labels_T: IntsT, ids_T: IntsT) -> LineFault:
    what = f"labels[{place}] is {labels_T[place]} and input_ids[{place}] is {ids_T[place]}: a label is the id beside it, or -100"
    wanted_T = labels_T != NO_LOSS
    is_shifted = np.array_equal(labels_T[:-1][wanted_T[:-1]], ids_T[1:][wanted_T[:-1]])
    if not is_shifted:
        return LineFault("data-field", what)
    what += "; these are the ids that follow, shifted by one"
    return LineFault("data-field", what, fix="Write the labels unshifted: the shift is done in training.")


def _without_padding(record: Mapping[str, Any], length: int) -> slice:
    """The stretch that is attended to: all of it without an attention_mask."""
    if record.get("attention_mask") is None:
        return slice(0, length)
    attended = _ints(record["attention_mask"], "attention_mask", length)
    packed = np.flatnonzero(attended > 1)
    if len(packed):
        what = f"attention_mask[{packed[0]}] is {attended[packed[0]]}: several rows packed into one"
        raise LineFault("data-field", what, fix=UNPACKED)
    places = np.flatnonzero(_flags(record["attention_mask"], "attention_mask", length))
    if not len(places):
        return slice(0, 0)
    start, end = int(places[0]), int(places[-1]) + 1
    if len(places) != end - start:
        hole = int(np.flatnonzero(attended[start:end] == 0)[0]) + start
        raise LineFault(
            "data-field",
            f"attention_mask[{hole}] is 0 between tokens that are attended to: only padding, at the ends, can be left out",
        )
    return slice(start, end)


def _refuse_loss_on_padding(record: Mapping[str, Any], learnt_T: FlagsT, kept: slice) -> None:
    """Labels copied from padded ids want the padding learnt; and where padding is the end token, an end may be hidden."""
    if not any(record.get(name) is not None for name in ("labels", *LOSS_MASKS)):
        return
    outside_T = learnt_T.copy()
    outside_T[kept] = False
    places = np.flatnonzero(outside_T)
    if len(places):
        raise LineFault(
            "data-field",
            f"token {places[0]} carries loss, and attention_mask[{places[0]}] is 0: padding is not learnt",
            fix="Set labels to -100 over the padding, and the attention_mask of a row's own end token to 1.",
        )


def _refuse_packed(record: Mapping[str, Any], kept: slice) -> None:
    """Raise LineFault where positions start again, or the lengths of several rows are told: they would see each other."""
    lengths = record.get("seq_lengths")
    if isinstance(lengths, list) and len(lengths) > 1:
        what = f"seq_lengths tells of {len(lengths)} rows packed into one"
        raise LineFault("data-field", what, fix=UNPACKED)
    if isinstance(record.get("position_ids"), list):
        positions_T = _ints(record["position_ids"], "position_ids")[kept]
        wrong = np.flatnonzero(np.diff(positions_T) != 1)
        if len(wrong):
            place = int(wrong[0]) + 1 + kept.start
            what = f"position_ids[{place}] is {positions_T[wrong[0] + 1]}, and {positions_T[wrong[0]]} stands before it: rows packed into one"
            raise LineFault("data-field", what, fix=UNPACKED)


def _flags(value: Any, name: str, length: int) -> FlagsT:
    flags_T = _ints(value, name, length)
    wrong = np.flatnonzero((flags_T != 0) & (flags_T != 1))
    if len(wrong):
        raise LineFault("data-field", f"{name}[{wrong[0]}] is {flags_T[wrong[0]]}, neither 0 nor 1")
    return flags_T.astype(bool)


def _ints(value: Any, name: str, length: int | None = None) -> IntsT:
    """A list of whole numbers. Booleans pass in masks, as tables hold them."""
    if not isinstance(value, list):
        raise LineFault("data-field", f"{name!r} is {describe(value)}, not a list of whole numbers")
    allowed = {int} if name in ("input_ids", "labels", "position_ids") else {int, bool}
    if not set(map(type, value)) <= allowed:
        place = next(at for at, each in enumerate(value) if type(each) not in allowed)
        hint = (
            "; a list in a list is a batch: write its rows one by one"
            if isinstance(value[place], list)
            else ""
        )
        raise LineFault(
            "data-field", f"{name}[{place}] is {describe(value[place])}, not a whole number{hint}"
        )
    if length is not None and len(value) != length:
        raise LineFault("data-field", f"{name!r} has {len(value)} numbers for {length} input_ids")
    try:
        return np.frombuffer(array("q", value), dtype=np.int64)
    except OverflowError:
        place = next(at for at, each in enumerate(value) if not -(2**63) <= each < 2**63)
        raise LineFault(
            "data-field", f"{name}[{place}] is {str(value[place])[:40]}: no such number"
        ) from None
