"""The catalogue of bad chat exports and conversations, each through the command that reads it: what is said of it, and what is kept.

The numbers are those of the design's catalogue (42 items); an item may need several cases. Exports are converted, rows are
prepared for training or checked. Items that no command of today reads are in NOT_READ, with what is said of such a file.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.workshop import Done, luthier
from tests.data.check.planting import ANSWER, USER, call, chat, tool
from tests.data.convert.converting import chain, conversation, message, node, talk
from tests.data.spoilt_files import encrypted, lines, zipped

EXPORT = "conversations.json"
HI, YO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
LOOP = conversation({"a": node("b", message("user", "x")), "b": node("a", message("assistant", "y"))}, "a")
BRANCHES = conversation(
    {
        "a": node(None, message("user", "x")),
        "b": node("a", message("assistant", "y")),
        "c": node("a", message("assistant", "z")),
        "d": node(None, message("user", "second root")),
    },
    "b",
)
PARTS = [
    "look",
    {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"},
    {"a": 1},
    5,
    None,
]
SHARED = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
SECRETS = "jane.doe@example.org hf_" + "aB3dE5gH" * 5 + " AKIA" + "IOSFODNN7ABCDEFG"


def turns(*said: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in said]}


def export(*conversations: Any) -> bytes:
    return json.dumps(conversations).encode()


def picture(address: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": address}}
    return chat({"role": "user", "content": [{"type": "text", "text": "see"}, part]}, YO)


def aged(created: Any) -> dict[str, Any]:
    """A conversation that does not name its last node, so that ages decide which branch was seen."""
    said = [("a", None, "user"), ("b", "a", "assistant"), ("c", "a", "assistant")]
    return conversation(
        {name: node(above, message(role, name, create_time=created)) for name, above, role in said}, "gone"
    )


@dataclass(frozen=True)
class Converted:
    """A source that is converted: the turns of its rows, and what is counted."""

    number: int
    content: bytes
    rows: tuple[tuple[str, ...], ...]
    """Of each row, what is said in it."""
    said: tuple[str, ...] = ()
    name: str = EXPORT
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.number}-{self.name}"


CONVERTED = [
    Converted(2, export(LOOP, talk("Hi", "Yo")), (("Hi", "Yo"),), ("1  its messages form a loop",)),
    Converted(3, export(conversation({"a": node("gone", message("user", "x")), "b": node("a", message("assistant", "y"))}, "b")), (("x", "y"),)),
    Converted(4, export(BRANCHES), (("x", "y"),), ("2  on another branch",)),
    Converted(4, export(BRANCHES), (("x", "y"), ("x", "z")), ("3 = 2 kept + 1 left out",), words=("--branches", "all")),
    Converted(5, export(conversation(chain(message("user", "x"), None, message("assistant", "y")))), (("x", "y"),), ("2  no message in the node",)),
    Converted(6, export(conversation(chain(message("user", "", content={"content_type": "multimodal_text", "parts": PARTS}), message("assistant", "y")))), (("look", "y"),), ("image, sound or file left out of a message",)),
    Converted(7, export(talk("Hi", " ", "Hm?", "Yo")), (("Hi\n\nHm?", "Yo"),), ("1  empty",)),
    Converted(9, export(talk("Hi", "Yo", "And?")), (("Hi", "Yo"),), ("1  after the last answer",)),
    Converted(10, export(conversation(chain(message("assistant", "Welcome"), message("user", "Hi"), message("assistant", "Yo")))), (("Hi", "Yo"),), ("1  before the first question",)),
    Converted(11, export(conversation(chain(message("user", "Hi"), message("user", "you"), message("assistant", "Yo")))), (("Hi\n\nyou", "Yo"),), ("joined with the one before, of the same speaker",)),
    Converted(12, lines(turns(("human", "a"), ("gpt", "b")), turns(("prompter", "c"), ("bot", "d"))), (("a", "b"), ("c", "d")), name="r.jsonl"),
    Converted(15, lines(chat(USER, call(), tool(), ANSWER)), ((USER["content"], ANSWER["content"]),), ("1  tool call", "1  tool output"), "r.jsonl"),
    Converted(18, export(talk("say <|im_start|>", "</s>")), (("say <|im_start|>", "</s>"),)),
    Converted(19, export(talk("a\u200bb \u202e c \u0430", "Yo")), (("a\u200bb \u202e c \u0430", "Yo"),)),
    Converted(20, export(talk("a\ud800b", "Yo")), (("a\ufffdb", "Yo"),), ("half of a surrogate pair replaced by U+FFFD",)),
    Converted(22, export(talk("a" * 10**6, "Yo")), (("a" * 10**6, "Yo"),)),
    Converted(23, export(talk(*["a", "b"] * 5000)), (("a", "b") * 5000,), ("10,000 kept",)),
    *(Converted(24, export(aged(created)), (("a", "b"),), ("1  on another branch",)) for created in (None, -5, 1.7e12, "noon", True)),
    Converted(25, export(talk("Hi", "Yo") | {"id": "1"}, talk("Hi", "Yo") | {"id": "1"}), (("Hi", "Yo"),), ("1  its id was seen before",)),
    Converted(27, export(talk("<script>alert(1)</script>", "<img src=x onerror=alert(1)>")), (("<script>alert(1)</script>", "<img src=x onerror=alert(1)>"),)),
    Converted(33, zipped({EXPORT: export(talk("Hi", "Yo")), "../../evil.json": b"[1]", "chat.html": b"x"}), (("Hi", "Yo"),), name="c.zip"),
    # Nobody can mend an export: a conversation in it that cannot be read is counted with its reason.
    Converted(34, zipped({"conversations-0.json": export(talk("Hi", "Yo")), "conversations-1.json": '[{"mapping": {}, "title": "Gr\xfcn"}]'.encode("latin-1")}), (("Hi", "Yo"),), ("1  faulty: data-enc",), name="c.zip"),
    Converted(36, export(conversation({"../../a": node(None, message("user", "x")), "/etc/passwd": node("../../a", message("assistant", "y"))}, conversation_id="../../x", title="../../y")), (("x", "y"),)),
    Converted(37, lines(picture("http://127.0.0.1:9/x.png")), (("see", "Yo"),), ("image, sound or file left out",), name="r.jsonl"),
    Converted(38, lines(picture("file:///etc/passwd")), (("see", "Yo"),), ("image, sound or file left out",), name="r.jsonl"),
]  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """Something that a command refuses."""

    number: int
    content: bytes
    code: str
    place: str
    """Behind the file's name."""
    parts: tuple[str, ...]
    name: str = EXPORT
    verb: str = "convert"

    def __str__(self) -> str:
        return f"{self.number}-{self.verb}-{self.name}"


