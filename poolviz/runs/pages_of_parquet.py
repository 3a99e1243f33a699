"""How large the pages of a parquet file become, read from their headers before anything is unpacked.

A page's header says its unpacked size, up to 2 GB, and a reader makes room for that: a few kilobytes of zstd would take
all memory. The headers are Thrift's compact protocol (thrift-compact-protocol.md), of which only what is needed to skip
is read here. What two readers could take differently is refused: a field twice, fields out of order, sizes that are no
i32. Knows nothing of runs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

MOST_UNPACKED = 16 * 2**20  # bytes of all pages; four columns of 200,000 float64 have 6.4 million
MOST_GROUPS = 64
MOST_PAGES = 64  # of a column in a group of rows; Arrow writes 1 MB or 20,000 rows a page
MOST_HEADER = 1024  # bytes; a usual one has some 50
MOST_FIELD = 2**15  # Arrow keeps a field's number in 16 bits
WRITER = "parquet-cpp-arrow"  # of some others, Arrow reads on beyond a column's end
PLAIN_TYPES = ("INT32", "INT64", "FLOAT", "DOUBLE")
CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD")
KIND, UNPACKED, PACKED = 1, 2, 3  # fields of a page's header
I32 = 5  # Thrift's number of that type


def check_pages(data: bytes, metadata: Any, most_rows: int) -> None:
    """ValueError for a file that is not plain numbers of the length that it says, or unpacks to too much.

    data: the whole file; metadata: pyarrow's FileMetaData of it.
    """
    if metadata.num_rows > most_rows or metadata.num_row_groups > MOST_GROUPS:
        raise ValueError(f"predictions.parquet has more than {most_rows:,} rows, or too many groups of rows.")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) != metadata.num_rows:
        raise ValueError("predictions.parquet has another length than it says.")
    if not str(metadata.created_by).startswith(WRITER):
        raise ValueError("predictions.parquet was not written by Arrow, as those of a run are.")
    chunks = sorted(
        _chunk(group, metadata.schema, number) for group in groups for number in range(metadata.num_columns)
    )
    if any(stop > start for (_, stop), (start, _) in pairwise(chunks)):
        raise ValueError("predictions.parquet has columns that share bytes.")
    left = MOST_UNPACKED
    for start, stop in chunks:
        left -= sum(page_sizes(data, start, stop, left))


def _chunk(group: Any, schema: Any, number: int) -> tuple[int, int]:
    """First byte of a group's column, and the one behind its last; ValueError where it holds no plain numbers."""
    column = group.column(number)
    plain = column.physical_type in PLAIN_TYPES and column.compression in CODECS
    if not plain or schema.column(number).max_repetition_level or column.num_values != group.num_rows:
        raise ValueError(f"predictions.parquet holds no plain numbers in its column {number + 1}.")
    start = column.data_page_offset
    if column.has_dictionary_page:
        start = min(start, column.dictionary_page_offset)
    return start, start + column.total_compressed_size


def page_sizes(data: bytes, start: int, stop: int, most: int = MOST_UNPACKED) -> list[int]:
    """The unpacked sizes of the pages from byte `start` to `stop`.

    ValueError where they do not fit in there, and as soon as they are too many or together larger than `most`.
    """
    sizes: list[int] = []
    if not 0 < start <= stop <= len(data):
        raise ValueError("a column is not within the file")
    while start < stop:
        reader = _Reader(data, start, min(stop, start + MOST_HEADER))
        fields = reader.struct()
        if not all(0 <= fields.get(name, -1) < 2**31 for name in (KIND, UNPACKED, PACKED)):
            raise ValueError("a page does not say its size")
        start = reader.place + fields[PACKED]
        if start > stop:
            raise ValueError("a page is not within its column")
        sizes.append(fields[UNPACKED])
        if sum(sizes) > most or len(sizes) > MOST_PAGES:
            raise ValueError(f"predictions.parquet unpacks to more than {MOST_UNPACKED:,} bytes, or has many pages.")
    return sizes


class _Reader:
    """Reads past values of Thrift's compact protocol; ValueError at `stop`."""

    def __init__(self, data: bytes, place: int, stop: int) -> None:
        self.data, self.place, self.stop = data, place, stop

    def take(self, count: int = 1) -> int:
        """Go on by so many bytes; the last of them."""
        self.place += count
        if self.place > self.stop:
            raise ValueError("a page's header is torn")
        return self.data[self.place - 1]

    def varint(self) -> int:
        """An unsigned number of seven bits a byte."""
        value = shift = 0
        while True:
            byte = self.take()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("a number is too long")

    def struct(self, depth: int = 0) -> dict[int, int]:
        """The i32 among a struct's fields, by field; ValueError where their numbers do not rise."""
        found: dict[int, int] = {}
        field = 0
        while head := self.take():
            step, kind = head >> 4, head & 15
            before, field = field, field + step if step else _signed(self.varint())
            if not before < field < MOST_FIELD:
                raise ValueError("a page's header repeats a field, or has them out of order")
            value = self.skip(kind, depth)
            if kind == I32 and value is not None:
                found[field] = value
        return found

    def skip(self, kind: int, depth: int, in_list: bool = False) -> int | None:
        """One value of a kind; a whole number is given."""
        if depth > 8:
            raise ValueError("a page's header is too deep")
        if kind in (1, 2):  # true and false are their kind, but take a byte in a list
            self.take(int(in_list))
        elif kind == 3:
            self.take()
        elif kind in (4, 5, 6):
            return _signed(self.varint())
        elif kind == 7:
            self.take(8)
        elif kind == 8:
            self.take(self.varint())
        elif kind in (9, 10):
            head = self.take()
            for _ in range(head >> 4 if head >> 4 < 15 else self.varint()):
                self.skip(head & 15, depth + 1, in_list=True)
        elif kind == 12:
            self.struct(depth + 1)
        else:  # page headers have no maps
            raise ValueError("a page's header holds an unknown kind")
        return None


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
