"""Changes to inputs that keep their containers whole, so that what stands behind a container is reached.

A mutator takes bytes, a source of chance, and `grain`, which changes bytes without knowing what they are (libFuzzer's
own mutations, or `plain_grain`). What it cannot take apart it hands to `grain`.
"""

import io
import json
import struct
import warnings
import zipfile
import zlib
from urllib.parse import parse_qsl, urlencode

DEEP = 3000  # levels of nesting: beyond what Python's readers go down
TEXTS = (
    "",
    "\n",
    "a\nb",
    "<script>alert(1)</script>",
    "![x](https://example.org/x.png)",
    "../../etc/passwd",
    "/etc/passwd",
    "https://example.org/model",
    "C:\\x",
    "\x1b[2J",
    "\u202e",
    "\u2028",
    "\ud800",
    "\0",
    "null",
    "nan",
    "1e400",
    "9" * 5000,
    "x" * 3000,
    "`",
    "٣",
)
NUMBERS = (0, 1, -1, 2**31, 2**63, -(2**63), 10**40, 10**400, 0.5, 1e-320, 1e99, 1e308, float("nan"), float("inf"))
VALUES = (*TEXTS, *NUMBERS, True, False, None, [], {}, [[]], {"": {}}, [0] * 200, {"loss": 0.1})