def rows(
    number: int, place: str, *parts: str, of: Any, code: str = "data-field", verb: str = "prepare"
) -> Refused:
    """Rows that are refused when they are prepared."""
    return Refused(number, lines(*of), code, place, parts, "r.jsonl", verb)


REFUSED = [
    Refused(1, b"Dear diary, this is no export\n", "data-json", ":1", ("neither JSON nor JSON lines", "'Dear diary", "Name an export or rows")),
    Refused(1, b"\x89PNG\r\n\x1a\n" + bytes(30), "data-json", ":1", ("neither JSON nor JSON lines",)),
    Refused(1, b'{"settings": 1}', "data-dialect", ":1", ("fits no dialect", "it has: settings")),
    Refused(1, b'{"data": [{"text": "a"}]}', "data-dialect", ":1", ("it has: data", "jq -c '.[\"data\"][]'")),
    Refused(1, b"", "data-empty", "", ("there is no record",)),
    Refused(2, export(LOOP), "data-empty", "", ("no row came of 1 conversation", "its messages form a loop")),
    Refused(7, export(talk("Hi", "")), "data-empty", "", ("1 conversation: no question with an answer", "1 message: empty")),
    Refused(8, export(conversation(chain(message("system", "Be kind.")))), "data-empty", "", ("no question with an answer",)),
    Refused(9, export(talk("Hi")), "data-empty", "", ("no question with an answer",)),
    Refused(12, lines(turns(("user", "a"), ("wizard", "b"))), "data-field", ":1", ("messages[1].role is 'wizard', no known speaker",), "r.jsonl"),
    rows(12, ":2", "messages[1].role is 'wizard', no known speaker", of=[turns(("human", "a"), ("gpt", "b")), turns(("user", "a"), ("wizard", "b"))]),
    rows(13, ":1", "messages[1].role is the number 5, no known speaker", of=[turns(("user", "a"), (5, "b"))]),
    rows(13, ":1", "messages[0].role is an object, no known speaker", of=[turns(({"a": 1}, "a"), ("assistant", "b"))]),
    Refused(14, lines(chat(HI, YO), SHARED), "data-dialect", ":2", ("is sharegpt, and not openai as the rest", "--from sharegpt"), "r.jsonl"),
    rows(14, ":2", "lacks the field 'messages'", of=[chat(HI, YO), SHARED]),
    rows(14, ":1", "messages[1] lacks 'role'; it has: from, value", of=[chat(HI, {"from": "gpt", "value": "b"})]),
    rows(15, ":1", "messages[1].content is null, and the message calls no tool", of=[chat(HI, {"role": "assistant", "content": None})]),
    rows(15, ":1", "the chat template leaves tool calls out", "--tools text", of=[chat(USER, call(), tool(), ANSWER)], code="data-template"),
    rows(17, ":1", "arguments is no JSON: '{oops'", of=[chat(USER, call("{oops"), tool(), ANSWER)]),
    rows(20, ":1", r"\ud800 is half of a surrogate pair", of=[turns(("user", "\ud800"), ("assistant", "b"))], code="data-surr"),
    Refused(33, zipped({"../../conversations.json": export(talk("Hi", "Yo"))}), "data-dialect", "", ("is no export", "'../../conversations.json'"), "c.zip"),
    Refused(33, encrypted(zipped({EXPORT: export(talk("Hi", "Yo"))})), "data-archive", "", ("is encrypted", "unzip"), "c.zip"),
    Refused(33, zipped({EXPORT: b'[{"mapping": "' + b"a" * 10**8 + b'"}]'}), "data-archive", "", ("is a bomb: ", "unpack to 95.4 MiB"), "c.zip"),
    Refused(34, zipped({"conversations-0.json": export(talk("Hi", "Yo")), "conversations-1.json": json.dumps([talk("Hi", "Yo")]).encode("utf-16")}), "data-enc", "/conversations-1.json", ("UTF-16", "unzip"), "c.zip"),
    rows(37, ":1", "messages[0].content[1].type is 'image_url': only text can be learnt", of=[picture("http://127.0.0.1:9/x.png")]),
    rows(38, ":1", "messages[0].content[1].type is 'image_url': only text can be learnt", of=[picture("file:///etc/passwd")]),
    rows(39, ":1", "messages[1].weight is the number 7, neither 0 nor 1", of=[chat(HI, YO | {"weight": 7})]),
    Refused(39, lines(chat(HI, YO | {"weight": -1})), "data-field", ":1", ("messages[1].weight is the number -1, neither 0 nor 1",), "r.jsonl"),
    rows(40, ":1", "lacks 'prompt', and the two answers do not begin with the same question", of=[{"chosen": "b", "rejected": "c"}]),
    rows(40, ":1", "rejected[0] is 'c', not an object", of=[{"prompt": "a", "chosen": "b", "rejected": ["c", "d"]}]),
    rows(40, ":1", "has no shape of a row", of=[{"prompt": "a", "chosen": ["b", "c"]}]),
]  # fmt: skip

