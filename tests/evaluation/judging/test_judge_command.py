"""`repic eval judge`: what is asked, what is counted, and what is not paid twice."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., Any]
Rows = Callable[..., Path]
Two = Callable[[list[str], list[str]], tuple[Path, Path]]
RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def recorded_reply(captions: tuple[str, str]) -> str:
    """What was recorded for these captions in this order."""
    for pair in RECORDED:
        for order in ("ab", "ba"):
            if captions == (pair[order[0]], pair[order[1]]):
                return pair[order]
    raise AssertionError(f"not recorded: {captions}")


@pytest.fixture
def recorded(peer: Any, two_files: Two) -> tuple[Path, Path]:
    peer.answer = lambda asked, before: peer.say(recorded_reply(asked.captions), usage=(200, 20))
    return two_files([pair["a"] for pair in RECORDED], [pair["b"] for pair in RECORDED])


def test_counts_are_those_made_by_hand(recorded: tuple[Path, Path], peer: Any, run_judge: Run) -> None:
    found = run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--json").json
    # Twelve pairs: A in 1, 2, 10, 11; B in 3, 12; the orders differ in 4, 6; tie in 5; the same captions in 7.
    assert found["pairs"] == 12
    assert found["verdicts"] == {"a": 4, "b": 2, "tie": 4, "refused": 1, "unreadable": 1, "failed": 0}
    assert (found["order_dependent"], found["same"]) == (2, 1)
    # 22 replies (pair 7 is not asked about). First: 1ab 2ab 3ba 4ab 4ba 10ab 11ab 12ba; second: 1ba 2ba 3ab 6ab 8ba
    # 9ba 10ba 11ba 12ab; tie: 5ab 5ba 6ba.
    assert found["replies"] == {"first": 8, "second": 9, "tie": 3, "refused": 1, "unreadable": 1, "failed": 0}
    assert found["first_chosen"]["value"] == pytest.approx(8 / 17)
    assert found["win_rate_a"]["value"] == pytest.approx((4 + 4 / 2) / 10)
    assert found["win_rate_b"]["value"] == pytest.approx((2 + 4 / 2) / 10)
    assert found["win_rate_a"]["low"] < 0.6 < found["win_rate_a"]["high"]
    # Wilson's interval of 4 in 6, from its formula on paper.
    decided = found["decided_a"]
    assert [decided["value"], decided["low"], decided["high"]] == pytest.approx([4 / 6, 0.3000, 0.9032], abs=1e-4)
    # The longer caption was preferred in 1, 2, 3, 10; the shorter in 11 and 12.
    assert (found["longer_chosen"]["value"], found["longer_chosen"]["n"]) == (pytest.approx(4 / 6), 6)
    assert found["tokens_paid_now"] == {"in": 22 * 200, "out": 22 * 20, "replies_without_count": 0}
    assert found["requests"]["sent"] == len(peer.asked) == 22


def test_each_pair_of_the_results_has_the_verdict_made_by_hand_and_both_replies(
    recorded: tuple[Path, Path], peer: Any, run_judge: Run, tmp_path: Path
) -> None:
    out = tmp_path / "judged.jsonl"
    run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--out", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for line, pair in zip(lines, RECORDED, strict=True):
        by_hand = "order" if line["order_dependent"] else "same" if line["same"] else line["verdict"]
        assert by_hand == pair["by_hand"]
        assert line["same"] or (line["a_first"]["text"], line["b_first"]["text"]) == (pair["ab"], pair["ba"])


def test_both_orders_are_asked_with_the_same_framing(recorded: tuple[Path, Path], peer: Any, run_judge: Run) -> None:
    run_judge(*recorded, "--judge", peer.spec, "--no-pictures")
    seen = Counter(asked.captions for asked in peer.asked)
    wanted = [(p["a"], p["b"]) for p in RECORDED if p["a"] != p["b"]]
    assert seen == Counter([*wanted, *((b, a) for a, b in wanted)])
    by_captions = {asked.captions: asked for asked in peer.asked}
    for a, b in wanted:
        one, other = by_captions[a, b].body, by_captions[b, a].body
        assert {k: v for k, v in one.items() if k != "messages"} == {k: v for k, v in other.items() if k != "messages"}
        assert one["messages"][0] == other["messages"][0]
        assert sorted(one["messages"][1]["content"]) == sorted(other["messages"][1]["content"])


def test_the_table_says_what_the_numbers_say(recorded: tuple[Path, Path], peer: Any, run_judge: Run) -> None:
    ran = run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--price-in", 10, "--price-out", 100)
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "A preferred 4" in lines and "no verdict: refused 1" in lines
    assert "tie 4 2 as the orders differ, 1 of the same captions" in lines
    assert any(line.startswith("A where decided 66.7 [30.0, 90.3]") for line in lines)
    assert "tokens paid in this run: 4,400 in, 440 out; price 0.0880" in lines


def test_a_second_run_pays_nothing(recorded: tuple[Path, Path], peer: Any, run_judge: Run) -> None:
    first = run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--json").json
    again = run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--json").json
    assert len(peer.asked) == 22
    assert again["requests"]["sent"] == 0 and again["tokens_paid_now"]["in"] == 0
    assert again["tokens_of_kept_replies"] == first["tokens_paid_now"]
    assert [again[name] for name in ("verdicts", "replies", "win_rate_a")] == [
        first[name] for name in ("verdicts", "replies", "win_rate_a")
    ]


def test_what_changes_a_reply_is_asked_anew(recorded: tuple[Path, Path], peer: Any, run_judge: Run) -> None:
    counts = []
    for other in ((), ("--max-tokens", 7), ("--default-temperature",)):
        run_judge(*recorded, "--judge", peer.spec, "--no-pictures", *other)
        counts.append(len(peer.asked))
    run_judge(*recorded, "--judge", f"{peer.address}#another", "--no-pictures")
    assert [*counts, len(peer.asked)] == [22, 44, 66, 88]
    assert peer.asked[22].body["max_tokens"] == 7 and "temperature" not in peer.asked[44].body
    assert peer.asked[66].body["model"] == "another"


def test_a_smaller_limit_is_part_of_a_larger_one(recorded: tuple[Path, Path], peer: Any, run_judge: Run) -> None:
    small = run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--limit", 3, "--seed", 4, "--json").json
    before = len(peer.asked)
    run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--limit", 8, "--seed", 4)
    assert small["pairs"] == 3 and small["left_out"] == 9 and before <= 6
    assert len({json.dumps(asked.body) for asked in peer.asked}) == len(peer.asked) <= 16


def test_a_dry_run_asks_nothing_and_tells_the_price(recorded: tuple[Path, Path], peer: Any, run_judge: Run) -> None:
    options = ("--judge", peer.spec, "--no-pictures", "--dry-run", "--json")
    found = run_judge(*recorded, *options, "--price-in", 1, "--price-out", 10).json["estimate"]
    assert peer.asked == []
    assert (found["requests"], found["known"], found["measured"]) == (22, 0, 0)
    assert 22 * 300 < found["tokens_in"] < 22 * 600
    assert found["most_out"] == 22 * 1000
    assert found["price"] == pytest.approx((found["tokens_in"] + 10 * found["tokens_out"]) / 1e6)
    # Behind a part of the run, what that took.
    run_judge(*recorded, "--judge", peer.spec, "--no-pictures", "--limit", 4)
    known = len(peer.asked)
    found = run_judge(*recorded, *options).json["estimate"]
    assert (found["requests"], found["known"], found["measured"]) == (22 - known, known, known)
    assert (found["tokens_in"], found["tokens_out"]) == ((22 - known) * 200, (22 - known) * 20)
    text = run_judge(*recorded, *options[:-1]).out
    assert f"{22 - known} requests to send ({known} replies are there already)" in text
    assert f"measured on {known} replies" in text


def test_pictures_are_sent_and_only_those_of_the_folders(
    two_files: Two, peer: Any, run_judge: Run, tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    Image.new("RGB", (300, 200), "red").save(album / "0.jpg")
    files = two_files(["<bo> naps"], ["a dog"])
    missing = run_judge(*files, "--judge", peer.spec)
    assert missing.code == 5
    assert "row 1: 0.jpg: no such picture in" in missing.err and "--no-pictures" in missing.err
    assert run_judge(*files, "--judge", peer.spec, "--pictures", album, "--max-side", 150).code == 0
    urls = {asked.user[1]["image_url"]["url"] for asked in peer.asked}
    assert len(urls) == 1 and len(peer.asked) == 2
    sent = Image.open(io.BytesIO(base64.b64decode(urls.pop().partition(",")[2])))
    assert sent.size == (150, 100)
    assert sent.getpixel((5, 5))[0] > 200
    run_judge(*files, "--judge", peer.spec, "--pictures", album, "--max-side", 150)
    assert len(peer.asked) == 2
    Image.new("RGB", (300, 200), "blue").save(album / "0.jpg")
    run_judge(*files, "--judge", peer.spec, "--pictures", album, "--max-side", 150)
    assert len(peer.asked) == 4


def test_a_row_cannot_have_a_picture_of_elsewhere_sent(peer: Any, run_judge: Run, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    captions = tmp_path / "captions"
    captions.mkdir()
    files = [captions / "a.jsonl", captions / "b.jsonl"]
    for file, caption in zip(files, "xy", strict=True):
        row = {"image": str(tmp_path / "secret.png"), "keys": [], "caption": caption}
        file.write_text(json.dumps(row))
    ran = run_judge(*files, "--judge", peer.spec)
    assert ran.code == 5 and "--pictures" in ran.err and not peer.asked


@pytest.mark.parametrize("damage", ["empty", "cut"])
def test_bad_pictures_are_named_or_left_out(
    two_files: Two, peer: Any, run_judge: Run, tmp_path: Path, damage: str
) -> None:
    for number in range(2):
        Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / f"{number}.jpg")
    bad = tmp_path / "1.jpg"
    bad.write_bytes(b"" if damage == "empty" else bad.read_bytes()[:1500])
    files = two_files(["a", "b"], ["c", "d"])
    ran = run_judge(*files, "--judge", peer.spec, "--concurrency", 1)
    assert ran.code == 5 and "row 2: " in ran.err and "1.jpg" in ran.err
    found = run_judge(*files, "--judge", peer.spec, "--skip-bad", "--json").json
    assert found["verdicts"]["tie"] == 1 and len(found["skipped"]) == 1 and "1.jpg" in found["skipped"][0]


def test_rows_without_a_partner_are_told(peer: Any, run_judge: Run, rows_file: Rows, tmp_path: Path) -> None:
    a = rows_file(tmp_path / "a.jsonl", ["one", "two", "three"], [["bo"], ["bo"], ["thao"]])
    b = rows_file(tmp_path / "b.jsonl", ["eins", "zwei", "drei", "vier"], [["bo"], ["tom"], ["thao"], ["bo"]])
    found = run_judge(a, b, "--judge", peer.spec, "--no-pictures", "--json").json
    assert (found["pairs"], found["only_a"], found["only_b"]) == (2, 1, 2)
    assert {frozenset(asked.captions) for asked in peer.asked} == {
        frozenset(("one", "eins")),
        frozenset(("three", "drei")),
    }
    ran = run_judge(a, b, "--judge", peer.spec, "--no-pictures")
    assert "without a partner: 1 rows of A, 2 of B" in ran.err


def test_rows_of_repic_and_ours_are_paired_whatever_the_style_of_paths(
    peer: Any, run_judge: Run, rows_file: Rows, tmp_path: Path
) -> None:
    ours = rows_file(tmp_path / "ours.jsonl", ["mine"])
    rows = [["./0.jpg", ["<bo>"], "theirs", "Give a caption."]]
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps(rows))
    assert run_judge(ours, theirs, "--judge", peer.spec, "--no-pictures", "--json").json["pairs"] == 1
    assert {asked.captions for asked in peer.asked} == {("mine", "theirs"), ("theirs", "mine")}


def test_the_judge_is_told_all_spellings_that_a_database_knows(
    peer: Any, run_judge: Run, rows_file: Rows, tmp_path: Path
) -> None:
    a = rows_file(tmp_path / "a.jsonl", ["x"], [["ironman", "bo"]])
    concepts = [["ironman", "Iron Man", ["Tony"], "A hero."], ["bo", "bo", [], ""]]
    a.write_text(json.dumps({"id": "#database", "concepts": concepts}) + "\n" + a.read_text())
    b = rows_file(tmp_path / "b.jsonl", ["y"], [["bo", "ironman"]])
    run_judge(a, b, "--judge", peer.spec, "--no-pictures")
    assert '["Iron Man (also: ironman, Tony)", "bo"]' in peer.asked[0].user[0]["text"]


def test_files_without_a_common_row_are_an_error(peer: Any, run_judge: Run, rows_file: Rows, tmp_path: Path) -> None:
    a, b = rows_file(tmp_path / "a.jsonl", ["x"]), rows_file(tmp_path / "b.jsonl", ["y"], [["tom"]])
    ran = run_judge(a, b, "--judge", peer.spec, "--no-pictures")
    assert ran.code == 5 and "no row in common" in ran.err


def test_captions_may_not_be_overwritten(two_files: Two, peer: Any, run_judge: Run) -> None:
    a, b = two_files(["x"], ["y"])
    before = a.read_bytes()
    ran = run_judge(a, b, "--judge", peer.spec, "--no-pictures", "--out", a)
    assert ran.code == 2 and "--out" in ran.err and a.read_bytes() == before and not peer.asked


def test_another_file_as_cache_is_refused(two_files: Two, peer: Any, run_judge: Run, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "other.sqlite") as base:
        base.execute("CREATE TABLE mine (x)")
    for name, content in (("other.sqlite", None), ("text.sqlite", b"no database, but words " * 99)):
        path = tmp_path / name
        if content:
            path.write_bytes(content)
        before = path.read_bytes()
        ran = run_judge(*two_files(["x"], ["y"]), "--judge", peer.spec, "--no-pictures", "--cache", path)
        assert ran.code == 6 and name in ran.err and path.read_bytes() == before


def test_a_judge_that_never_gives_a_verdict_ends_with_an_error(two_files: Two, peer: Any, run_judge: Run) -> None:
    peer.answer = lambda asked, before: peer.say("Hm.")
    ran = run_judge(*two_files(["x"], ["y"]), "--judge", peer.spec, "--no-pictures")
    assert ran.code == 5 and "no pair got a verdict (replies: 2 unreadable)" in ran.err


def test_equal_pairs_are_asked_about_once(peer: Any, run_judge: Run, tmp_path: Path) -> None:
    rows = [{"image": "0.jpg", "keys": ["bo"], "caption": "x"}] * 6
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_text("\n".join(map(json.dumps, rows)))
    b.write_text("\n".join(json.dumps({**row, "caption": "y"}) for row in rows))
    peer.answer = lambda asked, before: peer.say("A", wait=0.1)
    found = run_judge(a, b, "--judge", peer.spec, "--no-pictures", "--concurrency", 6, "--json").json
    assert found["pairs"] == 6 and found["order_dependent"] == 6 and len(peer.asked) == 2


def test_on_published_captions(repic_pack: Path, peer: Any, run_judge: Run) -> None:
    """A judge with a plain rule (who has more of the keys in brackets), counted here without any of our code."""
    files = [
        repic_pack / f"repic_captions/double_concept/captioning-skip-retrieval-{name}.json"
        for name in ("ours", "zero_shot")
    ]
    ours, theirs = (json.loads(file.read_text()) for file in files)

    def names(caption: str) -> int:
        return caption.count("<") if "</s>" not in caption else 0

    peer.answer = lambda asked, before: peer.say("AB"[names(asked.captions[1]) > names(asked.captions[0])])
    found = run_judge(*files, "--judge", peer.spec, "--no-pictures", "--concurrency", 8, "--json").json
    more = sum(names(a[2]) > names(b[2]) for a, b in zip(ours, theirs, strict=True))
    fewer = sum(names(a[2]) < names(b[2]) for a, b in zip(ours, theirs, strict=True))
    assert (found["verdicts"]["a"], found["verdicts"]["b"], found["verdicts"]["tie"]) == (
        more,
        fewer,
        82 - more - fewer,
    )
    assert more > 40 and found["order_dependent"] + found["same"] == 82 - more - fewer
