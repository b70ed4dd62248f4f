"""Rollouts as JSON lines, and what a replay says about them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from repic_plugins.errors import DataError
from repic_plugins.replay import scored_rows, summarise
from repic_plugins.scoring import BoundReward, score_batch
from repic_plugins.serial import answer_from_json, answer_to_json, read_rollouts, rollout_from_json, rollout_to_json
from repic_plugins.testing import PlainImage, example_rollouts
from repic_plugins.types import Box, Names, Rollout, YesNo


def test_every_rollout_comes_back_as_it_was(tmp_path):
    rollouts = example_rollouts()
    file = tmp_path / "samples.jsonl"
    file.write_text("\n".join(json.dumps(rollout_to_json(rollout)) for rollout in rollouts) + "\n\n", encoding="utf-8")
    images = {image.key: image for rollout in rollouts for image in rollout.images}
    assert read_rollouts(file, images.__getitem__) == rollouts
    assert all(rollout.images == () for rollout in read_rollouts(file))


@pytest.mark.parametrize("answer", [None, YesNo(False), Box(1, 2.5, 3, 4), Names(("a", "b"), ("c",), (("x",), ()))])
def test_answers_come_back(answer):
    assert answer_from_json(json.loads(json.dumps(answer_to_json(answer)))) == answer


def test_what_is_no_answer_cannot_be_written():
    with pytest.raises(TypeError, match="str is not an answer"):
        answer_to_json("yes")


def test_meta_is_made_plain():
    meta = {"k": (1, np.float64(2.0)), "image": PlainImage(), 3: {"x": {np.int64(1)}}, "array": np.arange(2), "n": None}
    plain = rollout_to_json(Rollout("a", "ict", "p", "c", 0, meta=meta))["meta"]
    assert plain["k"] == [1, 2.0] and plain["3"] == {"x": [1]} and isinstance(plain["image"], str)
    json.dumps(plain)


LINE = {"sample_id": "a", "task": "ict", "prompt": "p", "completion": "c"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completion": None}, "completion must be text"),
        ({"sample_id": 3}, "sample_id must be text, not 3"),
        ({"completion_tokens": -1}, "completion_tokens must be a whole number"),
        ({"completion_tokens": True}, "completion_tokens must be a whole number"),
        ({"meta": [1]}, "meta must be an object"),
        ({"images": "x.png"}, "images must be a list of texts"),
        ({"answer": "yes"}, "the answer must be an object"),
        ({"answer": {"yes": "yes"}}, "the answer must be"),
        ({"answer": {"yes": True, "box": [1, 2, 3, 4]}}, "the answer must be"),
        ({"answer": {"box": [1, 2, 3]}}, "box must be a list of 4 numbers"),
        ({"answer": {"box": [1, 2, 3, "4"]}}, "box must be a list of 4 numbers"),
        ({"answer": {"box": [1, 2, 3, float("nan")]}}, "box must be a list of 4 numbers"),
        ({"answer": {"names": "bo"}}, "names must be a list of texts"),
        ({"answer": {"names": ["bo"], "aliases": [[], []]}}, "aliases must be a list as long"),
        ({"answer": {"names": ["bo"], "alias": []}}, "the answer must be"),
        ({"answer": {"poem": "x"}}, "the answer must be"),
        ({"frame": 3}, "the frame must be an object"),
        ({"frame": {"convention": "miles"}}, "unknown box convention 'miles'"),
        ({"frame": {"convention": "pixels", "seen": [0, 1], "original": [1, 1]}}, r"frame\.seen must be \[width"),
    ],
)
def test_bad_lines_name_file_and_line(tmp_path, change, message):
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps(LINE) + "\n" + json.dumps({**LINE, **change}) + "\n")
    with pytest.raises(DataError, match=message) as error:
        read_rollouts(file)
    assert str(error.value).startswith(f"{file}: line 2: ") and "\n" not in str(error.value)


def test_short_keys_stand_for_the_long_ones():
    rollout = rollout_from_json({"id": "a", "task": "t", "prompt": "p", "completion": "c", "tokens": 3, "step": 1})
    assert (rollout.sample_id, rollout.completion_tokens) == ("a", 3)


def test_files_that_are_no_rollouts(tmp_path):
    file = tmp_path / "x.jsonl"
    for content, message in {
        b"": "holds no rollouts",
        b"{not json": "line 1: ",
        b"[1]": "a rollout must be an object",
        b"\xff\xfe": "cannot be read",
        b"[" * 100_000: "nested too deeply",
    }.items():
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_rollouts(file)
    with pytest.raises(DataError, match=r"missing\.jsonl: no such file"):
        read_rollouts(tmp_path / "missing.jsonl")


def test_a_replay_sums_up_by_reward_task_and_group():
    def share(rollouts):
        return [None if r.task == "vlt" else float(r.completion) for r in rollouts]

    rows = [
        ("a", "ict", "1"),
        ("a", "ict", "0"),
        ("b", "ict", "1"),
        ("b", "ict", "1"),
        ("c", "oct", "0"),
        ("d", "vlt", ""),
    ]
    rollouts = [rollout_from_json({**LINE, "sample_id": s, "task": t, "completion": c}) for s, t, c in rows]
    scores = score_batch([BoundReward("share", 2.0, share)], rollouts)
    found = {(s.reward, s.task): s for s in summarise(scores, rollouts)}
    assert set(found) == {(r, t) for r in ("share", "total") for t in ("all", "ict", "oct")}
    ict = found["share", "ict"]
    assert (ict.count, ict.mean, ict.min, ict.max, ict.flat_groups) == (4, 0.75, 0.0, 1.0, 0.5)
    assert found["total", "all"].mean == 2 * 3 / 5 and found["share", "oct"].flat_groups is None
    written = scored_rows(scores, rollouts)
    assert written[0] == {"sample_id": "a", "task": "ict", "scores": {"share": 1.0}, "total": 2.0, "dropped": False}
    assert written[-1]["scores"] == {"share": None} and written[-1]["total"] is None
    single = [rollout for rollout in rollouts if rollout.task == "ict"]
    assert {s.task for s in summarise(score_batch([BoundReward("share", 1.0, share)], single), single)} == {"ict"}