TELEGRAM = {"name": "A", "type": "personal_chat", "id": 1, "messages": [{"id": 1, "type": "message", "from": "Anna", "from_id": "user1", "text": ["see ", {"type": "link", "text": "x"}]}]}  # fmt: skip
DISCORD = {"guild": {}, "channel": {}, "messages": [{"id": "1", "author": {"name": "A"}, "content": "", "embeds": [{"title": "x"}]}]}  # fmt: skip
SLACK = {
    "user": "U1",
    "type": "message",
    "ts": "1.0",
    "text": "<@U2> hi",
    "edited": {"user": "U1", "ts": "2.0"},
}
CLAUDE = {"uuid": "1", "name": "x", "chat_messages": [{"uuid": "a", "text": "Hi", "sender": "human"}]}
WHATSAPP = "12/31/23, 11:59 PM - Anna: Hi\n31.12.23, 23:59 - Ben: Hallo\nand more\n31.12.23, 23:59 - Ben: <Media omitted>\n"
# The issue names ChatGPT's export and the dialects of training sets. In talk between people no turn is an assistant's; and the
# web page that collects ratings does not exist yet.
NOT_READ = [
    Refused(29, json.dumps(TELEGRAM).encode(), "data-dialect", ":1", ("is a Telegram export, which is not converted", "messages of role and content"), "result.json"),
    Refused(30, json.dumps([SLACK]).encode(), "data-dialect", ":1 (record 1)", ("is a message of a Slack export, which is not converted",), "2024-01-01.json"),
    Refused(31, json.dumps(DISCORD).encode(), "data-dialect", ":1", ("is a Discord export, which is not converted",), "general.json"),
    Refused(32, zipped({EXPORT: export(CLAUDE), "users.json": b"[]", "projects.json": b"[]"}), "data-dialect", f"/{EXPORT}:1 (record 1)", ("is a conversation of a Claude export, which is not converted",), "c.zip"),
    Refused(41, b'[{"rating": 5, "model": "nope", "prompt_id": "zz"}]', "data-dialect", ":1 (record 1)", ("fits no dialect", "it has: rating, model, prompt_id"), "ratings.json"),
]  # fmt: skip

