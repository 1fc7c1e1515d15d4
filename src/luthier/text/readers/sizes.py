"""About how many bytes of text a file holds, so that progress can be told in its bytes before it is read."""

from pathlib import Path

from luthier.text.readers.compressed import guess_decompressed_bytes


def guess_unpacked_bytes(path: Path) -> int:
    """What a file unpacks to: by its own account (Parquet), by what its beginning does, or its own bytes where it is not packed.

    A file that is damaged, or that nobody here can read, counts with its own bytes: whoever reads it tells of it.
    """
    if path.suffix.lower() == ".parquet":
        return _parquet_bytes(path)
    return guess_decompressed_bytes(path)


def _parquet_bytes(path: Path) -> int:
    packed_bytes = path.stat().st_size
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return packed_bytes
    try:
        metadata = parquet.read_metadata(path)
    except (OSError, pyarrow.ArrowException):
        return packed_bytes
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    unpacked_bytes: int = sum(group.total_byte_size for group in groups)
    return max(packed_bytes, unpacked_bytes)
