"""Rollouts as JSON lines: the `samples.jsonl` of a run, and what `repic rewards score` reads.

One object per line. `sample_id`, `task`, `prompt` and `completion` are needed; `completion_tokens`, `answer`,
`frame`, `images` (paths) and `meta` may be left out; other keys (`step`, `rewards`, …) are no part of the rollout.
`id` and `tokens`, as the first runs wrote them, stand for `sample_id` and `completion_tokens`. The answer is that of
record files:

    {"yes": true}
    {"box": [x1, y1, x2, y2]}                               pixels of the original picture
    {"names": ["bo"], "absent": [], "aliases": [["bobo"]]}  the last two may be left out
    null
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from repic_plugins.errors import DataError
from repic_plugins.text import clean, reason
from repic_plugins.types import Answer, Box, BoxConvention, BoxFrame, ImageRef, Names, Rollout, YesNo

OpenImage = Callable[[str], ImageRef]


def answer_to_json(answer: Answer) -> dict[str, Any] | None:
    """An answer as plain JSON values."""
    match answer:
        case None:
            return None
        case YesNo():
            return {"yes": answer.value}
        case Box():
            return {"box": [answer.x1, answer.y1, answer.x2, answer.y2]}
        case Names():
            names = {"names": list(answer.required), "absent": list(answer.absent)}
            return names | ({"aliases": [list(alias) for alias in answer.aliases]} if answer.aliases else {})
    raise TypeError(f"{type(answer).__name__} is not an answer")


def answer_from_json(value: object) -> Answer:
    """The answer that `answer_to_json` wrote; `ValueError` says what is wrong with anything else."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"the answer must be an object with yes, box or names, not {_show(value)}")
    # A data set's column has all keys in each row, those that do not belong to the answer being null.
    given = {key: item for key, item in value.items() if item is not None}
    match given:
        case {"yes": bool(yes), **rest} if not rest:
            return YesNo(yes)
        case {"box": box, **rest} if not rest:
            return Box(*_numbers(box, 4, "box"))
        case {"names": required, **rest} if set(rest) <= {"absent", "aliases"}:
            return _names(required, rest.get("absent", []), rest.get("aliases", []))
    raise ValueError(f'the answer must be {{"yes": true}}, {{"box": […]}} or {{"names": […]}}, not {_show(value)}')


def _names(required: object, absent: object, aliases: object) -> Names:
    names = _texts(required, "names")
    if not isinstance(aliases, list) or len(aliases) not in (0, len(names)):
        raise ValueError("aliases must be a list as long as names, or empty")
    return Names(names, _texts(absent, "absent"), tuple(_texts(alias, "aliases") for alias in aliases))


def frame_to_json(frame: BoxFrame | None) -> dict[str, Any] | None:
    """A box frame as plain JSON values."""
    if frame is None:
        return None
    return {"convention": frame.convention, "seen": list(frame.seen), "original": list(frame.original)}


def frame_from_json(value: object) -> BoxFrame | None:
    """The frame that `frame_to_json` wrote; `ValueError` on anything else."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"the frame must be an object, not {_show(value)}")
    convention: Any = value.get("convention")
    if convention not in get_args(BoxConvention):
        raise ValueError(f"unknown box convention {_show(convention)}; there are {', '.join(get_args(BoxConvention))}")
    return BoxFrame(convention, _size(value.get("seen"), "seen"), _size(value.get("original"), "original"))


def rollout_to_json(rollout: Rollout) -> dict[str, Any]:
    """A rollout as one JSON object; pictures by their key, and no `meta` that is not JSON."""
    return {
        "sample_id": rollout.sample_id,
        "task": rollout.task,
        "prompt": rollout.prompt,
        "completion": rollout.completion,
        "completion_tokens": rollout.completion_tokens,
        "answer": answer_to_json(rollout.answer),
        "frame": frame_to_json(rollout.frame),
        "images": [image.key for image in rollout.images],
        "meta": _plain(rollout.meta),
    }


def rollout_from_json(value: object, open_image: OpenImage | None = None) -> Rollout:
    """The rollout of one JSON object; without `open_image` it has no pictures. `ValueError` says what is wrong."""
    if not isinstance(value, Mapping):
        raise ValueError(f"a rollout must be an object, not {_show(value)}")
    texts = {key: value.get(key) for key in ("sample_id", "task", "prompt", "completion")}
    texts["sample_id"] = value.get("sample_id", value.get("id"))
    for key, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{key} must be text, not {_show(text)}")
    tokens = value.get("completion_tokens", value.get("tokens", 0))
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise ValueError(f"completion_tokens must be a whole number from 0, not {_show(tokens)}")
    meta = value.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise ValueError(f"meta must be an object, not {_show(meta)}")
    keys = _texts(value.get("images") or [], "images")
    return Rollout(
        **texts,  # type: ignore[arg-type]
        completion_tokens=tokens,
        answer=answer_from_json(value.get("answer")),
        images=tuple(open_image(key) for key in keys) if open_image else (),
        frame=frame_from_json(value.get("frame")),
        meta=dict(meta),
    )


def read_rollouts(path: Path, open_image: OpenImage | None = None) -> list[Rollout]:
    """All rollouts of a JSON-lines file; `DataError` names the file and the line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from error
    rollouts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rollouts.append(rollout_from_json(json.loads(line), open_image))
        except (ValueError, RecursionError) as error:
            what = clean(error) if isinstance(error, ValueError) else "nested too deeply"
            raise DataError(f"{path}: line {number}: {what}") from error
    if not rollouts:
        raise DataError(f"{path}: holds no rollouts; expected one JSON object per line, such as a run's samples.jsonl")
    return rollouts


def _show(value: object) -> str:
    return clean(repr(value), 60)


def _numbers(value: object, count: int, name: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"{name} must be a list of {count} numbers, not {_show(value)}")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"{name} must be a list of {count} numbers, not {_show(value)}")
    return tuple(value)


def _size(value: object, name: str) -> tuple[int, int]:
    width, height = _numbers(value, 2, f"frame.{name}")
    if min(width, height) <= 0 or int(width) != width or int(height) != height:
        raise ValueError(f"frame.{name} must be [width, height] in pixels, not {_show(value)}")
    return int(width), int(height)


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} must be a list of texts, not {_show(value)}")
    return tuple(value)


def _plain(value: Any) -> Any:
    """Mappings and sequences as dicts and lists, NumPy scalars as numbers; anything else as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", 1) == 0 else str(value)
