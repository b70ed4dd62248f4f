"""The built-in rewards: OCT, VLT, ICT, length and format. The scoring itself is in `repic_rewards`.

`mode="paper"` scores as the paper's published code does, for comparisons; `strict`, the default, reads answers as a
careful person would. Rollouts without an answer of the reward's type have no score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from repic_plugins.hookspecs import hookimpl
from repic_plugins.types import Answer, Box, Names, Register, Reward, Rollout, YesNo

Mode = Literal["strict", "paper"]
Score = Callable[[Sequence[Rollout]], Sequence[float]]


def oct(*, mode: Mode = "strict") -> Reward:
    """1.0 for the right yes or no, else 0.0 (paper Eq. 2).

    strict: a whole word, in <answer> tags where there are any; both or neither is wrong. paper: the first "yes" or
    "no" anywhere, in other words too.
    """

    def score(rollouts: Sequence[Rollout]) -> list[float]:
        from repic_rewards.answers import read_yes_no

        return [float(read_yes_no(rollout.completion, mode) is _yes(rollout.answer)) for rollout in rollouts]

    return _where(YesNo, score)


def _yes(answer: Answer) -> bool:
    assert isinstance(answer, YesNo)
    return answer.value


def vlt(*, mode: Mode = "strict", threshold: float = 0.5, allow_many: bool = False) -> Reward:
    """1.0 when the predicted box and the true one have IoU >= `threshold`, else 0.0 (paper Eq. 3).

    strict: reads boxes in the model's own coordinates (absolute pixels of the resized picture, 0-1000, location
    tokens, JSON, ...) and scales them to the picture; several boxes are wrong, or with `allow_many` the first counts.
    paper: the first four bare integers in brackets, as they stand.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie between 0 and 1, not {threshold:g}")

    def score(rollouts: Sequence[Rollout]) -> list[float]:
        from repic_rewards.boxes import score_boxes

        frames = [rollout.frame for rollout in rollouts]
        return score_boxes(
            [rollout.completion for rollout in rollouts],
            [_corners(rollout.answer) for rollout in rollouts],
            conventions=["pixels" if frame is None else frame.convention for frame in frames],
            seen=[None if frame is None else frame.seen for frame in frames],
            original=[None if frame is None else frame.original for frame in frames],
            threshold=threshold,
            mode=mode,
            allow_many=allow_many,
        )

    return _where(Box, score)


def _corners(answer: Answer) -> tuple[float, float, float, float]:
    assert isinstance(answer, Box)
    return answer.x1, answer.y1, answer.x2, answer.y2


def ict(
    *,
    mode: Mode = "strict",
    min_chars: int = 100,
    absent_penalty: float = 0.0,
    max_repeats: int = 4,
) -> Reward:
    """The share of the required names that the caption uses; 0.0 for one shorter than `min_chars` (paper Eq. 4 and 5).

    One required name: 1.0 or 0.0; m of them, n used: n/m. strict: `<bo>` or bo as a whole phrase, in any case, with
    aliases; a name mentioned more than `max_repeats` times earns nothing; `absent_penalty` is taken off for each name
    that is shown but not in the picture, down to 0.0; closing tags (`</bo>`) and captions of names alone score 0.0.
    paper: the exact text `<bo>`, and 0.0 for a single name with `</bo>`; the paper's text says 100 tokens, its code
    counts characters.
    """
    if min_chars < 0 or max_repeats < 1 or absent_penalty < 0:
        raise ValueError("min_chars and absent_penalty must not be negative, and max_repeats must be at least 1")

    def score(rollouts: Sequence[Rollout]) -> Sequence[float]:
        from repic_rewards.ict import score_names

        names = [_names(rollout.answer) for rollout in rollouts]
        return score_names(
            [rollout.completion for rollout in rollouts],
            [answer.required for answer in names],
            [answer.absent for answer in names],
            [answer.aliases for answer in names],
            mode=mode,
            min_chars=min_chars,
            absent_penalty=absent_penalty,
            max_repeats=max_repeats,
        )

    return _where(Names, score)


def _names(answer: Answer) -> Names:
    assert isinstance(answer, Names)
    return answer


def length(*, min: int = 100, max: int | None = None, unit: Literal["chars", "words", "tokens"] = "chars") -> Reward:
    """1.0 when the completion's length lies in min <= length <= max, else 0.0 (paper appendix C.2).

    The paper's text says 100 tokens; its code counts characters, and so does the default here.
    """
    from repic_rewards.lengths import score_lengths

    score_lengths([], min, max)  # refuses limits that no length meets

    def score(rollouts: Sequence[Rollout]) -> list[float]:
        from repic_rewards.lengths import count_length

        if unit == "tokens":
            counts = [rollout.completion_tokens for rollout in rollouts]
        else:
            counts = [count_length(rollout.completion, unit) for rollout in rollouts]
        return score_lengths(counts, min, max)

    return score


def format(*, template: Literal["think", "observe"] = "think") -> Reward:
    """1.0 when the completion is exactly <think>…</think><answer>…</answer> (or <observe>…), else 0.0.

    Use it with the task option reasoning=think or reasoning=observe (paper appendix A.4).
    """

    def score(rollouts: Sequence[Rollout]) -> list[float]:
        from repic_rewards.formats import follows_format

        return [float(follows_format(rollout.completion, template)) for rollout in rollouts]

    return score


def _where(answer: type, score: Score) -> Reward:
    """A reward that gives None where the rollout's answer has another type, and `score` for the others."""

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        rows = [row for row, rollout in enumerate(rollouts) if isinstance(rollout.answer, answer)]
        values: list[float | None] = [None] * len(rollouts)
        if rows:
            for row, value in zip(rows, score([rollouts[row] for row in rows]), strict=True):
                values[row] = float(value)
        return values

    return reward


@hookimpl
def repic_register_rewards(register: Register) -> None:
    captions = ("ict", "caption")
    register("oct", oct, tasks=("oct",), help="the right yes or no: is the shown object in the second picture?")
    register("vlt", vlt, tasks=("vlt",), help="the predicted box overlaps the true one (IoU)")
    register("ict", ict, tasks=("ict",), help="the caption names the shown concepts that are in the picture")
    register("length", length, tasks=captions, help="captions of a wanted length")
    register("format", format, tasks=captions, help="the answer follows a reasoning template")
