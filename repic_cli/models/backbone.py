"""A loaded model with its processor: prompts in, text out, boxes explained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from repic_cli.models.families import Size
from repic_cli.models.prompts import render
from repic_plugins.types import BackboneFamily, BoxConvention, BoxFrame, ImageRef, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from repic_cli.models.shared_pictures import SharedPictures

Progress = Callable[[int, int], None]
"""Called with the completions done and those in all."""


@dataclass
class Backbone:
    """A multimodal model ready to answer samples.

    `name` is what the user called it; `embedded` tells the shipped toy model; `adapter` where its adapter came from;
    `fingerprint` identifies the weights under the adapter (see `repic_cli.models.fingerprint`).
    """

    model: Any
    processor: Any
    family: BackboneFamily
    name: str
    embedded: bool = False
    adapter: str | None = None
    fingerprint: str = ""
    _shared: SharedPictures | None = field(default=None, init=False, repr=False)

    @property
    def convention(self) -> BoxConvention:
        """How the model writes boxes."""
        return self.family.convention

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.model.device

    def seen(self, size: Size) -> Size:
        """The (width, height) in pixels at which the model sees a picture of `size`."""
        return self.family.seen(self.processor, size) if self.family.seen else size

    def frame(self, image: ImageRef) -> BoxFrame:
        """How boxes of this picture are to be read."""
        return BoxFrame(self.convention, self.seen(image.size), image.size)

    def encode(self, samples: Sequence[Sample]) -> Any:
        """The processor's tensors of a batch, left padded: input_ids (B, P), pixel_values, mm_token_type_ids, ...

        Raises `DataError` for a picture that cannot be read, or a text that holds a control token.
        """
        return self._encode([render(self.processor, sample) for sample in samples], samples)

    def generate(
        self,
        samples: Sequence[Sample],
        max_new_tokens: int = 256,
        batch_size: int = 16,
        temperature: float = 0.0,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """One completion per sample, in order, without special tokens.

        `temperature` 0 is greedy; otherwise the full distribution is sampled, from `seed` if it is given (the global
        random state is left as it was). Samples of like length are batched together, which changes no greedy answer
        but for ties within rounding. Raises like `encode`.
        """
        import torch

        answers = [""] * len(samples)
        with _evaluating(self.model), _seeded(seed), torch.inference_mode():
            for rows, inputs in self._batches(samples, batch_size, progress):
                for i, answer in zip(rows, self._complete(inputs, max_new_tokens, temperature), strict=True):
                    answers[i] = answer
        return answers

    def first_token_shares(
        self,
        samples: Sequence[Sample],
        choices: Sequence[Sequence[int]],
        batch_size: int = 16,
        progress: Progress | None = None,
    ) -> list[tuple[float, ...]]:
        """How likely each answer begins with one of the tokens `choices[k]`: for each sample, a probability per choice.

        `choices` are token ids; the probabilities of a choice's tokens are added up. Raises like `encode`.
        """
        import torch

        found: list[tuple[float, ...]] = [()] * len(samples)
        with _evaluating(self.model), torch.inference_mode():
            for rows, inputs in self._batches(samples, batch_size, progress):
                config = self._generation_config(1, 0.0)
                config.output_logits = config.return_dict_in_generate = True
                out = self.model.generate(**inputs.to(self.model.device), generation_config=config)
                shares = out.logits[0].float().softmax(-1)  # (B, vocabulary)
                parts = torch.stack([shares[:, list(tokens)].sum(-1) for tokens in choices], -1)  # (B, choices)
                for i, part in zip(rows, parts.tolist(), strict=True):
                    found[i] = tuple(part)
        return found

    @contextmanager
    def sharing_pictures(self) -> Iterator[SharedPictures | None]:
        """Within this block each different picture is looked at once, whichever prompts show it."""
        from repic_cli.models.shared_pictures import shared_pictures

        with shared_pictures(self.model) as self._shared:
            try:
                yield self._shared
            finally:
                self._shared = None

    def merge(self) -> None:
        """Put the adapter into the weights, in float32, and cast back to the model's type; nothing if there is none."""
        from repic_cli.models.adapters import merge

        self.model = merge(self.model)

    def _batches(
        self, samples: Sequence[Sample], batch_size: int, progress: Progress | None
    ) -> Iterator[tuple[list[int], Any]]:
        """The samples' numbers and tensors, batch by batch; samples of like length go together."""
        texts = [render(self.processor, sample) for sample in samples]
        order = sorted(range(len(samples)), key=lambda i: (len(samples[i].images), len(texts[i])))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            inputs = self._encode([texts[i] for i in rows], [samples[i] for i in rows])
            if self._shared is not None:
                self._shared.expect(inputs)
            yield rows, inputs
            if progress:
                progress(min(start + batch_size, len(order)), len(order))

    def _encode(self, texts: Sequence[str], samples: Sequence[Sample]) -> Any:
        # A picture that stands in several prompts (the query, above all) is decoded once.
        opened = {id(image): image.open() for sample in samples for image in sample.images}
        pictures = [[opened[id(image)] for image in sample.images] for sample in samples]
        return self.processor(
            text=list(texts),
            images=pictures if any(pictures) else None,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )

    def _complete(self, inputs: Any, max_new_tokens: int, temperature: float) -> list[str]:
        inputs = inputs.to(self.model.device)
        config = self._generation_config(max_new_tokens, temperature)
        tokens = self.model.generate(**inputs, generation_config=config)  # (B, P + C)
        answers = tokens[:, inputs["input_ids"].shape[1] :]
        return list(self.processor.tokenizer.batch_decode(answers, skip_special_tokens=True))

    def _generation_config(self, max_new_tokens: int, temperature: float) -> Any:
        tokenizer = self.processor.tokenizer
        config = copy.deepcopy(self.model.generation_config)
        config.max_length = None
        config.max_new_tokens = max_new_tokens
        config.do_sample = temperature > 0
        config.temperature, config.top_p, config.top_k = (temperature or 1.0), 1.0, (0 if temperature > 0 else 50)
        config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        return config


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Dropout off; what was on before is on again afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    import torch

    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
