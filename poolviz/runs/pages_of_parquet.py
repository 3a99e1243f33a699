"""How large the pages of a parquet file become, read from their headers before anything is unpacked.

A page's header says its unpacked size, up to 2 GB, and a reader makes room for that: a few kilobytes of zstd would take
all memory. The headers are Thrift's compact protocol (thrift-compact-protocol.md), of which only what is needed to skip
is read here. Knows nothing of runs; imports nothing.
"""

from __future__ import annotations

from typing import Any

MOST_PAGE = 16 * 2**20  # bytes; 200,000 float64 have a tenth
MOST_GROUPS = 64
PLAIN_TYPES = ("INT32", "INT64", "FLOAT", "DOUBLE")
CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD")
UNPACKED, PACKED = 2, 3  # fields of a page's header


def check_pages(data: bytes, metadata: Any, most_rows: int) -> None:
    """ValueError for a file that is not plain numbers of the length that it says, or unpacks to too much.

    data: the whole file; metadata: pyarrow's FileMetaData of it.
    """
    if metadata.num_rows > most_rows or metadata.num_row_groups > MOST_GROUPS:
        raise ValueError(f"predictions.parquet has more than {most_rows:,} rows, or too many groups of rows.")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) != metadata.num_rows:
        raise ValueError("predictions.parquet has another length than it says.")
    for group in groups:
        for number in range(group.num_columns):
            column, schema = group.column(number), metadata.schema.column(number)
            plain = column.physical_type in PLAIN_TYPES and column.compression in CODECS
            if not plain or schema.max_repetition_level or column.num_values != group.num_rows:
                raise ValueError(f"predictions.parquet holds no plain numbers in its column {number + 1}.")
            starts = [column.data_page_offset]
            if column.has_dictionary_page:
                starts.append(column.dictionary_page_offset)
            start = min(starts)
            if sum(page_sizes(data, start, start + column.total_compressed_size)) > MOST_PAGE:
                raise ValueError(f"predictions.parquet unpacks to more than {MOST_PAGE:,} bytes in a column.")


def page_sizes(data: bytes, start: int, stop: int) -> list[int]:
    """The unpacked sizes of the pages from byte `start` to `stop`; ValueError where they do not fit in there."""
    sizes = []
    if not 0 < start <= stop <= len(data):
        raise ValueError("a column is not within the file")
    while start < stop:
        reader = _Reader(data, start)
        fields = reader.struct()
        unpacked, packed = fields.get(UNPACKED, -1), fields.get(PACKED, -1)
        start = reader.place + packed
        if unpacked < 0 or packed < 0 or start > stop:
            raise ValueError("a page is not within its column")
        sizes.append(unpacked)
    return sizes


class _Reader:
    """Reads past values of Thrift's compact protocol; ValueError at the end of the bytes."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    def take(self, count: int = 1) -> int:
        """Go on by so many bytes; the last of them."""
        self.place += count
        if self.place > len(self.data):
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
        """The whole numbers among a struct's fields, by field."""
        found: dict[int, int] = {}
        field = 0
        while head := self.take():
            step, kind = head >> 4, head & 15
            field = field + step if step else _signed(self.varint())
            value = self.skip(kind, depth)
            if value is not None:
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