def plain_grain(source):
    """Changes of bytes at random places, for where there is no libFuzzer."""

    def grain(data):
        changed = bytearray(data)
        for _ in range(source.randint(1, 4)):
            at = source.randint(0, len(changed))
            kind = source.choice(("set", "insert", "cut", "repeat"))
            if kind == "set" and at < len(changed):
                changed[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
            elif kind == "insert":
                changed[at:at] = source.randbytes(source.randint(1, 4))
            elif kind == "cut":
                del changed[at : at + source.randint(1, 40)]
            else:
                changed[at:at] = changed[at : at + source.randint(1, 40)]
        return bytes(changed)

    return grain


# ---- JSON ----


def change_json(data, source, grain):
    """Another value, name or nothing at one place of a JSON document."""
    try:
        document = {"": json.loads(data)}  # so that the whole document is a place, too
    except (ValueError, RecursionError):
        return grain(data)
    if source.random() < 0.02:
        return b"[" * DEEP + b"]" * DEEP
    holder, key = source.choice(list(_places(document)))
    action = source.choice(("value", "value", "near", "near", "delete", "rename"))
    if action == "value":
        holder[key] = source.choice(VALUES)
    elif action == "near":
        holder[key] = _near(holder[key], source, grain)
    elif action == "delete" and holder is not document:
        del holder[key]
    elif isinstance(holder, dict) and holder is not document:
        holder[source.choice((*TEXTS, *holder))] = holder[key]
    try:
        return json.dumps(document[""]).encode()
    except (ValueError, RecursionError):
        return data


def _places(value):
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _near(value, source, grain):
    """A value of the same kind, not far away: one that checks of kinds let pass."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + source.choice((-1, 1, 10, -value, value))
    if isinstance(value, float):
        return source.choice((-value, value * 10, value / 10, value + 1, value // 1))
    if isinstance(value, str):
        return grain(value.encode(errors="replace")).decode(errors="replace")
    return source.choice(VALUES)


def change_lines(data, source, grain):
    """One line of JSON changed, left out, told twice, or put elsewhere."""
    lines = data.split(b"\n")
    at = source.randrange(len(lines))
    action = source.choice(("change", "change", "change", "drop", "twice", "move"))
    if action == "change":
        lines[at] = change_json(lines[at], source, grain)
    elif action == "twice":
        lines.insert(at, lines[at])
    else:
        line = lines.pop(at)
        if action == "move":
            lines.insert(source.randint(0, len(lines)), line)
    return b"\n".join(lines)


# ---- tables and weights ----


def change_parquet(data, source, grain):
    """A table with other numbers, kinds or facts, written anew; or other bytes in its footer or its pages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if source.random() < 0.5:
        cut = source.choice((0, 4, max(0, len(data) - source.randint(8, 3000))))
        return data[:cut] + grain(data[cut:])
    try:
        table = pq.read_table(pa.BufferReader(data))
        table = source.choice((_other_numbers, _other_facts, _other_rows))(table, source, grain)
        written = io.BytesIO()
        pq.write_table(table, written, compression=source.choice(("snappy", "gzip", "zstd", "none")))
        return written.getvalue()
    except Exception:  # pyarrow raises almost anything on damaged bytes
        return grain(data)


def _other_numbers(table, source, grain):
    import pyarrow as pa

    at = source.randrange(table.num_columns)
    values = table.column(at).to_pylist()
    if values:
        values[source.randrange(len(values))] = source.choice((*NUMBERS[:7], None, float("nan"), 1.5))
    kind = source.choice((table.schema.field(at).type, pa.int64(), pa.float64(), pa.string()))
    return table.set_column(at, table.schema.field(at).name, pa.array(values, kind))


def _other_facts(table, source, grain):
    facts = dict(table.schema.metadata or {})
    name = source.choice((b"PANDAS_ATTRS", b"pandas", *facts))
    facts[name] = change_json(facts.get(name, b"{}"), source, grain)
    return table.replace_schema_metadata(facts)


def _other_rows(table, source, grain):
    import pyarrow as pa

    start = source.randint(0, table.num_rows)
    return pa.concat_tables([table.slice(start, source.randint(0, 20)), table.slice(0, source.randint(0, 400))])


def change_weights(data, source, grain):
    """Other JSON in the header of a safetensors file, its length told rightly or wrongly."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) or source.random() < 0.2:
        return grain(data)
    header = change_json(data[8 : 8 + length], source, grain)
    told = len(header) if source.random() < 0.9 else source.choice((0, length, 2**20 + 1, 2**40, 2**64 - 1))
    return told.to_bytes(8, "little") + header + data[8 + length :]


# ---- zips ----

KINDS = {".json": change_json, ".jsonl": change_lines, ".parquet": change_parquet, ".safetensors": change_weights}
NAMES = ("../config.json", "/config.json", "a/../config.json", "a\\config.json", "a/b/config.json", "x.pkl", "stop", "")
ATTRIBUTES = (0, 0o120777 << 16, 0o100644 << 16, 0o040755 << 16, 0o060644 << 16, 0x10, 0x400)


def change_zip(data, source, grain):
    """One file of a zip changed by its kind, or an entry's name or attributes, or the zip's own bytes."""
    files = unzipped(data)
    if not files or source.random() < 0.1:
        return grain(data)
    packed = data
    if source.random() < 0.85:
        rare = source.random() < 0.9  # a table that is new takes a second to read
        name = source.choice([name for name in files if not (rare and name.endswith(".parquet"))] or list(files))
        change = KINDS.get(f".{name.rpartition('.')[2]}", lambda content, source, grain: grain(content))
        files[name] = change(files[name], source, grain)
        packed = zipped(files, "run/" if source.random() < 0.5 else "")
    else:
        packed = _other_entries(files, source)
    return _lying(packed, source) if source.random() < 0.05 else packed


def unzipped(data):
    """Name -> content of a zip's files, small ones alone; empty for what is no zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            small = [info for info in archive.infolist() if info.file_size < 2**20 and not info.is_dir()]
            return {info.filename.rpartition("/")[2]: archive.read(info) for info in small[:20]}
    except Exception:  # zipfile raises almost anything on damaged bytes
        return {}


def zipped(files, top="", attributes=None):
    """A zip of name -> content, stored."""
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w") as archive:
        warnings.simplefilter("ignore")  # names that are there twice
        for name, content in files.items() if isinstance(files, dict) else files:
            info = zipfile.ZipInfo(f"{top}{name}")
            info.external_attr = (attributes or {}).get(name, 0)
            archive.writestr(info, content)
    return packed.getvalue()


def _other_entries(files, source):
    entries = list(files.items())
    at = source.randrange(len(entries))
    name, content = entries[at]
    action = source.choice(("rename", "drop", "twice", "attributes", "deflate"))
    if action == "attributes":
        return zipped(files, attributes={name: source.choice(ATTRIBUTES)})
    if action == "deflate":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, bytes_of_it in entries:
                archive.writestr(each, bytes_of_it)
        return packed.getvalue()
    if action == "drop":
        del entries[at]
    elif action == "twice":
        entries.insert(source.randint(0, len(entries)), (name, content))
    else:
        entries[at] = (source.choice((*NAMES, *files, "run/" + name)), content)
    return zipped(entries)


def _lying(packed, source):
    """One field of one entry in the zip's list changed: flags, method, checksum, sizes, lengths, place."""
    places = [at for at in range(len(packed) - 46) if packed.startswith(b"PK\x01\x02", at)]
    if not places:
        return packed
    field, width = source.choice(((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)))
    at = source.choice(places) + field
    value = source.choice((0, 1, 8, 12, 2 ** (8 * width) - 1, source.randrange(2 ** (8 * width))))
    return packed[:at] + value.to_bytes(width, "little") + packed[at + width :]


# ---- pictures ----


def change_picture(data, source, grain):
    """A chunk of a PNG changed, with the right checksum; of other kinds mostly bytes near the beginning."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and source.random() < 0.8:
        chunks = list(_chunks(data))
        if chunks:
            at = source.randrange(len(chunks))
            kind, content = chunks[at]
            if kind == b"IHDR" and source.random() < 0.5 and len(content) == 13:
                sizes = [source.choice((1, 4, 100, 8192, 8193, 2**31 - 1)) for _ in range(2)]
                chunks[at] = kind, struct.pack(">II", *sizes) + content[8:]
            elif source.random() < 0.2:
                chunks.insert(
                    source.randint(0, len(chunks)), (source.choice((b"tRNS", b"eXIf", b"acTL", kind)), content)
                )
            else:
                chunks[at] = kind, grain(content)
            return data[:8] + b"".join(
                struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
                for kind, content in chunks
            )
    cut = source.choice((16, 64, 256, len(data)))
    return grain(data[:cut]) + data[cut:]


def _chunks(data):
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


# ---- addresses and texts ----


def change_address(data, source, grain):
    """One value of `page?name=value&...` changed, or a part left out, doubled or added."""
    text = data.decode(errors="replace")
    page, _, query = text.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if not pairs or source.random() < 0.1:
        return grain(data)
    at = source.randrange(len(pairs))
    name, value = pairs[at]
    action = source.choice(("value", "grain", "grain", "list", "name", "drop"))
    if action == "value":
        value = source.choice((*TEXTS, "0", "1", "-1", "2.5", "yes", "no"))
    elif action == "grain":
        value = grain(value.encode(errors="replace")).decode(errors="replace")
    elif action == "list":
        value = source.choice((",", ";")).join(
            source.choices(value.replace(";", ",").split(","), k=source.randint(1, 9))
        )
    elif action == "name":
        name = source.choice([each for each, _ in pairs])
    pairs[at : at + 1] = [] if action == "drop" else [(name, value)]
    return f"{page}?{urlencode(pairs, errors='replace')}".encode()


LITERALS = (
    '""',
    '"x"',
    '"a\\nb"',
    "'''\na\nb'''",
    '"\\u0000"',
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "true",
    "[]",
    "{}",
    "[[1]]",
    "1979-05-27",
    "0x" + "f" * 400,
    "9" * 5000,
    "[" * DEEP + "]" * DEEP,
    '"feature-maps?operators=max"',
    '"//[x"',
    '"max.output > 1"',
    '"{max.output:.2f}"',
)


def change_toml(data, source, grain):
    """The value of one line of a TOML file changed, or a line left out, told twice or put elsewhere."""
    lines = data.decode(errors="replace").split("\n")
    at = source.randrange(len(lines))
    action = source.choice(("literal", "grain", "grain", "name", "drop", "twice", "move"))
    name, sign, value = lines[at].partition("=")
    if action == "literal":
        lines[at] = f"{name}= {source.choice(LITERALS)}"
    elif action == "grain":
        lines[at] = grain(lines[at].encode()).decode(errors="replace")
    elif action == "name":
        lines[at] = (
            f"{source.choice(TEXTS[3:8] + ('answer', 'then', 'wait', 'kind', 'unit', 'tolerance'))}{sign}{value}"
        )
    elif action == "twice":
        lines.insert(at, lines[at])
    else:
        line = lines.pop(at)
        if action == "move":
            lines.insert(source.randint(0, len(lines)), line)
    return "\n".join(lines).encode(errors="replace")


def change_bytes(data, source, grain):
    """As they come; now and then one of the texts that readers stumble over is put in."""
    if source.random() < 0.3:
        at = source.randint(0, len(data))
        return data[:at] + source.choice(TEXTS).encode(errors="surrogatepass") + data[at:]
    return grain(data)
