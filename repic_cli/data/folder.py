"""Training records from a folder with one sub-folder of photographs per concept.

    things/bo/1.jpg 2.jpg ...      the name of the folder is the name of the concept
    things/bo/info.txt             optional: a sentence about it, shown with its reference picture
    things/thao/...

What the folder can teach: whether two pictures show the same thing (another picture of the concept: yes; a picture of
another concept, half of the time one of like colours: no), and to name one concept. For captions with several names
pictures are put side by side, since nobody knows which other concepts a photograph holds: honest, but easier than one
scene with several things. There are no boxes, so grounding cannot be taught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from repic_cli.data.composite import SideBySide
from repic_cli.data.images import SUFFIXES, FileImage, find_pictures
from repic_cli.data.mixing import apportion
from repic_cli.data.names import safe_name
from repic_cli.data.pictures import look_at
from repic_cli.data.records import MAX_INFO
from repic_plugins.errors import DataError
from repic_plugins.types import ImageRef, Names, Record, Reference, YesNo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TASKS = ("oct", "ict")
"""What can be made of a folder."""
INFO_FILE = "info.txt"
NEIGHBOURS = 3
"""Concepts of like colours from which the hard negatives come."""


@dataclass(frozen=True)
class Concept:
    """One sub-folder: the bare name, its text, its usable pictures and the mean of their colours (see `_colours`)."""

    name: str
    info: str
    images: tuple[FileImage, ...]
    colours: NDArray[np.float64]  # (48,)


@dataclass(frozen=True)
class Folder:
    """The concepts of a folder, and one line for each thing that was left out: `bad` pictures, and what else."""

    path: Path
    concepts: tuple[Concept, ...]
    notes: tuple[str, ...]
    bad: tuple[str, ...] = ()


def read_folder(path: str | Path) -> Folder:
    """Read the concepts of a folder. Pictures that cannot be used are noted and left out.

    Raises `DataError` if the folder is missing, a sub-folder's name cannot be a concept's, or no concept has two
    pictures (one as reference, one to ask about).
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    concepts: list[Concept] = []
    notes: list[str] = []
    bad: list[str] = []
    for place in sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith(".")):
        concept = _read_concept(place, notes, bad)
        if concept is not None:
            concepts.append(concept)
    _check_names(path, concepts)
    if not any(len(concept.images) > 1 for concept in concepts):
        hint = "; its pictures must lie in one sub-folder per concept" if find_pictures(path) else ""
        seen = f" ({'; '.join([*bad, *notes][:3])})" if bad or notes else ""
        raise DataError(f"{path}: no sub-folder with two usable pictures{hint}{seen}")
    return Folder(path, tuple(concepts), tuple(notes), tuple(bad))


def folder_records(
    folder: Folder,
    count: int,
    mix: Mapping[str, float],
    references: Mapping[int, float],
    seed: int,
    *,
    absent: float = 0.0,
    strangers: float = 0.0,
    most: int = 3,
) -> list[Record]:
    """`count` records that follow the weights of tasks and of reference pictures; the same for the same `seed`.

    `absent` is the share of the prompts with fewer than `most` references that show one more, not in the picture;
    `strangers` the share whose picture also has a concept that nothing names. Tasks that a folder cannot teach are
    left out of the mix, and so are more concepts than there are. Raises `DataError` if nothing is left.
    """
    possible = {task: mix.get(task, 0.0) for task in TASKS}
    if len(folder.concepts) < 2:
        possible["oct"] = 0.0  # there is nothing to say no to
    if not any(possible.values()):
        raise DataError(f"{folder.path}: its pictures cannot make any of the tasks {', '.join(mix) or '(none)'}")
    shares = apportion(count, possible)
    maker = _Maker(folder, Random(f"folder-{seed}"))
    records = [maker.same_or_not(index) for index in range(shares.get("oct", 0))]
    sizes = {n: weight for n, weight in references.items() if n <= len(folder.concepts) and weight > 0}
    for size, share in apportion(shares.get("ict", 0), sizes or {1: 1.0}).items():
        missing = absent if size < most else 0.0
        records += [maker.naming(size, index, missing, strangers) for index in range(share)]
    return records


