"""Where prompts and completions stand in the one packed row of a forward pass.

For each prompt: all of its tokens but the last, once; then one branch per completion. A branch is the prompt's last
token and the completion without its own last token, so that each of its positions predicts one completion token and no
position has to predict the first tokens of several completions. Nothing is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch


@dataclass(frozen=True)
class Group:
    """A prompt and its branches: `prefix` tokens from `start` on, then branches of `lengths` tokens each (all > 0)."""

    start: int
    prefix: int
    lengths: tuple[int, ...]

    @property
    def first(self) -> int:
        """Where the branches begin."""
        return self.start + self.prefix

    @property
    def end(self) -> int:
        """Where the next group begins."""
        return self.first + sum(self.lengths)

    @property
    def ragged(self) -> bool:
        """Whether the branches differ in length."""
        return len(set(self.lengths)) > 1

    @cached_property
    def padded(self) -> torch.Tensor:
        """(branches x longest,) for each place of the padded branches the token to take, counted from `first`.

        Places behind a branch's end repeat its last token: causal attention shows them to no real one.
        """
        longest = max(self.lengths)
        starts = [0, *accumulate(self.lengths)]
        rows = [
            torch.arange(start, start + longest).clamp(max=start + length - 1)
            for start, length in zip(starts, self.lengths, strict=False)
        ]
        return torch.cat(rows)

    @cached_property
    def unpadded(self) -> torch.Tensor:
        """(tokens of all branches,) where each stands among the padded branches."""
        longest = max(self.lengths)
        return torch.cat([torch.arange(length) + row * longest for row, length in enumerate(self.lengths)])


@dataclass(frozen=True)
class Layout:
    """The groups of a packed row."""

    groups: tuple[Group, ...]
    _prepared: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    @property
    def tokens(self) -> int:
        """Length of the row."""
        return self.groups[-1].end

    def prepared(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` makes of this layout, made once for all layers."""
        if name not in self._prepared:
            self._prepared[name] = make()
        return self._prepared[name]

    def index(self, name: str, number: int, device: torch.device) -> torch.Tensor:
        """`padded` or `unpadded` of a group, or the `mask` of its branches, on a device: made once for all layers."""
        group = self.groups[number]
        made: torch.Tensor = self.prepared(
            f"{name} {number}", lambda: (branch_mask(group) if name == "mask" else getattr(group, name)).to(device)
        )
        return made


KEYWORD = "shared_prefix"
"""Name of the keyword of `forward` that tells how to attend. Being a keyword, it is there too when gradient
checkpointing runs a layer again."""


def branch_mask(group: Group) -> torch.Tensor:
    """(longest, prefix + longest) bool: a branch's token sees the prompt and its own branch up to itself."""
    longest = max(group.lengths)
    return torch.ones(longest, group.prefix + longest, dtype=torch.bool).tril(group.prefix)


def lay_out(groups: Sequence[tuple[int, Sequence[int]]]) -> Layout:
    """The layout of prompts given as (tokens, tokens of each completion). Completions must not be empty."""
    laid, start = [], 0
    for prompt, lengths in groups:
        group = Group(start, prompt - 1, tuple(lengths))
        laid.append(group)
        start = group.end
    return Layout(tuple(laid))
