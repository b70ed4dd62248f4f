"""What a path given to `repic db add` or `repic db import` is, and the concepts in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repic_cli.concepts.drafts import Draft, Report
from repic_cli.concepts.formats.files import read_text
from repic_cli.concepts.formats.folders import read_folders
from repic_cli.concepts.formats.repic import FILES
from repic_cli.concepts.formats.tables import read_table
from repic_cli.data.images import SUFFIXES
from repic_plugins.errors import DataError, OptionError


def read_source(path: str | Path, pictures: Sequence[str | Path] = ()) -> tuple[list[Draft], Report]:
    """The concepts of a folder, a CSV or a JSON file. Raises `DataError`, `OptionError` for a lone picture."""
    path = Path(path)
    if path.is_dir():
        if any((path / name).is_file() for name in FILES):
            raise DataError(f"{path}: a database of RePIC or RAP; `repic db import DB {path}` reads it")
        return read_folders(path, pictures)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        raise OptionError(f"{path}: whose picture is it? give --name NAME")
    if suffix in (".csv", ".json"):
        return read_table(path, pictures)
    read_text(path)  # says what is wrong with an archive, a pickled file, or none
    raise DataError(
        f"{path}: not a source of concepts; give a folder with a sub-folder per concept, a .csv or .json file, "
        "or --name NAME and pictures"
    )
