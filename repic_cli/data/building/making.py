"""Records of one source: pairs that are the same or not, captions with one name or several, phrases with a box.

Every record is drawn with a generator of its own, seeded by what it is made of: the number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any, TypeVar

from repic_cli.data.building.naming import draw_name
from repic_cli.data.building.options import BuildOptions
from repic_cli.data.building.pictures import Pictures, fit, slug
from repic_cli.data.sources.pool import Group, Pair, Pool, Region, Shot
from repic_plugins.errors import DataError
from repic_plugins.text import clean
from repic_plugins.types import Box, Names, Record, Reference, YesNo

T = TypeVar("T", Pair, Group, Region)

_PARTNERS = 4
"""Pictures that are tried for one negative."""
_BATCH = 512
"""Candidates whose pictures are opened together."""
_MAX_PHRASE = 500


class Maker:
    """Makes the records of a source. `bad` is told of every candidate whose pictures cannot be used."""

    def __init__(self, pool: Pool, options: BuildOptions, pictures: Pictures, bad: Callable[[DataError], None]) -> None:
        self.pool, self.options, self.pictures, self._bad = pool, options, pictures, bad
        self._by_look: dict[str, list[Pair]] = {}
        for pair in pool.pairs:
            self._by_look.setdefault(pair.look, []).append(pair)

    def same(self, pairs: Sequence[Pair], count: int) -> Iterator[Record]:
        """Two pictures of one thing: yes."""

        def make(pair: Pair, key: str) -> Record:
            return self._question(pair, pair, key, "positive")

        return self._take("oct-yes", pairs, count, _both, make)

    def other(self, pairs: Sequence[Pair], count: int) -> Iterator[Record]:
        """Pictures of two things, of one kind where the source has such: no."""

        def shots(pair: Pair) -> tuple[Shot, ...]:
            return pair.reference, *(other.query for other in self._partners(pair)[:1])

        def make(pair: Pair, key: str) -> Record:
            error = DataError(f"{self.pool.source}: {pair.identity}: there is nothing else to compare it with")
            for other in self._partners(pair):
                try:
                    hard = other.look == pair.look
                    return self._question(pair, other, key, "hard negative" if hard else "negative")
                except DataError as problem:
                    error = problem
            raise error

        return self._take("oct-no", pairs, count, shots, make)

    def single(self, pairs: Sequence[Pair], count: int) -> Iterator[Record]:
        """One picture as reference, the other to be captioned with the name."""

        def make(pair: Pair, key: str) -> Record:
            reference = self._reference(pair, key)
            meta = self._meta([pair.category], [pair.identity])
            query = self._image(pair.query)
            return Record(key, "ict", query, (reference,), Names((reference.name,)), meta=meta)

        return self._take("ict-1", pairs, count, _both, make)

    def multi(self, groups: Sequence[Group], size: int, count: int) -> Iterator[Record]:
        """`size` things of one scene as references, the scene to be captioned with their names."""

        def make(group: Group, key: str) -> Record:
            rng = Random(f"parts-{self.options.seed}-{key}")
            references: list[Reference] = []
            parts = rng.sample(group.parts, size)
            for part in parts:
                taken = [reference.name for reference in references]
                name = draw_name(rng, part.category, self.options.names, taken)
                references.append(Reference(name, self._image(part.shot)))
            answer = Names(tuple(reference.name for reference in references))
            meta = self._meta([part.category for part in parts], [part.identity for part in parts])
            return Record(key, "ict", self._image(group.query), tuple(references), answer, meta=meta)

        large = [group for group in groups if len(group.parts) >= size]
        return self._take(f"ict-{size}", large, count, lambda group: (group.query,), make)

    def region(self, regions: Sequence[Region], count: int) -> Iterator[Record]:
        """A picture, one of the phrases for a thing in it, and its box."""

        def make(region: Region, key: str) -> Record:
            image = self._image(region.picture)
            phrase = Random(f"phrase-{self.options.seed}-{key}").choice(region.phrases)
            try:
                box = fit(region.box, self.pictures.size(region.picture))
            except ValueError as error:
                raise DataError(f"{image.path}: {region.identity}: {error}") from error
            meta = self._meta([], [region.identity])
            return Record(key, "vlt", image, answer=Box(*box), phrase=clean(phrase, _MAX_PHRASE), meta=meta)

        return self._take("vlt", regions, count, lambda region: (region.picture,), make)

    def _take(
        self,
        kind: str,
        items: Sequence[T],
        count: int,
        shots: Callable[[T], Iterable[Shot]],
        make: Callable[[T, str], Record],
    ) -> Iterator[Record]:
        """Records of the first items whose pictures can be used, `count` at most."""
        made = start = 0
        while made < count and start < len(items):
            batch = items[start : start + min(_BATCH, count - made)]
            start += len(batch)
            self.pictures.prepare(self.pool.source, (shot for item in batch for shot in shots(item)))
            for item in batch:
                try:
                    record = make(item, f"{slug(self.pool.source)}-{kind}-{made}")
                except DataError as error:
                    self._bad(error)
                    continue
                made += 1
                yield record

    def _partners(self, pair: Pair) -> list[Pair]:
        """Pairs of other things, those that look alike first; the same for the same seed."""
        rng = Random(f"partner-{self.options.seed}-{pair.identity}-{pair.reference.path.name}")
        found: list[Pair] = []
        for pool in (self._by_look[pair.look], self.pool.pairs):
            chosen = rng.sample(pool, min(len(pool), 4 * _PARTNERS))
            found += [other for other in chosen if _differ(pair, other)]
        return found[:_PARTNERS]

    def _question(self, pair: Pair, other: Pair, key: str, kind: str) -> Record:
        meta = self._meta([pair.category], list(dict.fromkeys([pair.identity, other.identity])), pair=kind)
        yes = other.identity == pair.identity
        return Record(key, "oct", self._image(other.query), (self._reference(pair, key),), YesNo(yes), meta=meta)

    def _reference(self, pair: Pair, key: str) -> Reference:
        rng = Random(f"name-{self.options.seed}-{key}")
        name = pair.name or draw_name(rng, pair.category, self.options.names, ())
        return Reference(name, self._image(pair.reference))

    def _image(self, shot: Shot) -> Any:
        return self.pictures.image(self.pool.source, shot)

    def _meta(self, categories: list[str], identities: list[str], **more: str) -> dict[str, Any]:
        meta: dict[str, Any] = {"source": self.pool.source, "identities": [clean(text, 200) for text in identities]}
        named = [clean(category, 100) for category in categories if category]
        return {**meta, **({"categories": named} if named else {}), **more}


def _both(pair: Pair) -> tuple[Shot, Shot]:
    return pair.reference, pair.query


def _differ(pair: Pair, other: Pair) -> bool:
    """Whether they show different things in different pictures."""
    return other.identity != pair.identity and other.query.picture != pair.query.picture
