"""Headers of weight files as hostile input: safetensors itself is the judge of what may pass, and nothing but a ModelError comes out."""

import json
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from luthier.floor.errors import ModelError
from luthier.knowledge.safetensors_header import read_header

FOUR_BYTES = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def write(path: Path, header: Any, data: bytes = b"\0" * 4) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for weight files, one folder for all the examples of a property."""
    return tmp_path_factory.mktemp("headers") / "model.safetensors"


def code_of(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert len(caught.value.render()) < 2000, "a message is for reading"
    return caught.value.code


def test_tensors_come_in_the_order_of_their_data_with_their_facts(weights: Path) -> None:
    second = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]}
    tensors = read_header(
        write(weights, {"b": second, "a": FOUR_BYTES, "__metadata__": {"format": "pt"}}, b"\0" * 16)
    )
    assert [(tensor.name, tensor.format, tensor.shape, tensor.numbers) for tensor in tensors] == [
        ("a", "F32", (1,), 1),
        ("b", "BF16", (2, 3), 6),
    ]


@pytest.mark.parametrize(
    ("header", "data"),
    [
        pytest.param({"a": FOUR_BYTES}, b"\0" * 3, id="cut off"),
        pytest.param({"a": FOUR_BYTES}, b"\0" * 5, id="bytes after the last tensor"),
        pytest.param({"a": FOUR_BYTES | {"data_offsets": [4, 8]}}, b"\0" * 8, id="a hole"),
        pytest.param({"a": FOUR_BYTES, "b": FOUR_BYTES}, b"\0" * 4, id="an overlap"),
        pytest.param({"a": FOUR_BYTES | {"data_offsets": [4, 0]}}, b"\0" * 4, id="backwards"),
        pytest.param({"a": FOUR_BYTES | {"data_offsets": [0, 2**62]}}, b"\0" * 4, id="outside the file"),
        pytest.param({"a": FOUR_BYTES | {"data_offsets": [0]}}, b"\0" * 4, id="half an offset"),
        pytest.param({"a": FOUR_BYTES | {"shape": [2**63]}}, b"\0" * 4, id="a size beyond 64 bits"),
        pytest.param({"a": FOUR_BYTES | {"shape": [-1, -1]}}, b"\0" * 4, id="a negative size"),
        pytest.param({"a": FOUR_BYTES | {"shape": [True]}}, b"\0" * 4, id="a boolean size"),
        pytest.param({"a": FOUR_BYTES | {"shape": [1.0]}}, b"\0" * 4, id="a fractional size"),
        pytest.param(
            {"a": {"dtype": "F32", "shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}}, b"", id="0 x huge"
        ),
        pytest.param({"a": FOUR_BYTES | {"dtype": "F31"}}, b"\0" * 4, id="an unknown format"),
        pytest.param({"a": FOUR_BYTES | {"dtype": ["F32"]}}, b"\0" * 4, id="a list of formats"),
        pytest.param({"a": FOUR_BYTES | {"code": "import os"}}, b"\0" * 4, id="an unknown key"),
        pytest.param({"a": 5}, b"\0" * 4, id="a tensor that is a number"),
        pytest.param({"a": FOUR_BYTES, "__metadata__": 5}, b"\0" * 4, id="metadata that is a number"),
        pytest.param({"a": FOUR_BYTES, "__metadata__": {"x": {}}}, b"\0" * 4, id="metadata of objects"),
        pytest.param({"\ud800": FOUR_BYTES}, b"\0" * 4, id="half a surrogate pair"),
        pytest.param([FOUR_BYTES], b"\0" * 4, id="a list"),
        pytest.param(b"", b"\0" * 4, id="no header"),
        pytest.param(b"[" * 100_000, b"\0" * 4, id="nested without end"),
        pytest.param(b'{"a": \xff}', b"\0" * 4, id="not UTF-8"),
        pytest.param(b'{"__metadata__": {"x": NaN}}', b"", id="NaN"),
        pytest.param(b'{"a": ' + b"9" * 10_000 + b"}", b"\0" * 4, id="a number of ten thousand digits"),
    ],
)
def test_a_damaged_header_is_refused(weights: Path, header: Any, data: bytes) -> None:
    assert code_of(write(weights, header, data)) == "mdl-weights"


def test_a_tensor_named_twice_is_refused_although_safetensors_takes_the_last(weights: Path) -> None:
    entry = json.dumps(FOUR_BYTES).encode()
    write(weights, b'{"a": %s, "a": %s}' % (entry, entry))
    with safe_open(weights, "pt") as tensors:
        assert list(tensors.keys()) == ["a"]
    assert code_of(weights) == "mdl-weights"


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 5])
def test_a_header_longer_than_the_file_is_refused_before_it_is_read(weights: Path, length: int) -> None:
    weights.write_bytes(length.to_bytes(8, "little") + b"{}")
    assert code_of(weights) == "mdl-weights"


@pytest.mark.parametrize("raw", [b"", b"\0", b"\0" * 8])
def test_a_file_without_a_header_is_refused(weights: Path, raw: bytes) -> None:
    weights.write_bytes(raw)
    assert code_of(weights) == "mdl-weights"


def test_a_git_lfs_pointer_says_how_to_fetch_the_weights(weights: Path) -> None:
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 988097824\n")
    with pytest.raises(ModelError, match="git-LFS pointer") as caught:
        read_header(weights)
    assert caught.value.code == "mdl-lfs"
    assert "lfs pull" in caught.value.fix


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_the_name_of_safetensors_is_refused_as_a_pickle(weights: Path, protocol: int) -> None:
    weights.write_bytes(pickle.dumps({"weight": list(range(100))}, protocol=protocol))
    assert code_of(weights) == "mdl-pickle"


def test_a_zip_of_pickles_is_refused_as_a_pickle_and_one_behind_the_weights_as_damage(weights: Path) -> None:
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    packed = weights.read_bytes()
    assert code_of(weights) == "mdl-pickle"
    write(weights, {"a": FOUR_BYTES}, b"\0" * 4 + packed)
    assert zipfile.is_zipfile(weights), "the polyglot opens as an archive as well"
    assert code_of(weights) == "mdl-weights"


def test_many_huge_dimensions_are_refused_at_once_and_not_multiplied(weights: Path) -> None:
    write(weights, {"a": FOUR_BYTES | {"shape": [2**62] * 40_000}})
    before = time.perf_counter()
    assert code_of(weights) == "mdl-weights"
    assert time.perf_counter() - before < 1, "their product took 8 s"


def test_a_zero_with_a_sign_is_no_count(weights: Path) -> None:
    header = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[-0,0]}}'
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    assert code_of(weights) == "mdl-weights"


COUNTS = st.one_of(
    st.integers(0, 8), st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 1.0, True, None, "4", [4]])
)
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.one_of(st.sampled_from(["F32", "F16", "U8", "BOOL", "F64", "Q4"]), JUNK),
            "shape": st.one_of(st.lists(COUNTS, max_size=3), JUNK),
            "data_offsets": st.one_of(st.lists(COUNTS, max_size=3), JUNK),
        },
        optional={"more": JUNK},
    ),
    JUNK,
)
HEADERS = st.one_of(st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "\ud800"]), ENTRIES), JUNK)
SOUND = st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=4)


def agrees_with_safetensors(weights: Path) -> None:
    """What passes, safetensors opens, and sees the same tensors; the rest is a ModelError."""
    try:
        tensors = read_header(weights)
    except ModelError:
        return
    with safe_open(weights, "pt") as opened:
        assert sorted(opened.keys()) == sorted(tensor.name for tensor in tensors)
        for tensor in tensors:
            assert tuple(opened.get_slice(tensor.name).get_shape()) == tensor.shape


@settings(deadline=1000, max_examples=300)
@given(header=HEADERS, data=st.binary(max_size=16))
def test_whatever_a_header_says_it_is_read_as_safetensors_does_or_refused(
    weights: Path, header: Any, data: bytes
) -> None:
    agrees_with_safetensors(write(weights, header, data))


@settings(deadline=1000, max_examples=300)
@given(raw=st.binary(max_size=200))
def test_whatever_bytes_a_file_holds_only_a_model_error_comes_out(weights: Path, raw: bytes) -> None:
    weights.write_bytes(raw)
    agrees_with_safetensors(weights)


def sound_file(weights: Path, shapes: list[list[int]]) -> bytes:
    header, reached = {}, 0
    for index, shape in enumerate(shapes):
        numbers = 1
        for size in shape:
            numbers *= size
        header[f"t{index}"] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [reached, reached + 4 * numbers],
        }
        reached += 4 * numbers
    return write(weights, header, b"\0" * reached).read_bytes()


@settings(deadline=1000, max_examples=100)
@given(shapes=SOUND)
def test_every_file_of_the_format_passes(weights: Path, shapes: list[list[int]]) -> None:
    sound_file(weights, shapes)
    assert sorted(list(tensor.shape) for tensor in read_header(weights)) == sorted(shapes)


@settings(deadline=1000, max_examples=300)
@given(shapes=SOUND, place=st.integers(0, 2000), byte=st.integers(0, 255))
def test_a_byte_changed_in_a_sound_file_never_makes_it_pass_where_safetensors_refuses(
    weights: Path, shapes: list[list[int]], place: int, byte: int
) -> None:
    raw = bytearray(sound_file(weights, shapes))
    raw[place % len(raw)] = byte
    weights.write_bytes(raw)
    try:
        agrees_with_safetensors(weights)
    except SafetensorError as fault:
        pytest.fail(f"passed, but safetensors says {fault}")
