"""Rollouts and records to try plugins with, with pictures made in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repic_plugins.types import Answer, Box, BoxFrame, ImageRef, Names, Record, Reference, Rollout, YesNo

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PlainImage:
    """A one-coloured picture in memory, as an `ImageRef`."""

    width: int = 112
    height: int = 84
    color: tuple[int, int, int] = (200, 30, 30)

    @property
    def key(self) -> str:
        return f"plain-{self.width}x{self.height}-{'-'.join(map(str, self.color))}"

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def open(self) -> Image:
        from PIL import Image

        return Image.new("RGB", self.size, self.color)


COMPLETIONS: Mapping[str, Sequence[str]] = {
    "oct": ("yes", "No.", "<answer>yes</answer>", "I cannot tell: yes and no.", ""),
    "vlt": (
        "[10, 12, 60, 70]",
        "The box is [0.0, 0.0, 30.5, 40.0].",
        '{"bbox_2d": [10, 12, 60, 70]}',
        "in the middle",
        "",
    ),
    "ict": (
        "<bo> sleeps on a green sofa beside a window; light falls on the grey carpet, where slippers and a ball lie.",
        "A dog.",
        "Bo's bowl stands next to <thao>, who wears a red coat.\nSnow lies on the path.\nA crow looks on.",
        "<bo> " * 30,
        "Ein Hund — “Bo” — schläft. 狗在沙发上睡觉 🐕",
        "",
    ),
    "caption": ("A dog sleeps on a green sofa.", "one\ntwo\nthree", ""),
}
"""Completions by task as models write them: right, wrong, odd, empty."""

_ANSWERS: Mapping[str, Sequence[Answer]] = {
    "oct": (YesNo(True), YesNo(False)),
    "vlt": (Box(10, 12, 60, 70),),
    "ict": (Names(("bo",), ("gus",)), Names(("bo", "thao"), (), (("bobo",), ()))),
    "caption": (None,),
}


def example_rollouts(tasks: Iterable[str] = ()) -> list[Rollout]:
    """Rollouts of the built-in tasks (or those of `tasks`) with pictures, answers and completions of many kinds.

    A task that is not built in gets captions without an answer.
    """
    image: ImageRef = PlainImage()
    frame = BoxFrame("pixels", image.size, image.size)
    rollouts: list[Rollout] = []
    for task in tuple(tasks) or tuple(COMPLETIONS):
        answers = _ANSWERS.get(task, (None,))
        for group, answer in enumerate(answers):
            for text in COMPLETIONS.get(task, COMPLETIONS["caption"]):
                images = (PlainImage(56, 56, (30, 30, 200)), image) if task in ("oct", "ict") else (image,)
                rollouts.append(
                    Rollout(
                        sample_id=f"{task}-{group}",
                        task=task,
                        prompt=f"An example prompt of task {task}.",
                        completion=text,
                        completion_tokens=len(text.split()),
                        answer=answer,
                        images=images,
                        frame=frame,
                        meta={"example": True},
                    )
                )
    return rollouts


def example_records(task: str) -> Iterator[Record]:
    """Records of a task with each kind of answer and one or two references; the task says which of them it takes."""
    query = PlainImage()
    names = ("bo", "thao")
    references = tuple(Reference(name, PlainImage(56, 56, (30, 30, 200)), "likes the garden") for name in names)
    answers = (*_ANSWERS.get(task, ()), YesNo(True), Box(10, 12, 60, 70), Names(("bo",)), None)
    for answer in answers:
        for count in (1, 2, 0):
            yield Record(f"{task}-example", task, query, references[:count], answer, "the red ball")
