"""Search indexes as files beside a database: whole or not there, and never believed without their checksum.

A file is the ids, the bytes of faiss, a description in JSON, its length, and the SHA-256 of all before. Only indexes
made by `repic` are read; what the database says wins over what is in them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from repic_cli.concepts.index_kinds import FaissIndex, library
from repic_cli.files import replacing
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.concepts.changes import Moment
    from repic_cli.concepts.vectors import Ids

FOLDER = "index"
_FORMAT = 1
_MAGIC = b"repic-index"
_END = struct.Struct("<Q32s")  # length of the description, SHA-256
_BLOCK = 1 << 22


class BrokenIndex(Exception):
    """The file cannot be used, and why; it is made anew."""


@dataclass(frozen=True)
class Description:
    """What an index file says of itself. `recall` was measured when it was made (None: an exact index)."""

    encoder: str
    dimension: int
    kind: str
    factory: str
    moment: Moment
    rows: int
    effort: int
    recall: float | None
    seconds: float
    made: str
    format: int = _FORMAT


def index_path(folder: Path, encoder: str) -> Path:
    """The index file of an encoder in the database at `folder`; the id itself may hold any character."""
    return folder / FOLDER / f"{hashlib.sha256(encoder.encode()).hexdigest()[:16]}.index"


def write_index(path: Path, description: Description, ids: Ids, index: FaissIndex) -> None:
    """Write the file beside `path`, then put it in its place in one step. Raises `OSError` that names it."""
    faiss = library()
    with replacing(path) as file:
        digest = hashlib.sha256()

        def put(data: bytes) -> int:
            digest.update(data)
            file.write(data)
            return len(data)

        put(_MAGIC)
        put(np.ascontiguousarray(ids, "<i8").tobytes())
        faiss.write_index(index.index, faiss.PyCallbackIOWriter(put))
        text = json.dumps(asdict(description)).encode()
        put(text)
        put(struct.pack("<Q", len(text)))
        file.write(digest.digest())


def read_index(path: Path, encoder: str, dimension: int) -> tuple[Description, Ids, FaissIndex]:
    """The index in the file. Raises `BrokenIndex` when it is missing, damaged, of another encoder or another repic."""
    faiss = library()
    try:
        with path.open("rb") as file:
            end = _checked_end(file)
            file.seek(end - _END.size)
            (length, _) = _END.unpack(file.read(_END.size))
            file.seek(end - _END.size - length)
            description = _description(json.loads(file.read(length)))
            if (description.encoder, description.dimension) != (encoder, dimension):
                raise BrokenIndex(f"it is of encoder {clean(description.encoder, 80)}")
            file.seek(len(_MAGIC))
            ids = np.frombuffer(file.read(16 * description.rows), "<i8").reshape(-1, 2).astype(np.int64)
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read))
    except FileNotFoundError as error:
        raise BrokenIndex("there is none yet") from error
    except BrokenIndex:
        raise
    except Exception as error:  # files, JSON, numpy and faiss have no common base
        raise BrokenIndex(f"it is damaged: {clean(error, 120)}") from error
    if index.ntotal != len(ids) or index.d != dimension:
        raise BrokenIndex("its parts do not fit together")
    return description, ids, FaissIndex(index, description.kind, description.effort)


def _checked_end(file: BinaryIO) -> int:
    """The length of the file, whose checksum was right. faiss reads only what passed: it trusts its input."""
    size = file.seek(0, os.SEEK_END)
    if size < len(_MAGIC) + _END.size:
        raise BrokenIndex("it is cut off")
    file.seek(0)
    digest, left = hashlib.sha256(), size - 32
    while left:
        block = file.read(min(_BLOCK, left))
        if not block:
            raise BrokenIndex("it is cut off")
        digest.update(block)
        left -= len(block)
    if file.read(32) != digest.digest():
        raise BrokenIndex("its checksum is wrong")
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise BrokenIndex("it is no index of repic")
    return size


def _description(values: Any) -> Description:
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise BrokenIndex("it was made by another version of repic")
    return Description(**{**values, "moment": tuple(values["moment"])})


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Only one process at a time makes an index of the database at `folder`; the others wait here.

    What a killed one left half written is cleared away. A folder that cannot be written to has no lock and needs none.
    """
    place = folder / FOLDER
    try:
        place.mkdir(exist_ok=True)
        lock = (place / ".lock").open("a+b")
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for partial in place.glob(".*.partial"):
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        yield
