"""The prompts of a run in the order in which they are trained on: one per group, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random

from repic_plugins.errors import DataError
from repic_plugins.types import Record, Sample, Task


class Prompts(Sequence[Sample]):
    """`length` samples: the records in a new order each epoch, each time worded anew.

    A sample is built when it is looked at and depends on seed, epoch and record alone, so that all completions of a
    group share one prompt and a resumed run goes on with the same ones.
    """

    def __init__(self, records: Sequence[Record], tasks: Mapping[str, Task], length: int, seed: int) -> None:
        if not records:
            raise DataError("there are no records to train on")
        self.records, self.tasks, self.seed = records, tasks, seed
        self._length = length
        self._build = lru_cache(maxsize=512)(self._build_row)
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Sample:  # type: ignore[override]
        if not 0 <= row < self._length:
            raise IndexError(row)
        return self._build(row)

    def record(self, row: int) -> Record:
        """The record of which a row is made."""
        epoch, place = divmod(row, len(self.records))
        return self.records[self._order(epoch)[place]]

    def epoch(self, row: int) -> int:
        """How often the records had been gone through before this row."""
        return row // len(self.records)

    def _shuffle(self, epoch: int) -> list[int]:
        rng = Random(f"order-{self.seed}-{epoch}")
        return rng.sample(range(len(self.records)), len(self.records))

    def _build_row(self, row: int) -> Sample:
        record = self.record(row)
        rng = Random(f"prompt-{self.seed}-{self.epoch(row)}-{record.id}")
        try:
            return self.tasks[record.task].build(record, rng)
        except ValueError as error:
            raise DataError(str(error)) from error