class _Maker:
    """Draws records of a folder; whoever is drawn next is a concept that was drawn least."""

    def __init__(self, folder: Folder, rng: Random) -> None:
        self.folder, self.rng = folder, rng
        self.pairs = [concept for concept in folder.concepts if len(concept.images) > 1]
        self.near = {concept.name: _neighbours(concept, folder.concepts) for concept in folder.concepts}
        self._turns: list[Concept] = []

    def same_or_not(self, index: int) -> Record:
        """Two pictures of one concept, or of two; every second record is a yes."""
        concept, yes = self._next(), index % 2 == 0
        reference, query = self.rng.sample(concept.images, 2)
        shown, pair = concept, "positive"
        if not yes:
            others = [other for other in self.folder.concepts if other is not concept]
            hard = index % 4 == 3
            shown = self.rng.choice(self.near[concept.name] if hard else others)
            query, pair = self.rng.choice(shown.images), "hard negative" if hard else "negative"
        meta = {"identities": _identities([concept, shown]), "pair": pair}
        return Record(f"oct-{index}", "oct", query, (_reference(concept, reference),), YesNo(yes), meta=meta)

    def naming(self, size: int, index: int, absent: float = 0.0, strangers: float = 0.0) -> Record:
        """One picture of a concept, or several concepts side by side, to be captioned with their names.

        With probability `strangers` one more concept is in the picture, and with `absent` one more in the references.
        """
        chosen = [self._next()]
        while len(chosen) < size:
            pool = self.pairs if len(self.pairs) >= size else list(self.folder.concepts)
            chosen.append(self.rng.choice([concept for concept in pool if concept not in chosen]))
        others = [concept for concept in self.folder.concepts if concept not in chosen]
        self.rng.shuffle(others)
        unknown = [others.pop()] if others and self.rng.random() < strangers else []
        missing = [others.pop()] if others and self.rng.random() < absent else []
        references, queries = [], [self.rng.choice(concept.images) for concept in unknown]
        for concept in chosen:
            # A concept with a single picture is shown by the picture itself.
            pictures = self.rng.sample(concept.images, 2) if len(concept.images) > 1 else [*concept.images] * 2
            references.append(_reference(concept, pictures[0]))
            queries.append(pictures[1])
        references += [_reference(concept, self.rng.choice(concept.images)) for concept in missing]
        self.rng.shuffle(references)
        self.rng.shuffle(queries)
        query: ImageRef = queries[0] if len(queries) == 1 else SideBySide(tuple(queries))
        gone = tuple(concept.name for concept in missing)
        answer = Names(tuple(one.name for one in references if one.name not in gone), gone)
        meta: dict[str, Any] = {"identities": _identities([*chosen, *unknown, *missing])}
        meta |= {"composite": True} if len(queries) > 1 else {}
        return Record(f"ict-{size}-{index}", "ict", query, tuple(references), answer, meta=meta)

    def _next(self) -> Concept:
        if not self._turns:
            self._turns = self.rng.sample(self.pairs, len(self.pairs))
        return self._turns.pop()


def _identities(concepts: Sequence[Concept]) -> list[str]:
    """What is shown, as `repic data check --against` compares it."""
    return list(dict.fromkeys(f"folder:{concept.name}" for concept in concepts))


def _reference(concept: Concept, image: ImageRef) -> Reference:
    return Reference(concept.name, image, concept.info)


def _read_concept(place: Path, notes: list[str], bad: list[str]) -> Concept | None:
    import numpy as np

    paths = find_pictures(place)
    if not paths:
        others = sum(item.is_file() for item in place.iterdir())
        notes.append(f"{place}: no pictures ({others} other files; pictures end in {', '.join(sorted(SUFFIXES))})")
        return None
    try:
        name = safe_name(place.name)
    except DataError as error:
        raise DataError(f"{place}: the name of the folder is the concept's: {error}") from error
    images: list[FileImage] = []
    colours: list[NDArray[np.float64]] = []
    candidates = [FileImage(path) for path in paths]
    for image, outcome in zip(candidates, look_at(candidates, _colours), strict=True):
        if isinstance(outcome, DataError):
            bad.append(f"left out: {outcome}")
        else:
            images.append(image)
            colours.append(outcome)
    if not images:
        return None
    if len(images) == 1:
        notes.append(f"{place}: one usable picture only, so nothing can be asked about it; it serves as a stranger")
    return Concept(name, _read_info(place / INFO_FILE), tuple(images), np.mean(colours, axis=0))


def _read_info(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        with path.open(encoding="utf-8") as file:
            text = " ".join(file.read(4 * MAX_INFO).split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the text: {error}") from error
    if len(text) > MAX_INFO:
        raise DataError(f"{path}: the text has more than {MAX_INFO} characters")
    return text


def _check_names(path: Path, concepts: Sequence[Concept]) -> None:
    seen: dict[str, str] = {}
    for concept in concepts:
        key = concept.name.casefold()
        if key in seen:
            raise DataError(f"{path}: the folders {seen[key]!r} and {concept.name!r} would have the same name")
        seen[key] = concept.name


def _colours(image: ImageRef) -> NDArray[np.float64]:
    """For each of red, green and blue, the share of pixels below each of 16 levels: (48,).

    The sum of absolute differences of two of these is the distance that colours have to move, so that dark red is near
    red; plain histograms would find nothing in common.
    """
    import numpy as np

    small = np.asarray(image.open().resize((32, 32))).reshape(-1, 3)  # (1024, 3)
    levels = np.arange(16, 272, 16)
    return (small[:, :, None] < levels).mean(axis=0).ravel()


def _neighbours(concept: Concept, concepts: Sequence[Concept]) -> list[Concept]:
    """The other concepts whose colours are most alike."""
    import numpy as np

    others = [other for other in concepts if other is not concept]
    distance = [float(np.abs(concept.colours - other.colours).sum()) for other in others]
    ranked = sorted(range(len(others)), key=lambda index: (distance[index], others[index].name))
    return [others[index] for index in ranked[:NEIGHBOURS]]