CHECKED = {
    16: ("tool-unknown-id", chat(USER, tool("nobody"), ANSWER)),
    17: ("tool-arguments", chat(USER, call("{oops"), tool(), ANSWER)),
    18: ("template-token", turns(("user", "say <|im_start|>system"), ("assistant", "b"))),
    19: ("invisible-characters", turns(("user", "a\u200bb \u202e c"), ("assistant", "b"))),
    26: ("personal", turns(("user", SECRETS), ("assistant", "b"))),
    35: ("mojibake", turns(("user", "Caf\xc3\xa9"), ("assistant", "b"))),
    39: ("same-preference", {"prompt": "a", "chosen": "b", "rejected": "b"}),
}
"""What `luthier data check` finds, by item. It reports personal data; nothing is published yet that would have to be redacted."""


def run(folder: Path, verb: str, name: str, *words: str) -> Done:
    if verb == "convert":
        return luthier(folder, "data", "convert", name, "--out", "out/rows.jsonl", *words)
    return luthier(folder, "prepare", "mine.yaml", f"data.path={name}", *words)


@pytest.fixture
def folder(tmp_path: Path, tiny_base: Path) -> Path:
    settings = f"model_name: {tiny_base}\ndata:\n  validation_fraction: 0\n"
    (tmp_path / "mine.yaml").write_text(settings)
    return tmp_path


@pytest.mark.parametrize("case", CONVERTED, ids=str)
def test_an_odd_export_is_converted_and_everything_left_out_is_counted(
    case: Converted, tmp_path: Path
) -> None:
    (tmp_path / case.name).write_bytes(case.content)
    done = run(tmp_path, "convert", case.name, *case.words)
    assert done.code == 0, done.err
    written = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().split("\n")[:-1]]
    said = [tuple(turn["content"] for turn in row["messages"]) for row in written]
    assert said == list(case.rows)
    assert [part for part in case.said if part not in done.out] == [], done.out
    everything = sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    )
    assert everything == sorted([case.name, "out/rows.jsonl", "out/rows.report.json"])


@pytest.mark.whole  # trainings are prepared: out of the quick suite
@pytest.mark.parametrize("case", [*REFUSED, *NOT_READ], ids=str)
def test_a_bad_conversation_is_refused_with_its_word_and_place(case: Refused, folder: Path) -> None:
    (folder / case.name).write_bytes(case.content)
    done = run(folder, case.verb, case.name, "--json")
    assert done.code == 3, done.said
    error = done.json["error"]
    assert (error["code"], error["where"]) == (case.code, case.name + case.place), done.err
    assert [part for part in case.parts if part not in done.err] == [], done.err
    assert len(done.err) < 2500, "a message is read by people"
    assert not list(folder.rglob("*rows*")), "nothing is written"
    assert not list(folder.rglob("*.bin")), "nothing is written"


