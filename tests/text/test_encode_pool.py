"""Texts encoded by processes are those encoded by one call of the tokenizer, in the same order."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from luthier.floor.errors import EnvironmentFault
from luthier.text.encode_journal import EncodeJournal
from luthier.text.encode_pool import EncodedTexts, EncodePool
from tests.tiny import make_tiny_tokenizer

TEXTS = [
    "The restaurant",
    "",
    "<|im_end|> is no token here",
    "Größe 🙂 日本語",
    "\x00\ufeff\u2028 end",
    " " * 50,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(make_tiny_tokenizer().backend_tokenizer.to_str())


@pytest.fixture(scope="module")
def pool(tokenizer: Tokenizer) -> Iterator[EncodePool]:
    with EncodePool(tokenizer, workers=2, characters_before_workers=-1) as found:
        yield found


def check(found: EncodedTexts, tokenizer: Tokenizer, texts: list[str], *, control_tokens: bool) -> None:
    tokenizer.encode_special_tokens = not control_tokens
    judge = tokenizer.encode_batch(texts, add_special_tokens=False)
    ends = np.cumsum(found.lengths_N)
    assert found.lengths_N.tolist() == [len(encoding) for encoding in judge]
    for encoding, end in zip(judge, ends, strict=True):
        assert found.ids_T[end - len(encoding) : end].tolist() == encoding.ids
        if found.offsets_T2 is not None:
            spans = found.offsets_T2[end - len(encoding) : end].tolist()
            assert [tuple(span) for span in spans] == encoding.offsets


@pytest.mark.parametrize("control_tokens", [False, True])
@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_processes_find_what_one_call_finds(
    tokenizer: Tokenizer, workers: int, offsets: bool, control_tokens: bool
) -> None:
    with EncodePool(tokenizer, workers=workers, characters_before_workers=-1) as pool:
        found = pool.encode(TEXTS * 100, control_tokens=control_tokens, offsets=offsets).result(60)
        assert (found.offsets_T2 is not None) == offsets
        check(found, tokenizer, TEXTS * 100, control_tokens=control_tokens)


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=30))
@settings(max_examples=40, deadline=None)
def test_any_texts_come_back_in_their_order(tokenizer: Tokenizer, pool: EncodePool, texts: list[str]) -> None:
    check(pool.encode(texts).result(60), tokenizer, texts, control_tokens=False)


def test_calls_under_way_at_once_keep_their_results_apart(tokenizer: Tokenizer, pool: EncodePool) -> None:
    blocks = [[f"block {number} text {index}" for index in range(50)] for number in range(20)]
    waiting = [pool.encode(block) for block in blocks]
    for block, found in zip(blocks, waiting, strict=True):
        check(found.result(60), tokenizer, block, control_tokens=False)


def test_truncation_and_padding_left_by_others_change_nothing() -> None:
    tokenizer = Tokenizer.from_str(make_tiny_tokenizer().backend_tokenizer.to_str())
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=64)
    texts = ["The restaurant near the river", "x"]
    with EncodePool(tokenizer, workers=2, characters_before_workers=-1) as pool:
        found = pool.encode(texts).result(60)
    with EncodePool(tokenizer, workers=0) as pool:
        check(pool.encode(texts).result(60), tokenizer, texts, control_tokens=False)
    assert found.lengths_N[0] > 3
    assert found.lengths_N[1] == 1


def test_few_texts_start_no_process(tokenizer: Tokenizer) -> None:
    with EncodePool(tokenizer) as pool:
        assert pool.encode(["a", "b"]).done()
        assert pool.parallel_blocks == 1


def test_a_process_that_dies_is_told_and_not_waited_for(tokenizer: Tokenizer) -> None:
    with EncodePool(tokenizer, workers=2, characters_before_workers=-1) as pool:
        pool.encode(["a"]).result(60)
        for worker in pool._workers:
            os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(EnvironmentFault, match="process that tokenizes was ended"):
            pool.encode(["b"]).result(60)


def test_closing_ends_the_processes_though_work_is_under_way(tokenizer: Tokenizer) -> None:
    pool = EncodePool(tokenizer, workers=2, characters_before_workers=-1)
    pool.encode(["a"]).result(60)
    processes = [worker._process for worker in pool._workers]
    for _ in range(6):
        pool.encode(["some text " * 2000] * 50)
    pool.close()
    assert all(process.poll() is not None for process in processes)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("offsets", [False, True])
def test_the_journal_gives_back_what_was_encoded(
    tokenizer: Tokenizer, tmp_path: Path, workers: int, offsets: bool
) -> None:
    blocks = [[f"{text} {number}" for text in TEXTS] for number in range(8)]
    first = EncodeJournal(tmp_path / "journal")
    with EncodePool(tokenizer, workers=workers, journal=first, characters_before_workers=-1) as pool:
        for block in blocks[:5]:
            pool.encode(block, offsets=offsets).result(60)
    assert first.found == 0
    again = EncodeJournal(tmp_path / "journal")
    with EncodePool(tokenizer, workers=workers, journal=again, characters_before_workers=-1) as pool:
        for block in blocks:
            found = pool.encode(block, offsets=offsets).result(60)
            check(found, tokenizer, block, control_tokens=False)
    assert again.found == 5
    again.discard()
    assert not (tmp_path / "journal").exists()


def test_a_damaged_or_lost_entry_is_encoded_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with EncodePool(
        tokenizer, workers=0, journal=EncodeJournal(tmp_path), characters_before_workers=-1
    ) as pool:
        for number in range(4):
            pool.encode([f"text {number}"])
    files = sorted(tmp_path.iterdir())
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:-1])
    content = bytearray(files[2].read_bytes())
    content[-1] ^= 1
    files[2].write_bytes(content)
    journal = EncodeJournal(tmp_path)
    with EncodePool(tokenizer, workers=0, journal=journal, characters_before_workers=-1) as pool:
        for number in range(4):
            found = pool.encode([f"text {number}"]).result()
            check(found, tokenizer, [f"text {number}"], control_tokens=False)
    assert journal.found == 1


def test_a_disk_that_takes_no_more_ends_the_keeping_only(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way of the folder")
    journal = EncodeJournal(tmp_path / "journal")
    with EncodePool(tokenizer, workers=0, journal=journal, characters_before_workers=-1) as pool:
        check(pool.encode(TEXTS).result(), tokenizer, TEXTS, control_tokens=False)


def test_a_machine_that_allows_no_process_encodes_all_the_same(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("luthier.text.encode_pool.subprocess.Popen", refuse)
    with EncodePool(tokenizer, workers=2, characters_before_workers=-1) as pool:
        waiting = [pool.encode(TEXTS, control_tokens=bool(number % 2)) for number in range(8)]
        for number, found in enumerate(waiting):
            check(found.result(60), tokenizer, TEXTS, control_tokens=bool(number % 2))
