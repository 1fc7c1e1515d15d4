"""Other spellings of our settings: the guide's flat keys, translated at the door.

A dialect is a table of names to places in the tree, with a converter where the value differs too. Nothing past the door
knows of it. Within one layer (a file, or the command line) a setting may be spelt in two ways with the same value; two
different values are a conflict.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.config.problems import Problem, show

KeyPath = tuple[str, ...]

SCHEDULES = {
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "wsd": "wsd",
    "constant_with_warmup": "constant",
    "warmup_stable_decay": "wsd",
}


class Untranslatable(ValueError):
    """A value that the dialect does not know, with the reason as its text."""


def _same(value: Any) -> Any:
    return value


def _schedule(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("${"):
        return value
    if not isinstance(value, str) or value not in SCHEDULES:
        raise Untranslatable(f"must be one of: {', '.join(SCHEDULES)}")
    return SCHEDULES[value]


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) and not value.startswith("${") else value


@dataclass(frozen=True)
class Flat:
    """A flat key: its place in the tree and what to do with its value."""

    place: str
    help: str
    convert: Callable[[Any], Any] = _same

    @property
    def path(self) -> KeyPath:
        return tuple(self.place.split("."))


GUIDE: dict[str, Flat] = {
    "model_name": Flat("model.name", "The base model: a folder, a hub id, or `embedded`."),
    "dataset_path": Flat("data.path", "A file of rows, a folder of them, or a dataset id of the hub."),
    "dataset_pattern": Flat("data.pattern", "Which files of the folder to read."),
    "data_format": Flat("data.format", "What a row holds."),
    "epochs": Flat("train.epochs", "Passes over the rows."),
    "batch_size": Flat("train.batch_size", "Rows in a micro-batch."),
    "lr": Flat("train.lr", "The highest learning rate."),
    "gradient_accumulation_steps": Flat(
        "train.gradient_accumulation_steps", "Micro-batches in an optimizer step."
    ),
    "max_length": Flat("data.max_length", "The most tokens of a row."),
    "warmup_ratio": Flat("train.schedule.warmup_fraction", "The share of the steps spent warming up."),
    "weight_decay": Flat("train.optimizer.weight_decay", "Decoupled weight decay."),
    "lr_scheduler_type": Flat("train.schedule.kind", "The shape of the learning rate.", _schedule),
    "bf16": Flat("train.precision", "Compute in bf16; with fp16 false as well: fp32."),
    "fp16": Flat("train.precision", "Compute in fp16; with bf16 false as well: fp32."),
    "lora_r": Flat("method.rank", "The rank of each adapter."),
    "lora_alpha": Flat("method.alpha", "The adapter's output is scaled by alpha / rank."),
    "lora_dropout": Flat("method.dropout", "Dropout on the adapter's input."),
    "lora_target_modules": Flat("method.targets", "The linear modules that get an adapter.", _names),
    "gradient_checkpointing": Flat("train.gradient_checkpointing", "Recompute activations to save memory."),
    "logging_steps": Flat("train.log.logging_steps", "Steps between lines of metrics."),
    "save_steps": Flat("train.checkpoint.save_steps", "Steps between checkpoints."),
}
PRECISION_FLAGS = ("bf16", "fp16")


@dataclass(frozen=True)
class Entry:
    """One value that a person wrote: where it belongs, how they spelt the key, and where it stands."""

    path: KeyPath
    value: Any
    spelt: str
    place: str


@dataclass
class Layer:
    """What one file or the command line says, every key at its place in the tree."""

    entries: dict[KeyPath, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Take an entry; the same setting spelt two ways with different values is a conflict."""
        earlier = self.entries.get(entry.path)
        if earlier is not None and earlier.spelt != entry.spelt and not _alike(earlier.value, entry.value):
            words = f"and {earlier.spelt} ({earlier.place}) set the same, differently: keep one of them"
            self.problems.append(Problem("cfg-conflict", entry.spelt, words, entry.place))
        self.entries[entry.path] = entry

    def report(self, code: str, entry: Entry, words: str) -> None:
        """Note that the value of an entry is wrong."""
        self.problems.append(Problem(code, entry.spelt, words, entry.place, value=show(entry.value)))


def _alike(one: Any, other: Any) -> bool:
    return bool(one == other) or str(one) == str(other)


def translate(entries: Iterable[Entry], *, precision_below: str | None = None) -> Layer:
    """The entries of one layer with the guide's flat keys put in their places.

    A flat key is an entry whose path is its single name. Precision flags are read together: both true contradict
    each other, one true is chosen, and none true means fp32, except that `fp16=false` leaves a bf16 of the layers
    below as it is.
    """
    layer = Layer()
    flags: dict[str, Entry] = {}
    for entry in entries:
        name = entry.path[0]
        if name not in GUIDE:
            layer.add(entry)
        elif len(entry.path) > 1:
            layer.problems.append(
                Problem("cfg-type", name, "takes one value, not settings below it", entry.place)
            )
        elif name in PRECISION_FLAGS:
            flags[name] = entry
        else:
            _translate_one(entry, layer)
    _translate_precision(flags, layer, precision_below)
    return layer


def _translate_one(entry: Entry, layer: Layer) -> None:
    flat = GUIDE[entry.path[0]]
    try:
        value = flat.convert(entry.value)
    except Untranslatable as reason:
        layer.report("cfg-range", entry, str(reason))
        return
    layer.add(Entry(flat.path, value, entry.spelt, entry.place))


def _translate_precision(flags: Mapping[str, Entry], layer: Layer, precision_below: str | None) -> None:
    wrong = [flag for flag in flags.values() if not isinstance(flag.value, bool)]
    for flag in wrong:
        layer.report("cfg-type", flag, "must be true or false")
    chosen = [flag for flag in flags.values() if flag.value is True]
    if len(chosen) > 1:
        words = f"and {chosen[1].spelt} ({chosen[1].place}) are both true: one run computes in one format"
        layer.problems.append(Problem("cfg-conflict", chosen[0].spelt, words, chosen[0].place))
    if wrong or len(chosen) > 1 or not flags:
        return
    if not chosen and precision_below in PRECISION_FLAGS and precision_below not in flags:
        return
    decisive = chosen[0] if chosen else next(iter(flags.values()))
    value = decisive.path[0] if chosen else "fp32"
    layer.add(Entry(("train", "precision"), value, decisive.spelt, decisive.place))