@pytest.mark.parametrize("number", CHECKED)
def test_a_doubtful_conversation_is_a_finding_with_its_line(number: int, tmp_path: Path) -> None:
    kind, row = CHECKED[number]
    (tmp_path / "r.jsonl").write_bytes(lines(row))
    findings = luthier(tmp_path, "data", "check", "r.jsonl", "--json").json["findings"]
    found = [(each["file"], each["line"]) for each in findings if each["kind"] == kind]
    assert found == [("r.jsonl", 1)], findings


def test_a_whatsapp_export_is_the_text_that_its_ending_says(tmp_path: Path) -> None:
    """Item 28. Nothing in such a file says what it is, and nobody in it is an assistant: it is one text, and the user is told so."""
    (tmp_path / "WhatsApp Chat.txt").write_text(WHATSAPP)
    done = run(tmp_path, "convert", "WhatsApp Chat.txt")
    assert (done.code, done.err) == (0, "reading WhatsApp Chat.txt as text (text)\n")
    assert json.loads((tmp_path / "out" / "rows.jsonl").read_text()) == {"text": WHATSAPP}
    (tmp_path / "WhatsApp Chat.jsonl").write_text(WHATSAPP)
    done = run(tmp_path, "convert", "WhatsApp Chat.jsonl", "--overwrite")
    assert (done.code, "error[data-json]" in done.err, "WhatsApp Chat.jsonl:1" in done.err) == (3, True, True)


@pytest.mark.whole
def test_text_that_spells_a_control_token_is_never_one(folder: Path, tiny_base: Path) -> None:
    """Item 18."""
    (folder / "r.jsonl").write_bytes(lines({"prompt": "say <|im_start|>", "completion": "<|im_end|> x"}))
    report = run(folder, "prepare", "r.jsonl", "--json").json
    ids = read_ids(folder, report)
    special = json.loads((tiny_base / "tokenizer.json").read_text())["added_tokens"]
    control = {token["id"]: token["content"] for token in special}
    assert [control[id] for id in ids if id in control] == ["<|endoftext|>"], "the one that ends the row"


def read_ids(folder: Path, report: dict[str, Any]) -> list[int]:
    from luthier.tokens.store import TokenStore

    return list(map(int, TokenStore.open(folder / report["store"] / "train").ids(0)))


@pytest.mark.whole
def test_a_cut_never_changes_a_token_that_stays(folder: Path) -> None:
    """Item 21. Rows are cut between tokens; a tokenizer of bytes has tokens inside of an emoji, and the ids that stay are a true
    beginning of the row. No text is made of them, so that no half of a character can come into one."""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    (folder / "r.jsonl").write_bytes(lines({"prompt": "a", "completion": family * 20}))
    whole = read_ids(folder, run(folder, "prepare", "r.jsonl", "--json").json)
    for length in (31, 33):
        words = (f"data.max_length={length}", "data.overlong=truncate", "--json")
        report = run(folder, "prepare", "r.jsonl", *words).json
        assert read_ids(folder, report) == whole[:length]
        assert report["train"]["rows_truncated"] == 1


def test_an_export_that_is_converted_again_gives_the_same_rows(tmp_path: Path) -> None:
    """Item 42."""
    (tmp_path / EXPORT).write_bytes(export(BRANCHES, talk("Hi", "Yo")))
    assert run(tmp_path, "convert", EXPORT).code == 0
    first = (tmp_path / "out" / "rows.jsonl").read_bytes()
    again = run(tmp_path, "convert", EXPORT)
    assert (again.code, "is there already" in again.err, "--overwrite" in again.err) == (2, True, True)
    assert run(tmp_path, "convert", EXPORT, "--overwrite").code == 0
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == first


def test_every_item_of_the_catalogue_has_a_case() -> None:
    tables = {case.number for case in (*CONVERTED, *REFUSED, *NOT_READ)} | CHECKED.keys()
    assert tables | {21, 28, 42} == set(range(1, 43))
