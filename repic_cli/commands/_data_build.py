"""`repic data build`: records from the paper's sources, or from data of one's own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repic_cli.commands import _show
from repic_cli.commands._data import Json, SkipBad, Workers, app, progress
from repic_plugins.errors import OptionError

if TYPE_CHECKING:
    from repic_cli.data.building.run import Built

PAPER = ("coco", "objects365", "celeba", "subjects200k", "refcoco")
WHAT = ("paper", "mix", *PAPER, "folder", "hf:NAME")


class NameKind(StrEnum):
    """Which names are drawn."""

    auto = "auto"
    human = "human"
    object = "object"


class Keep(StrEnum):
    """What becomes of pictures that are files."""

    link = "link"
    copy = "copy"


class BoxFormat(StrEnum):
    """How a column writes boxes."""

    xyxy = "xyxy"
    xywh = "xywh"


@app.command(
    epilog="Examples: repic data build paper --coco coco/ --objects365 o365/ --celeba celeba/ --subjects200k s200k/ "
    "--refcoco refer/ --out data/ | repic data build coco --coco coco/ --count 500 --out data/ | "
    "repic data build folder --folder things/ --out data/ | repic data build hf:pets/ --label-column breed --out data/"
)
def build(
    what: Annotated[str, typer.Argument(metavar="WHAT", help=f"{', '.join(WHAT)}: see docs/data.md.")],
    out: Annotated[Path, typer.Option(help="Folder to write; made if it is not there.")],
    coco: Annotated[Path | None, typer.Option(help="COCO: the folder with annotations/ and train2017/.")] = None,
    objects365: Annotated[Path | None, typer.Option(help="Objects365: the folder with its JSON and pictures.")] = None,
    celeba: Annotated[Path | None, typer.Option(help="CelebA: the folder with identity_CelebA.txt.")] = None,
    subjects200k: Annotated[Path | None, typer.Option(help="Subjects200K: the folder with Parquet files.")] = None,
    refcoco: Annotated[Path | None, typer.Option(help="RefCOCO/+/g: the folder with refcoco/, refcoco+/ ...")] = None,
    folder: Annotated[Path | None, typer.Option(help="Your pictures: one sub-folder per concept.")] = None,
    count: Annotated[int | None, typer.Option(help="Records (default: 2000, as the paper).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw (default: 2024, as the paper).")] = None,
    mix: Annotated[str | None, typer.Option(help="Tasks and weights, as in oct=0.5,vlt=0.2,ict=0.3.")] = None,
    references: Annotated[str | None, typer.Option(help="Names in a caption and weights, as in 1=0.8,2=0.2.")] = None,
    share: Annotated[str | None, typer.Option(help="Sources and weights, as in coco=2,celeba=1.")] = None,
    positives: Annotated[float | None, typer.Option(help="Share of oct whose answer is yes (default: 0.5).")] = None,
    names: Annotated[NameKind | None, typer.Option(help="Names to draw: human, object, or by category (auto).")] = None,
    pictures: Annotated[
        Keep | None, typer.Option(help="link: pictures stay where they are (default); copy: the folder can be moved.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="paper: do without sources that are not given.")] = False,
    config: Annotated[Path | None, typer.Option(help="These options from a TOML file.")] = None,
    split: Annotated[str | None, typer.Option(help="refcoco, celeba, hf: the split (default: train).")] = None,
    image_column: Annotated[str | None, typer.Option(help="hf: the pictures (default: image).")] = None,
    label_column: Annotated[str | None, typer.Option(help="hf: what is on them (default: label).")] = None,
    phrase_column: Annotated[str | None, typer.Option(help="hf: phrases for boxes; makes vlt records.")] = None,
    box_column: Annotated[str | None, typer.Option(help="hf: boxes, in pixels.")] = None,
    box_format: Annotated[BoxFormat | None, typer.Option(help="hf: corners (default), or corner and size.")] = None,
    keep_names: Annotated[bool, typer.Option("--keep-names", help="hf: the labels are names; draw none.")] = False,
    skip_bad: SkipBad = False,
    workers: Workers = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another build in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Build records from the paper's sources, or your own data.

    `repic train --data` reads them. The same options and seed give the same records; a build that was stopped goes on.
    """
    from repic_cli.data.building.options import make_options, read_config, weights
    from repic_cli.data.building.run import build as start

    places = {"coco": coco, "objects365": objects365, "celeba": celeba, "subjects200k": subjects200k,
              "refcoco": refcoco, "folder": folder}  # fmt: skip
    settings = read_config(config) if config else {}
    found = settings.pop("sources", {})
    found = {**(found if isinstance(found, dict) else {}), **{name: str(p) for name, p in places.items() if p}}
    given: dict[str, Any] = {
        "sources": _sources(what, found, partial) or None,
        "coco_pictures": found.get("coco") if what == "refcoco" else None,
        "count": count,
        "seed": seed,
        "mix": weights(mix, "--mix") if mix else None,
        "references": weights(references, "--references") if references else None,
        "share": weights(share, "--share") if share else None,
        "positives": positives,
        "names": names.value if names else None,
        "pictures": pictures.value if pictures else None,
        "split": split,
        "image_column": image_column,
        "label_column": label_column,
        "phrase_column": phrase_column,
        "box_column": box_column,
        "box_format": box_format.value if box_format else None,
        "keep_names": keep_names or None,
        "skip_bad": skip_bad or None,
    }
    options = make_options(given, settings)
    with progress() as tell:
        built = start(what, options, out, workers=workers, overwrite=overwrite, tell=tell)
    _print(built, as_json)


