"""The errors a user can meet, one class an exit code, one word a fault.

    LuthierError
    |-- GateError        1   a check or gate says no
    |-- UsageError       2   the command line
    |   `-- RecipeError  2   the recipe: every problem of it at once
    |-- DataError        3   data that cannot be read or used
    |-- ModelError       4   a model, an adapter or an exported file
    |-- EnvironmentFault 5   disk, memory, permission, network, device
    |-- UnhealthyError   6   training that must not go on
    |-- CheckpointError  7   no valid checkpoint
    |-- SavedAndStopped  75  saved, start me again (SIGTERM)
    `-- Interrupted      130 Ctrl-C, saved as well

Anything else that is raised is our own fault (exit 70) and shows its traceback.
The word of a fault (`data-trunc`) is stable: scripts and the HTTP API use it as a code, and FAULTS says what it means.
"""

from collections.abc import Sequence
from typing import ClassVar

from luthier.floor.secrets import hide_secrets


class LuthierError(Exception):
    """A fault that the user can mend; printed without a traceback.

    `what` holds the value, `where` the place (file:line or key), `why` the reason it matters, `fix` what to type next.
    `problems` lists the single faults where one message reports several. Secrets in any of them are hidden.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        code: str,
        what: str,
        *,
        where: str = "",
        why: str = "",
        fix: str = "",
        problems: Sequence[str] = (),
    ) -> None:
        assert code in FAULTS, f"the fault word {code!r} is not in the registry"
        self.code = code
        self.what = hide_secrets(what)
        self.where = hide_secrets(where)
        self.why = hide_secrets(why)
        self.fix = hide_secrets(fix)
        self.problems = tuple(hide_secrets(problem) for problem in problems)
        super().__init__(self.what)

    def render(self) -> str:
        """The message as a terminal shows it, several lines, no trailing newline."""
        lines = [f"error[{self.code}]: {self.what}"]
        if self.where:
            lines.append(f"  at {self.where}")
        lines += [f"  {problem}" for problem in self.problems]
        if self.why:
            lines.append(f"  {self.why}")
        if self.fix:
            lines.append(self.fix)
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same facts for `--json`."""
        return {
            "error": {
                "code": self.code,
                "what": self.what,
                "where": self.where,
                "why": self.why,
                "fix": self.fix,
                "problems": list(self.problems),
                "exit_code": self.exit_code,
            }
        }


class GateError(LuthierError):
    exit_code = 1


class UsageError(LuthierError):
    exit_code = 2


class RecipeError(UsageError):
    exit_code = 2


class DataError(LuthierError):
    exit_code = 3


class ModelError(LuthierError):
    exit_code = 4


class EnvironmentFault(LuthierError):
    exit_code = 5


class UnhealthyError(LuthierError):
    exit_code = 6


class CheckpointError(LuthierError):
    exit_code = 7


class SavedAndStopped(LuthierError):
    exit_code = 75


class Interrupted(LuthierError):
    exit_code = 130


