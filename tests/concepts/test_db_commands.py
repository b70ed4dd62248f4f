"""`repic db` beyond single concepts, as people type it: sources, updates, exchange, checks; exit codes and JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from repic_cli.app import main

Photo = Callable[..., Path]
Repic = Callable[..., tuple[int, str, str]]


@pytest.fixture
def repic(capfd: pytest.CaptureFixture[str]) -> Repic:
    """Run `repic db` in this process: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["db", *map(str, args)])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture
def things(tmp_path: Path, photo: Photo) -> Path:
    """A folder of two concepts, one of which has a picture that cannot be read."""
    folder = tmp_path / "things"
    for seed, name in enumerate(("bo/1.png", "bo/2.png", "thao/1.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(photo(f"{seed}.png", seed), folder / name)
    (folder / "thao/damaged.jpg").write_bytes(b"x")
    return folder


def test_a_life_of_a_database(repic: Repic, tmp_path: Path, things: Path, photo: Photo) -> None:
    db = tmp_path / "mydb"
    assert repic("create", db)[1] == f"made {db} with the encoder embedded\n"
    assert repic("create", db)[0] == 6
    code, out, err = repic("add", db, things)
    assert (code, out.splitlines()[1]) == (0, f"{db} has 2 concepts")
    assert out.startswith(f"{things}: 2 concepts read, 2 added, 3 pictures, 3 encoded")
    assert "no picture: thao: " in err and "damaged.jpg: not a picture" in err

    code, out, _ = repic(
        "update", db, "bo", "--name", "Bobo", "--category", "dog", "--picture", photo(seed=7), "--json"
    )
    assert code == 0
    changed = json.loads(out)
    assert (changed["name"], changed["key"], len(changed["pictures"])) == ("Bobo", "bo", 3)
    number = changed["pictures"][0]["id"]
    assert repic("update", db, "bo", "--drop-picture", number)[1] == "updated Bobo, which has 2 pictures\n"
    assert f"picture {number}:" not in repic("show", db, "bo")[1]
    assert [row["name"] for row in json.loads(repic("list", db, "--category", "DOG", "--json")[1])["concepts"]] == [
        "Bobo"
    ]

    assert repic("verify", db)[1] == f"{db} is sound: 2 concepts, 3 pictures, 3 vectors\n"
    numbers = json.loads(repic("stats", db, "--json")[1])
    assert (numbers["concepts"], numbers["pictures"], numbers["categories"]) == (2, 3, {"dog": 1})
    assert "pictures: 3" in repic("stats", db)[1]

    assert repic("export", db, tmp_path / "out")[0] == 0
    code, out, _ = repic("import", tmp_path / "again", tmp_path / "out", "--json")
    assert (code, json.loads(out)[0]["added"]) == (0, 2)
    assert json.loads(repic("show", tmp_path / "again", "bo", "--json")[1])["name"] == "Bobo"

    assert repic("remove", db, "bo", "nobody")[0] == 6
    assert repic("remove", db, "bo", "thao")[1] == f"removed Bobo, thao; {db} has 0 left\n"


def test_the_same_again(repic: Repic, tmp_path: Path, things: Path, photo: Photo) -> None:
    db = tmp_path / "mydb"
    repic("add", db, things)
    code, _, err = repic("add", db, things)
    assert code == 0
    assert "left out: bo: there is a concept 'bo' already" in err
    shutil.move(photo(seed=9), things / "bo/3.png")
    (report,) = json.loads(repic("add", db, things, "--existing", "merge", "--json")[1])
    assert (report["added"], report["extended"], report["pictures"], report["encoded"]) == (0, 1, 1, 1)


def test_a_box(repic: Repic, tmp_path: Path, photo: Photo) -> None:
    picture = photo()
    code, out, _ = repic("add", tmp_path / "db", "--name", "bo", picture, "--box", "1,2,30,20", "--json")
    assert (code, json.loads(out)["pictures"][0]["box"]) == (0, [1, 2, 30, 20])
    assert "box 1,2,30,20" in repic("show", tmp_path / "db", "bo")[1]


def test_a_lost_picture_is_a_problem(repic: Repic, tmp_path: Path, things: Path) -> None:
    db = tmp_path / "mydb"
    repic("add", db, things)
    next((db / "pictures").glob("*.png")).unlink()
    code, out, err = repic("verify", db)
    assert code == 6
    assert "is missing" in out and "1 problems in 2 concepts" in err
    assert len(json.loads(repic("verify", db, "--json")[1])["problems"]) == 1


def test_an_import_without_pictures(repic: Repic, tmp_path: Path) -> None:
    source = tmp_path / "theirs"
    source.mkdir()
    row = {"name": "Bo", "image": "./data/bo.png", "info": "A dog.", "category": "dog"}
    (source / "database.json").write_text(json.dumps({"concept_dict": {"<bo>": row}, "path_to_concept": {}}))
    code, _, err = repic("import", tmp_path / "mydb", source)
    assert code == 5
    assert "--pictures FOLDER says where they are, --keep-without-pictures" in err
    assert not (tmp_path / "mydb").exists()
    code, out, _ = repic("import", tmp_path / "mydb", source, "--keep-without-pictures")
    assert code == 0
    assert "1 added, 1 of them without a picture" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("add", "{db}", "{photo}"), 2, "give --name"),
        (("add", "{db}", "none"), 5, "no such file"),
        (("add", "{db}", "{things}", "--info", "x"), 2, "tell about one concept"),
        (("add", "{db}", "--name", "bo", "{things}"), 5, "there is no picture in this folder"),
        (("add", "{db}", "--name", "bo", "{photo}", "--box", "1,2"), 2, "--box: the box '1,2' is not four numbers"),
        (("add", "{db}", "--name", "bo", "{photo}", "{photo}", "--box", "1,2,3,4"), 2, "about one picture, not 2"),
        (("update", "{db}", "bo"), 2, "nothing to change"),
        (("update", "{db}", "bo", "--info", "x"), 6, "no concept database here"),
        (("import", "{db}", "{things}"), 5, "neither database_mod.json nor database.json"),
        (("export", "{db}", "{things}"), 6, "no concept database here"),
        (("verify", "{db}"), 6, "no concept database here"),
    ],
)
def test_mistakes(
    repic: Repic, tmp_path: Path, things: Path, photo: Photo, arguments: tuple[str, ...], code: int, message: str
) -> None:
    places = {"db": tmp_path / "db", "photo": photo(), "things": things}
    got, out, err = repic(*(argument.format(**places) for argument in arguments))
    assert (got, out) == (code, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "db").exists()
