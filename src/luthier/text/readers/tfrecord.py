"""TFRecord files of tf.train.Example, without TensorFlow.

A record is its length (8 bytes, little-endian), a checksum of it, the message, and a checksum of that; both are CRC-32C, rotated
and offset (tensorflow/core/lib/io/record_writer.h, tensorflow/core/lib/hash/crc32c.h). protobuf parses the message, whose
description is built here from the published numbers of its fields (tensorflow/core/example/feature.proto).
"""

import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from luthier.floor.units import format_bytes
from luthier.text.json_lines import LONGEST_LINE_BYTES
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.compressed import Stream, open_stream
from luthier.text.readers.record import INSTALL_FORMATS, Fields, Record, missing_library, row_origin

HEADER = struct.Struct("<QI")
CHECKSUM = struct.Struct("<I")
MASK_DELTA = 0xA282EAD8
SKIP_BYTES = 2**20


def read_tfrecord(path: Path, problems: Problems) -> Iterator[Record]:
    """One record a message; texts that are UTF-8 come as text, lists of one value as that value."""
    crc, make_example, decode_error = _crc32c(path), *_example(path)
    number = 0
    try:
        with open_stream(path) as file:
            while header := file.read(HEADER.size):
                number += 1
                origin = row_origin(path, number)
                try:
                    content = _content(file, header, crc)
                    example = make_example()
                    example.ParseFromString(content)
                    fields = _fields(example)
                except decode_error as fault:
                    problems.add(
                        origin, LineFault("data-table", f"the record is no tf.train.Example: {fault}")
                    )
                except LineFault as fault:
                    problems.add(origin, fault)
                    if fault.code == "data-archive":  # where the next record begins is lost
                        return
                else:
                    yield origin, fields
    except LineFault as fault:  # what was packed is damaged
        problems.add(row_origin(path, number + 1), fault)


def _content(file: Stream, header: bytes, crc: Callable[[bytes], int]) -> bytes:
    """The message behind a header. Raises LineFault, data-archive where the file cannot be read further."""
    if len(header) < HEADER.size:
        raise LineFault("data-archive", "the file is cut off inside the length of a record; fetch it again")
    length, checksum = HEADER.unpack(header)
    if _masked(crc(header[:8])) != checksum:
        raise LineFault(
            "data-archive", "the checksum of a record's length is wrong; the file is damaged or no TFRecord"
        )
    if length > LONGEST_LINE_BYTES:
        _skip(file, length + CHECKSUM.size)
        raise LineFault("data-line", f"the record is longer than {format_bytes(LONGEST_LINE_BYTES)}")
    content, end = file.read(length), file.read(CHECKSUM.size)
    if len(content) < length or len(end) < CHECKSUM.size:
        raise LineFault("data-archive", "the file is cut off inside a record; fetch it again")
    if _masked(crc(content)) != CHECKSUM.unpack(end)[0]:
        raise LineFault("data-table", "the checksum of the record is wrong: it is damaged")
    return content


def _skip(file: Stream, count: int) -> None:
    while count > 0 and (part := file.read(min(count, SKIP_BYTES))):
        count -= len(part)
    if count:
        raise LineFault("data-archive", "the file is cut off inside a record; fetch it again")


def _masked(checksum: int) -> int:
    return (((checksum >> 15) | (checksum << 17)) + MASK_DELTA) & 0xFFFFFFFF


def _fields(example: Any) -> Fields:
    fields: Fields = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        if kind == "bytes_list":
            values = [_text(value) for value in values]
        fields[name] = values[0] if len(values) == 1 else values or None
    return fields


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:  # a picture or the like, which no row uses
        return value


def _crc32c(path: Path) -> Callable[[bytes], int]:
    try:
        import google_crc32c
    except ImportError as fault:
        raise missing_library(path, "google-crc32c", INSTALL_FORMATS) from fault
    value: Callable[[bytes], int] = google_crc32c.value
    return value


def _example(path: Path) -> tuple[Callable[[], Any], type[Exception]]:
    try:
        from google.protobuf.message import DecodeError
    except ImportError as fault:
        raise missing_library(path, "protobuf", INSTALL_FORMATS) from fault
    return _example_class(), DecodeError


@cache
def _example_class() -> Callable[[], Any]:
    """tf.train.Example, as far as it is read here."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="luthier/example.proto", package="luthier.tf", syntax="proto3"
    )

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        added = file.message_type.add(name=name)
        for field, number, label, kind, type_name in fields:
            added.field.add(name=field, number=number, label=label, type=kind, type_name=type_name or None)
        return added

    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    lists = (("bytes_list", kinds.TYPE_BYTES, "BytesList"), ("float_list", kinds.TYPE_FLOAT, "FloatList"), ("int64_list", kinds.TYPE_INT64, "Int64List"))  # fmt: skip
    for _, kind, name in lists:
        message(name, ("value", 1, many, kind, ""))
    feature = message(
        "Feature",
        *(
            (field, number, one, kinds.TYPE_MESSAGE, f".luthier.tf.{name}")
            for number, (field, _, name) in enumerate(lists, 1)
        ),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message(
        "Features", ("feature", 1, many, kinds.TYPE_MESSAGE, ".luthier.tf.Features.FeatureEntry")
    )
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=kinds.TYPE_STRING)
    entry.field.add(
        name="value", number=2, label=one, type=kinds.TYPE_MESSAGE, type_name=".luthier.tf.Feature"
    )
    message("Example", ("features", 1, one, kinds.TYPE_MESSAGE, ".luthier.tf.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: Callable[[], Any] = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("luthier.tf.Example")
    )
    return made
