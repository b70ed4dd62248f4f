"""Hand any repic reward to another trainer, in the form that it expects.

    from repic_plugins.adapters import to_trl, to_verl, to_swift

    GRPOTrainer(..., reward_funcs=[to_trl("ict"), to_trl("haiku", lines=3)])   # TRL
    compute_score = to_verl("ict")            # verl: custom_reward_function.path=FILE, .name=compute_score
    orms["ict"] = to_swift("ict")             # ms-swift: --external_plugins FILE --reward_funcs ict

Each takes the name of an installed reward and its options, or a reward itself (a callable that scores rollouts).
The data set's columns `sample_id`, `task`, `answer`, `frame` and `meta` become the fields of the rollouts, as far as
they are there. The last three may be JSON texts, so that one column can hold answers of several types. An answer
may be one of `repic_plugins.types`, the JSON of `repic_plugins.serial`, or in short: true/false or "yes"/"no",
four numbers (a box), a list of texts (the names).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from repic_plugins.errors import DataError
from repic_plugins.scoring import BoundReward, score_reward
from repic_plugins.serial import answer_from_json, frame_from_json
from repic_plugins.text import clean
from repic_plugins.types import EMPTY, Answer, Box, BoxFrame, ImageRef, Names, Reward, Rollout, YesNo

AnyReward = str | BoundReward | Reward


def bind(reward: AnyReward, *, tasks: Iterable[str] | None = None, **options: Any) -> BoundReward:
    """A `BoundReward` from the name of an installed one (with its options), or from a plain callable."""
    if isinstance(reward, BoundReward):
        return reward
    if isinstance(reward, str):
        from repic_plugins.manager import load_plugins
        from repic_plugins.options import RewardSpec

        return load_plugins().build_rewards([RewardSpec(reward, options=options)])[0]
    name = getattr(reward, "__name__", type(reward).__name__)
    return BoundReward(name, 1.0, reward, None if tasks is None else frozenset(tasks))


def to_trl(reward: AnyReward, **options: Any) -> Callable[..., list[float | None]]:
    """A TRL reward function: `(prompts, completions, completion_ids=…, **columns) -> list[float | None]`.

    TRL takes None as 'not applicable' and logs the function under its `__name__`, the reward's name. `completions`
    may be texts or conversations. A rollout without a `task` column is scored whatever the reward's routing.
    """
    bound = bind(reward, **options)

    def score(
        prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Sequence[Any] = (), **columns: Any
    ) -> list[float | None]:
        return score_reward(bound, rollouts_of(bound, completions, prompts, completion_ids, columns))

    score.__name__ = score.__qualname__ = bound.name
    return score


def to_swift(reward: AnyReward, **options: Any) -> type:
    """An ms-swift reward class to put into `orms`: built with `args`, called with `completions` and the columns.

    ms-swift takes None as 'not applicable' and logs under the class's name, which is the reward's.
    """
    bound = bind(reward, **options)

    class Swift:
        __doc__ = f"The repic reward {bound.name} for ms-swift."

        def __init__(self, args: Any = None, **kwargs: Any) -> None:
            self.args = args

        def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
            prompts = columns.get("messages") or [""] * len(completions)
            ids = columns.get("response_token_ids") or ()
            return score_reward(bound, rollouts_of(bound, completions, prompts, ids, columns))

    Swift.__name__ = Swift.__qualname__ = bound.name
    return Swift


def to_verl(reward: AnyReward, *, missing: float = 0.0, **options: Any) -> Callable[..., float]:
    """A verl `compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs) -> float`.

    `ground_truth` is the answer; `extra_info` may hold the other columns, and a `task` where `data_source` is not
    the task's name. verl knows no 'not applicable', so that such a rollout gets `missing`.
    """
    bound = bind(reward, **options)

    def compute_score(
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> float:
        extra = dict(extra_info or {})
        columns: dict[str, list[Any]] = {
            key: [extra[key]] for key in ("sample_id", "frame", "meta", "images") if key in extra
        }
        if "sample_id" not in columns and "index" in extra:
            columns["sample_id"] = [extra["index"]]
        columns |= {"task": [extra.get("task", data_source)], "answer": [ground_truth]}
        rollouts = rollouts_of(bound, [solution_str], [extra.get("prompt", "")], (), columns)
        (score,) = score_reward(bound, rollouts)
        return missing if score is None else score

    return compute_score


def rollouts_of(
    bound: BoundReward,
    completions: Sequence[Any],
    prompts: Sequence[Any],
    completion_ids: Sequence[Any],
    columns: Mapping[str, Any],
) -> list[Rollout]:
    """N rollouts from N completions (texts or conversations) and columns of N values each."""
    count = len(completions)
    default_task = min(bound.tasks) if bound.tasks else ""
    rows: dict[str, Sequence[Any]] = {
        "sample_id": columns.get("sample_id", [str(row) for row in range(count)]),
        "task": columns.get("task", [default_task] * count),
        "answer": columns.get("answer", columns.get("solution", [None] * count)),
        "frame": columns.get("frame", [None] * count),
        "meta": columns.get("meta", [None] * count),
        "images": columns.get("images", [None] * count),
    }
    for key, values in rows.items():
        if len(values) != count:
            raise DataError(f"column {key} has {len(values)} values for {count} completions")
    return [
        Rollout(
            sample_id=str(rows["sample_id"][row]),
            task=str(rows["task"][row]),
            prompt=text_of(prompts[row]) if row < len(prompts) else "",
            completion=text_of(completions[row]),
            completion_tokens=len(completion_ids[row]) if row < len(completion_ids) else 0,
            answer=as_answer(rows["answer"][row]),
            images=tuple(image for image in rows["images"][row] or () if _is_reference(image)),
            frame=_as_frame(rows["frame"][row]),
            meta=_as_meta(rows["meta"][row]),
        )
        for row in range(count)
    ]


def _is_reference(image: Any) -> TypeGuard[ImageRef]:
    """Whether this is an `ImageRef`. `isinstance` would read its `size`, for which a picture file is opened."""
    return hasattr(image, "key") and callable(getattr(image, "open", None))


def text_of(message: Any) -> str:
    """The text of a prompt or completion: a text, a chat message, or a list of them with text and picture parts."""
    if isinstance(message, str):
        return message
    if isinstance(message, Mapping):
        return text_of(message.get("content", message.get("text", "")) or "")
    if isinstance(message, Iterable):
        return "\n".join(text for text in map(text_of, message) if text)
    raise DataError(f"{clean(repr(message), 60)} is neither text nor a chat message")


def as_answer(value: Any) -> Answer:
    """An answer from any of the forms in this module's docstring; `DataError` when it is none of them."""
    if value is None or isinstance(value, (YesNo, Box, Names)):
        return value
    value = _plain(_parsed(value) if isinstance(value, str) else value)
    try:
        if isinstance(value, bool):
            return YesNo(value)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return Names(tuple(value))
        return answer_from_json({"box": value} if isinstance(value, list) else value)
    except ValueError as error:
        raise DataError(f"cannot read an answer: {clean(error)}") from error


def _parsed(text: str) -> Any:
    word = text.strip().lower()
    if word in ("yes", "no"):
        return word == "yes"
    try:
        return json.loads(text)
    except ValueError as error:
        shown = clean(repr(text), 60)
        raise DataError(f'cannot read the answer {shown}: write yes, no, [x1, y1, x2, y2] or ["name", …]') from error


def _as_frame(value: Any) -> BoxFrame | None:
    if isinstance(value, BoxFrame):
        return value
    try:
        return frame_from_json(_plain(json.loads(value) if isinstance(value, str) else value))
    except ValueError as error:
        raise DataError(f"cannot read a frame: {clean(error)}") from error


def _as_meta(value: Any) -> Mapping[str, Any]:
    meta = json.loads(value) if isinstance(value, str) else value
    if meta is None:
        return EMPTY
    if not isinstance(meta, Mapping):
        raise DataError(f"meta must be an object, not {clean(repr(meta), 60)}")
    return meta


def _plain(value: Any) -> Any:
    """Arrays and tuples, as parquet files and data sets give them, as lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value
