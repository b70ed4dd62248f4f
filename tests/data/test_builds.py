"""Composition, determinism, going on, and what a build leaves behind."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repic_cli.data.building.compose import shares
from repic_cli.data.building.naming import draw_name, human_names, object_names
from repic_cli.data.building.options import BuildOptions, make_options, read_config
from repic_cli.data.names import safe_name
from repic_cli.data.sources.pool import Group, Pair, Part, Pool, Region, Shot

Run = Callable[..., tuple[int, str, str]]
SOURCES = ("coco", "objects365", "celeba", "subjects200k", "refcoco")


@pytest.fixture
def places(sources: dict[str, Path]) -> list[object]:
    return [part for name in SOURCES for part in (f"--{name}", sources[name])]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def pool(name: str, pairs: int = 0, groups: int = 0, regions: int = 0) -> Pool:
    shot = Shot(Path("x.jpg"))
    part = Part(shot, "i", "c")
    return Pool(
        name,
        pairs=[Pair(shot, shot, f"{name}:{i}", "c", "c") for i in range(pairs)],
        groups=[Group(shot, (part,) * (2 + i % 2)) for i in range(groups)],
        regions=[Region(shot, (0, 0, 1, 1), ("p",), "i") for _ in range(regions)],
    )


def given(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def test_paper_has_the_papers_composition() -> None:
    """2,000 records, 31 % of them for names, 4.7 % of all with several (paper B.4)."""
    pools = [pool("coco", 9000, 6000), pool("objects365", 9000, 6000), pool("celeba", 9000), pool("subjects200k", 9000)]
    options = make_options({"sources": {p.source: "x" for p in pools} | {"refcoco": "x"}}, {})
    wanted = shares([*pools, pool("refcoco", regions=9000)], options)
    counts = {kind: sum(by_source.values()) for kind, by_source in wanted.items()}
    assert counts == {"oct": 690, "vlt": 690, "ict-1": 527, "ict-2": 62, "ict-3": 31}
    assert sum(counts.values()) == 2000
    assert (counts["ict-1"] + counts["ict-2"] + counts["ict-3"]) / 2000 == pytest.approx(0.31)
    assert (counts["ict-2"] + counts["ict-3"]) / 2000 == pytest.approx(0.047, abs=0.001)
    assert given(wanted["oct"]) == {"coco": 173, "objects365": 173, "celeba": 172, "subjects200k": 172}
    assert given(wanted["ict-2"]) == {"coco": 31, "objects365": 31}
    assert given(wanted["vlt"]) == {"refcoco": 690}


def test_shares_follow_weights_as_far_as_sources_reach() -> None:
    pools = [pool("coco", 100), pool("celeba", 100)]
    options = make_options(
        {"sources": {"coco": "x", "celeba": "x"}, "share": {"coco": 3.0}, "mix": {"oct": 1.0}, "count": 80}, {}
    )
    assert shares(pools, options)["oct"] == {"coco": 60, "celeba": 20}
    options = options.model_copy(update={"count": 380})
    assert shares(pools, options)["oct"] == {"coco": 200, "celeba": 180}
    assert not given(shares([pool("coco", 1)], options)["oct"]), "there is nothing to say no to"


def test_names_are_of_faker_and_safe() -> None:
    from random import Random

    assert len(human_names()) > 500
    names = [draw_name(Random(seed), "person", "auto", ()) for seed in range(200)]
    assert set(names) <= set(human_names()) and len(set(names)) > 100
    objects = [draw_name(Random(seed), "cup", "object", ()) for seed in range(200)]
    adjectives, nouns = object_names()
    assert all(a in adjectives and n in nouns for a, n in (name.split("_") for name in objects))
    assert all(safe_name(name) == name for name in (*names, *objects))
    either = Counter("_" in draw_name(Random(seed), "cup", "auto", ()) for seed in range(200))
    assert 70 < either[True] < 130
    rare = draw_name(Random(3), "", "human", [name for name in human_names() if name != "Zachary"])
    assert rare == "Zachary"


def test_same_seed_same_bytes_whatever_the_threads(repic: Run, places: list[object], tmp_path: Path) -> None:
    files = {}
    for name, options in {"a": ("--workers", 1), "b": ("--workers", 7), "c": ("--seed", 5)}.items():
        assert repic("data", "build", "paper", *places, "--count", 40, "--out", tmp_path / name, *options)[0] == 0
        files[name] = (tmp_path / name / "records.jsonl").read_bytes(), (tmp_path / name / "manifest.json").read_bytes()
    assert files["a"] == files["b"]
    assert files["a"][0] != files["c"][0]


def stopped(repic: Run, root: Path, arguments: tuple[object, ...], out: Path) -> Path:
    """A build that ends while it opens pictures: one is not there, and comes back afterwards."""
    picture = sorted((root / "img_align_celeba").iterdir())[0]
    picture.rename(root / "away.jpg")
    code, _, err = repic(*arguments, out)
    assert code == 5 and f"{picture}: no such picture" in err
    assert [path.name for path in out.iterdir()] == [".building"]
    (root / "away.jpg").rename(picture)
    return root / "identity_CelebA.txt"


def test_stopped_build_goes_on_without_reading_the_source_again(repic: Run, make: Any, tmp_path: Path) -> None:
    root = make.celeba(tmp_path / "celeba")
    arguments = ("data", "build", "celeba", "--celeba", root, "--count", 16, "--out")
    assert repic(*arguments, tmp_path / "whole")[0] == 0
    file = stopped(repic, root, arguments, tmp_path / "parts")
    about = file.stat()
    file.write_bytes(b"?" * about.st_size)  # of the same size and time, so that nobody looks into it
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert repic(*arguments, tmp_path / "parts")[0] == 0
    for name in ("records.jsonl", "manifest.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"records.jsonl", "manifest.json"}


def test_source_that_has_changed_is_read_again(repic: Run, make: Any, tmp_path: Path) -> None:
    root = make.celeba(tmp_path / "celeba")
    arguments = ("data", "build", "celeba", "--celeba", root, "--count", 8, "--out")
    file = stopped(repic, root, arguments, tmp_path / "out")
    file.write_text("\n".join(file.read_text().splitlines()[:4]) + "\n")
    assert repic(*arguments, tmp_path / "out")[0] == 0
    assert {i for row in rows(tmp_path / "out") for i in row["meta"]["identities"]} == {"celeba:2880", "celeba:2881"}


def test_finished_build_is_left_alone(repic: Run, sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("data", "build", "coco", "--coco", sources["coco"], "--out", out)
    assert repic(*arguments, "--count", 8)[0] == 0
    before = (out / "records.jsonl").stat().st_mtime_ns
    code, text, _ = repic(*arguments, "--count", 8)
    assert code == 0 and "was built before" in text
    assert (out / "records.jsonl").stat().st_mtime_ns == before
    code, _, err = repic(*arguments, "--count", 9)
    assert code == 5 and "holds another build; give another --out, or --overwrite" in err
    assert len(rows(out)) == 8
    assert repic(*arguments, "--count", 9, "--overwrite")[0] == 0
    assert len(rows(out)) == 9


def test_folder_with_other_things_is_not_touched(repic: Run, sources: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("precious")
    code, _, err = repic("data", "build", "coco", "--coco", sources["coco"], "--out", tmp_path / "out", "--overwrite")
    assert code == 5 and "holds other things (thesis.tex)" in err


def test_copied_pictures_make_a_folder_that_can_be_moved(repic: Run, places: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert repic("data", "build", "paper", *places, "--count", 20, "--pictures", "copy", "--out", out)[0] == 0
    out.rename(tmp_path / "moved")
    for row in rows(tmp_path / "moved"):
        image = row["image"] if isinstance(row["image"], str) else row["image"]["path"]
        assert image.startswith("pictures/")
    assert repic("data", "check", tmp_path / "moved")[0] == 0


def test_tables_of_one_name_in_two_folders(repic: Run, make: Any, tmp_path: Path) -> None:
    for number, folder in enumerate(("one", "two")):
        made = [make.subject_row(100 * number + i, f"thing {number} {i}", "Tools") for i in range(4)]
        make.parquet(tmp_path / "s" / folder / "train-0.parquet", made)
    out = tmp_path / "out"
    options = ("--subjects200k", tmp_path / "s", "--count", 12, "--out", out)
    assert repic("data", "build", "subjects200k", *options)[0] == 0
    contents = {path.read_bytes() for path in (out / "pictures/subjects200k").iterdir()}
    assert len(contents) == 8
    assert repic("data", "check", out)[0] == 0


def test_manifest_counts_and_json(repic: Run, places: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text, _ = repic("data", "build", "paper", *places, "--count", 40, "--out", out, "--json")
    assert code == 0
    told, manifest = json.loads(text), json.loads((out / "manifest.json").read_text())
    assert told["counts"] == manifest["counts"]
    assert manifest["counts"]["records"] == len(rows(out)) == 40
    assert manifest["counts"]["tasks"] == dict(sorted(Counter(row["task"] for row in rows(out)).items()))
    assert set(manifest["sources"]) == set(SOURCES)
    assert all(source["licence"] and source["files"] and source["rows"] for source in manifest["sources"].values())
    assert manifest["options"]["seed"] == 2024


def test_options_come_from_a_file_too(repic: Run, sources: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(f'count = 10\nnames = "human"\n[sources]\ncoco = "{sources["coco"]}"\n[mix]\noct = 1.0\n')
    assert repic("data", "build", "mix", "--config", config, "--out", tmp_path / "out", "--count", 12)[0] == 0
    found = rows(tmp_path / "out")
    assert len(found) == 12, "the command line wins"
    assert {row["task"] for row in found} == {"oct"}
    assert all("_" not in row["references"][0]["name"] for row in found)
    assert repic("data", "build", "coco", "--config", config, "--out", tmp_path / "alone")[0] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("paper", "--coco", "x"), "paper needs --objects365, --celeba, --subjects200k, --refcoco; --partial does"),
        (("coco",), "coco needs --coco"),
        (("voc",), "no build 'voc'; there are paper, mix, coco"),
        (("mix",), "mix needs one or more of --coco"),
        (("coco", "--coco", "x", "--mix", "oct"), "--mix oct: write name=weight"),
        (("coco", "--coco", "x", "--mix", "rec=1"), "no source makes records for 'rec'"),
        (("coco", "--coco", "x", "--references", "4=1"), "references"),
        (("coco", "--coco", "x", "--share", "celeba=1"), "share: 'celeba' is none of the sources (coco)"),
        (("coco", "--coco", "x", "--count", "0"), "count: "),
        (("coco", "--coco", "x", "--positives", "2"), "positives: "),
        (("refcoco", "--refcoco", "."), "its pictures are those of COCO"),
    ],
)
def test_bad_options_are_one_line(
    repic: Run, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(make.refcoco(tmp_path / "refer"))
    code, out, err = repic("data", "build", *options, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not (tmp_path / "out").exists()


def test_missing_folder(repic: Run, tmp_path: Path) -> None:
    code, _, err = repic("data", "build", "coco", "--coco", tmp_path / "no", "--out", tmp_path / "out")
    assert (code, err) == (5, f"error: {tmp_path / 'no'}: no such folder\n")


def test_partial_paper(repic: Run, sources: dict[str, Path], tmp_path: Path) -> None:
    places = ("--coco", sources["coco"], "--celeba", sources["celeba"])
    code, _, err = repic("data", "build", "paper", *places, "--partial", "--count", 12, "--out", tmp_path / "out")
    assert code == 0
    assert "0 records of vlt instead of 4: the sources have no more" in err


def test_own_folder(repic: Run, make: Any, tmp_path: Path) -> None:
    for number, name in enumerate(("bo", "thao", "gus")):
        for index in range(4):
            make.save(tmp_path / "things" / name / f"{index}.jpg", 10 * number + index)
    (tmp_path / "things/bo/info.txt").write_text("A brown dog.")
    out = tmp_path / "out"
    options = ("--folder", tmp_path / "things", "--count", 40, "--out", out)
    assert repic("data", "build", "folder", *options)[0] == 0
    found = rows(out)
    assert {len(row["references"]) for row in found if row["task"] == "ict"} == {1, 2, 3}
    assert all(row["image"].startswith("pictures/folder/") for row in found if len(row["references"]) > 1)
    assert {ref["info"] for row in found for ref in row["references"] if ref["name"] == "bo"} == {"A brown dog."}
    negative = [row for row in found if row["answer"].get("yes") is False]
    assert negative and all(len(row["meta"]["identities"]) == 2 for row in negative), "both things are shown"
    assert repic("data", "check", out)[0] == 0
    copied = tmp_path / "copied"
    assert repic("data", "build", "folder", *options[:-1], copied, "--pictures", "copy")[0] == 0
    shown = {image for row in rows(copied) for image in (row["image"], *(ref["image"] for ref in row["references"]))}
    assert all(image.startswith("pictures/folder/") for image in shown)


def test_bad_picture_of_an_own_folder(repic: Run, make: Any, tmp_path: Path) -> None:
    for number, name in enumerate(("bo", "thao")):
        for index in range(3):
            make.save(tmp_path / "things" / name / f"{index}.jpg", 10 * number + index)
    (tmp_path / "things/bo/1.jpg").write_bytes(b"")
    options = ("--folder", tmp_path / "things", "--count", 8, "--out", tmp_path / "out")
    code, _, err = repic("data", "build", "folder", *options)
    assert code == 5 and err.count("\n") == 1 and "bo/1.jpg" in err and "--skip-bad" in err
    assert not (tmp_path / "out").exists()
    code, _, err = repic("data", "build", "folder", *options, "--skip-bad")
    assert code == 0 and "1 pictures could not be used" in err and "bo/1.jpg" in err


@pytest.mark.parametrize(
    ("what", "options", "says"),
    [
        ("folder", ("--folder", "x", "--positives", "1"), "positives: changes nothing of folder"),
        ("coco", ("--coco", "x", "--split", "val"), "split: changes nothing of coco"),
        ("celeba", ("--celeba", "x", "--keep-names"), "keep_names: changes nothing of celeba"),
        ("coco", ("--coco", "x", "--celeba", "y"), "--celeba does not go with build coco"),
        ("mix", ("--coco", "x", "--folder", "y"), "--folder does not go with build mix"),
        ("mix", (), "mix needs one or more of --coco"),
        ("hf:x", ("--folder", "y"), "--folder does not go with build hf:x"),
    ],
)
def test_what_would_change_nothing_is_refused(
    repic: Run, tmp_path: Path, what: str, options: tuple[str, ...], says: str
) -> None:
    code, _, err = repic("data", "build", what, *options, "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1) and says in err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory, make: Any) -> Path:
    """One data set in the forms that `datasets` knows."""
    import datasets

    root = tmp_path_factory.mktemp("hf")
    names = ["rex", "fido", "tom"]
    made = [
        {"image": {"bytes": make.encoded(make.picture(5000 + i)), "path": None}, "label": i // 3, "who": names[i // 3],
         "phrase": f"thing {i}", "box": [10.0, 10.0, 80.0, 70.0]}
        for i in range(9)
    ]  # fmt: skip
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names), "who": datasets.Value("string"),
         "phrase": datasets.Value("string"), "box": datasets.List(datasets.Value("float32"))}
    )  # fmt: skip
    data = datasets.Dataset.from_list(made, features=features)
    data.save_to_disk(str(root / "disk"))
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(root / "dict"))
    (root / "parquet").mkdir()
    data.to_parquet(str(root / "parquet/train-00000.parquet"))
    for index, row in enumerate(made):
        make.save(root / "imagefolder" / row["who"] / f"{index}.jpg", 5000 + index)
    return root


@pytest.mark.parametrize(
    ("place", "options", "names"),
    [
        ("disk", ("--keep-names",), True),
        ("dict", ("--split", "test", "--label-column", "who", "--keep-names"), True),
        ("parquet", (), False),
        ("parquet/train-00000.parquet", ("--keep-names",), True),
        ("imagefolder", ("--keep-names",), True),
    ],
)
def test_data_sets_of_labels(
    repic: Run, data_sets: Path, tmp_path: Path, place: str, options: tuple[str, ...], names: bool
) -> None:
    out = tmp_path / "out"
    code, _, err = repic("data", "build", f"hf:{data_sets / place}", *options, "--count", 12, "--out", out)
    assert code == 0, err
    found = rows(out)
    assert len(found) == 12
    shown = {reference["name"] for row in found for reference in row["references"]}
    assert (shown == {"rex", "fido", "tom"}) == names
    assert repic("data", "check", out)[0] == 0


def test_data_set_of_boxes(repic: Run, data_sets: Path, tmp_path: Path) -> None:
    columns = ("--phrase-column", "phrase", "--box-column", "box", "--box-format", "xywh")
    assert repic("data", "build", f"hf:{data_sets / 'disk'}", *columns, "--out", tmp_path / "out")[0] == 0
    found = rows(tmp_path / "out")
    assert {row["phrase"] for row in found} == {f"thing {i}" for i in range(9)}
    assert {tuple(row["answer"]["box"]) for row in found} == {(10.0, 10.0, 90.0, 80.0)}


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--label-column", "breed"), 5, "has no column 'breed'; there are image, label, who, phrase, box"),
        (("--image-column", "picture"), 5, "has no column 'picture'"),
        (("--phrase-column", "phrase"), 2, "phrase_column and box_column belong together"),
        (("--split", "validation"), 2, "has no split 'validation'; there are train, test"),
    ],
)
def test_bad_columns_are_one_line(
    repic: Run, data_sets: Path, tmp_path: Path, options: tuple[str, ...], code: int, says: str
) -> None:
    found, _, err = repic("data", "build", f"hf:{data_sets / 'dict'}", *options, "--out", tmp_path / "out")
    assert (found, err.count("\n")) == (code, 1)
    assert says in err


def test_options_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    from repic_plugins.errors import OptionError

    (tmp_path / "a.toml").write_text("cuont = 3")
    with pytest.raises(OptionError, match="cuont"):
        make_options({"sources": {"coco": "x"}}, read_config(tmp_path / "a.toml"))
    assert isinstance(make_options({"sources": {"coco": "x"}}, {}), BuildOptions)