def _sources(what: str, found: dict[str, str], partial: bool) -> dict[str, str]:
    """The sources of a build, of those that were `found`. Raises `OptionError` if one is lacking, or not of it."""
    if what == "mix":
        wanted: tuple[str, ...] = tuple(name for name in found if name in PAPER or name.startswith("hf:"))
    else:
        wanted = PAPER if what == "paper" else (what,)
    if what.startswith("hf:"):
        found = {**found, what: what.removeprefix("hf:")}
    elif not set(wanted) <= {*PAPER, "folder"} and what != "mix":
        raise OptionError(f"no build {what!r}; there are {', '.join(WHAT)}")
    others = [name for name in found if name not in wanted and (what, name) != ("refcoco", "coco")]
    if others:
        raise OptionError(f"--{others[0]} does not go with build {what}")
    if not wanted:
        raise OptionError(f"mix needs one or more of {', '.join(f'--{name}' for name in PAPER)}")
    lost = [f"--{name}" for name in wanted if name not in found]
    if lost and not (partial and what == "paper" and len(lost) < len(wanted)):
        hint = "; --partial does without" if what == "paper" else ""
        raise OptionError(f"{what} needs {', '.join(lost)}{hint}")
    return {name: found[name] for name in wanted if name in found}


def _print(built: Built, as_json: bool) -> None:
    manifest = built.manifest
    if as_json:
        _show.print_json({**manifest, "folder": str(built.folder), "notes": list(built.notes), "fresh": built.fresh})
        return
    counts = manifest["counts"]
    verb = "built" if built.fresh else "was built before, as asked for:"
    typer.echo(f"{built.folder}: {verb} {counts['records']} records")
    for title, key in (("tasks", "kinds"), ("pairs", "pairs"), ("sources", "sources")):
        if key in counts:
            parts = [f"{name} {n} ({100 * n / counts['records']:.1f} %)" for name, n in counts[key].items()]
            typer.echo(f"  {title}: {', '.join(parts)}")
    for name, source in manifest["sources"].items():
        typer.echo(f"  licence of {name}: {source['licence']}")
    for line in built.notes:
        _show.note(line)
    typer.echo(f"Try: repic data check {built.folder} | repic train --data {built.folder}")