FAULTS: dict[str, str] = {
    "cfg-unknown": "A key of the recipe is not a setting. Luthier refuses it, since a misspelt setting would train something else.",
    "cfg-type": "A value has another type than its setting.",
    "cfg-range": "A value lies outside what its setting allows.",
    "cfg-conflict": "Two settings contradict each other.",
    "cfg-missing": "A setting without a default was not given.",
    "cfg-syntax": "The recipe is not readable YAML, or an override is not of the form key=value.",
    "cfg-file": "There is no such recipe.",
    "cfg-secret": "A recipe may not read environment variables: the resolved recipe is written into the run.",
    "cfg-target": "A recipe names code (`_target_`); recipes hold names and numbers only.",
    "cfg-size": "The recipe file is larger or deeper than any recipe needs to be.",
    "recipe": "The recipe has several problems, all listed.",
    "usage": "The command line was not understood.",
    "data-missing": "No file matches the data path and pattern.",
    "data-empty": "The data holds no row.",
    "data-json": "A line is not a JSON object.",
    "data-field": "A row lacks a field of its format, or the field has another type.",
    "data-enc": "A file is not UTF-8.",
    "data-csv": "A line of a CSV or TSV file does not fit its header, or its quotation marks do not fit each other.",
    "data-table": "A Parquet or Arrow file cannot be read as a table.",
    "data-document": "A document holds no text that can be read, or takes too much time or memory.",
    "data-source": "The sources of a mixture do not fit together.",
    "data-trunc": "The last line of a file is cut off.",
    "data-line": "A line is longer than the limit.",
    "data-depth": "A row is nested deeper than any row of the known formats.",
    "data-surr": "A text holds half of a surrogate pair, which is no Unicode text.",
    "data-long": "Rows are longer than max_length and the recipe says to refuse them.",
    "data-split": "Rows cannot be split as asked.",
    "data-leak": "Rows hold questions of a set that they are measured by, and the recipe says to refuse them.",
    "data-books": "The books of the prepared data do not balance: rows or tokens are missing without a reason.",
    "data-untrained": "No row has a token that carries loss.",
    "data-template": "Chat rows need a chat template, and the tokenizer has none.",
    "data-mask": "The two derivations of the labels disagree.",
    "data-hub": "A dataset of the hub could not be read.",
    "data-cache": "Prepared tokens are damaged.",
    "data-changed": "A data file was written to while it was read.",
    "data-objective": "The rows are for another objective than those that can be trained.",
    "data-dialect": "A record is in no dialect that can be converted, or not in that of the rest.",
    "data-archive": "An archive is damaged, encrypted, or made to do harm.",
    "data-scorer": "The model or program that scores rows cannot be run, or gave no usable scores.",
    "data-words": "The word list that a recipe names cannot be read or holds no word.",
    "data-path": "A data path is no regular file or folder.",
    "tokenizer-train": "The texts are too few to fill the vocabulary asked for.",
    "mdl-missing": "There is no such model folder.",
    "mdl-config": "The model folder has no usable config.json.",
    "mdl-weights": "The model folder has no usable safetensors weights.",
    "mdl-pickle": "The model's weights are pickled: loading them would run code from the file.",
    "mdl-tokenizer": "The model folder has no usable tokenizer.",
    "mdl-template": "The chat template of the model cannot be rendered in bounds.",
    "mdl-code": "The model asks to run code of its own.",
    "mdl-lfs": "The weights are git-LFS pointers, not weights.",
    "mdl-path": "A weight index names a file outside the model folder.",
    "mdl-nan": "A weight is not finite.",
    "mdl-size": "The configuration describes a model too large to build.",
    "mdl-offline": "The model is not on this machine and could not be fetched.",
    "adp-missing": "The run has no adapter or model.",
    "adp-base": "The adapter was trained over another base.",
    "adp-targets": "No module of the model has the names the adapter targets.",
    "adp-config": "The adapter's configuration is missing, damaged or asks for something that Luthier does not apply.",
    "adp-weights": "The adapter's weights are missing, damaged or not those that its configuration describes.",
    "gguf-family": "There is no GGUF form of this model's architecture that Luthier writes.",
    "gguf-tokenizer": "The program llama.cpp has no tokenizer with the rules of this one.",
    "gguf-weights": "The model's tensors are not those of its architecture.",
    "gguf-adapter": "The adapter changes what an adapter of the program llama.cpp does not hold.",
    "gguf-load": "The program llama.cpp does not load or compute the file.",
    "merge-whole": "The run trained every weight: its model is whole already, and there is no adapter to merge.",
    "env-device": "The device that the recipe asks for is not here.",
    "env-precision": "The hardware lacks the number format that the recipe asks for.",
    "env-disk": "The disk is full or cannot be written.",
    "env-memory": "Memory ran out.",
    "env-permission": "A file or folder may not be read or written.",
    "env-extra": "An optional part is not installed.",
    "env-endpoint": "An endpoint that was named cannot be reached, refuses, or answers nothing.",
    "env-network": "Something outside this machine could not be reached.",
    "env-port": "The port to listen on is taken or may not be used.",
    "env-keys": "The file of API keys is damaged.",
    "env-audit": "The audit log cannot be gone on with.",
    "api-body": "The body of a request is no JSON object in UTF-8.",
    "api-type": "The body of a request is of another type than application/json, or is compressed.",
    "api-size": "A request is larger than the server takes.",
    "api-depth": "The body of a request is nested deeper than any request needs to be.",
    "api-field": "A field of a request is unknown, missing, of another type or outside its bounds.",
    "api-unsupported": "A request asks for something that the engine of this server cannot do.",
    "api-template": "The model's chat template does not take the conversation.",
    "api-context": "Prompt and answer together are longer than the model's context.",
    "api-model": "The server has no model of the name.",
    "api-path": "The server has nothing at this path.",
    "api-method": "The path does not take this method.",
    "api-host": "The request names a host or an origin that is not this server's.",
    "api-key": "The request has no key that the server knows, or the key may not do this.",
    "api-busy": "The queue is full, or the request waited in it for longer than it may.",
    "api-draining": "The server is being stopped: it ends the answers under way and takes no new requests.",
    "api-timeout": "The request did not come whole in its time, or was not answered in its time.",
    "api-engine": "The engine behind the server failed at the request, or is being started anew.",
    "api-limit": "The key has used up its requests or tokens of the minute, or has as many requests under way as it may.",
    "api-filter": "A filter of this server keeps the request back.",
    "api-moderator": "The moderator that judges requests cannot be reached, so nothing is let through.",
    "api-audit": "The audit log cannot be written, and nothing is answered that is not logged.",
    "run-missing": "There is no such run.",
    "run-unfinished": "The run is not finished, so it has no result yet.",
    "run-locked": "Another process is working on the run.",
    "run-used": "The run folder already holds another run.",
    "train-nonfinite": "A loss or gradient is not finite; the step was not taken.",
    "train-empty": "There is no step to train.",
    "ckpt-none": "There is nothing to resume from.",
    "ckpt-bad": "Every checkpoint is damaged.",
    "ckpt-mismatch": "The checkpoint belongs to another recipe.",
    "compare-rows": "The two evaluations are of different rows, so their figures cannot be compared.",
    "publish-card": "The model card lacks something that a reader needs, or the hub does not take it.",
    "publish-licence": "The licence of what is published does not fit those of the base and the data.",
    "publish-private": "A file that would go up holds a key, personal data or a path of the machine.",
    "publish-public": "The repository is open to all, and that was not asked for.",
    "hub-token": "There is no token of the hub, the hub does not know it, or it may only read.",
    "hub-refused": "The hub does not allow what it was asked.",
    "hub-busy": "The hub was too busy at every try.",
    "hub-conflict": "Someone else changed the repository meanwhile.",
    "hub-answer": "The hub answers otherwise than a hub does.",
    "hub-mismatch": "The hub holds other files than were sent.",
    "gate-compare": "The tuned model is not better than the base.",
    "gate-audit": "The audit log was changed after it was written.",
    "gate-tokens": "The exported file makes other tokens of a text than the model's own tokenizer.",
    "gate-template": "Ollama would ask the model otherwise than it was trained.",
    "gate-fit": "A plan says that a recipe may not fit the device, or the disk.",
    "gate-level": "A server under load does not keep the level that was asked of it.",
    "gate-parity": "The exported model does not answer as the trained model does.",
    "saved": "The run was asked to stop; it saved a checkpoint first.",
    "interrupted": "The run was interrupted.",
}
