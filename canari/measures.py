"""What drift is seen by: a few measures of an input, and where the inputs that a version was made of lie on each.

The runtime writes an input's place on each measure, a number from 0 to 10, with its prediction. Nobody keeps the input,
and from its places nobody can make it again. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from canari.errors import CanariError
from canari.spec import Input, InputKind

BINS = 10
NO_NUMBER = BINS
"""The place of what is not a number; an infinity lies in the first or the last bin."""
PLACES = BINS + 1
MOST_INPUTS = 2_000
"""Twice as many would tell a share of 10 % to 0.5 points instead of 0.7: inputs beyond these would teach no more."""

EMBEDDING = "canari_embedding"
"""What an exported model calls its second output, (n, width): what goes into its last layer."""

_COMPONENTS = 4
_BATCH = 32
_ROWS = 32
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

Array = NDArray[np.float32]
View = Literal["features", "pixels", "tensor"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: the rising edges of its bins (at most nine), and how many reference inputs lie in each place.

    An input lies in the bin of as many edges as are at most its value. `counts` has PLACES entries.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many reference inputs there were."""
        return sum(self.counts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Each place's share of them."""
        return tuple(n / max(1, self.count) for n in self.counts)

    def __post_init__(self) -> None:
        edges = np.array(self.edges)
        if len(edges) >= BINS or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
            raise ValueError(f"{self.name}: the edges are at most {BINS - 1} rising numbers")
        if len(self.counts) != PLACES or min(self.counts) < 0:
            raise ValueError(f"{self.name}: there are {PLACES} counts, none under 0")


@dataclass(frozen=True)
class Reference:
    """Where a version's own inputs lie on each measure, and how often it gave each answer on those held out.

    `view` is how an input is looked at. The last measures are the components: `axes` (components, width) are the
    principal axes of what the model makes of an input before its last layer, and `mean` (width,) is their origin.
    """

    view: View
    measures: tuple[Measure, ...]
    answers: dict[str, int]
    mean: tuple[float, ...] = ()
    axes: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.axes) > len(self.measures) or any(len(axis) != len(self.mean) for axis in self.axes):
            raise ValueError("the axes fit neither the measures nor their mean")
        if len(set(self.names)) < len(self.names):
            raise ValueError("two measures have one name")
        if not np.isfinite([*self.mean, *(number for axis in self.axes for number in axis)]).all():
            raise ValueError("the mean and the axes are finite numbers")

    @property
    def names(self) -> tuple[str, ...]:
        """The measures' names, in the order of an input's places."""
        return tuple(one.name for one in self.measures)

    @property
    def components(self) -> frozenset[str]:
        """The names of those measures whose values mean nothing by themselves."""
        return frozenset(one.name for one in self.measures[len(self.measures) - len(self.axes) :])

    def bins(self, inputs: Array, embedding: Array | None) -> list[tuple[int, ...]]:
        """Each input's places on the measures, `embedding` (n, width) being what the model makes of inputs (n, *shape).

        Whatever the numbers are, they have a place. Raises ValueError where the shapes do not fit the reference.
        """
        with np.errstate(all="ignore"):
            values = _VIEWS[self.view](inputs)
            if self.axes:
                if embedding is None:
                    raise ValueError("the model has no embedding, but its reference has components")
                values = np.concatenate([values, (embedding - self._mean) @ self._axes], axis=1)
        # For the few numbers of a request this takes a fifth of the time that array operations would.
        return [tuple(map(_place, self._edges, row)) for row in values.tolist()]

    def document(self) -> dict[str, Any]:
        """The reference as JSON values."""
        document: dict[str, Any] = _REFERENCE.dump_python(self, mode="json")
        return document

    @cached_property
    def _edges(self) -> tuple[tuple[float, ...], ...]:
        return tuple(one.edges for one in self.measures)

    @cached_property
    def _mean(self) -> Array:
        return np.array(self.mean, np.float32)

    @cached_property
    def _axes(self) -> Array:
        return np.ascontiguousarray(np.array(self.axes, np.float32).T)


_REFERENCE: TypeAdapter[Reference] = TypeAdapter(Reference)


def read_reference(content: bytes | Mapping[str, Any]) -> Reference:
    """A reference from its document, or from that as JSON; raises CanariError where it does not hold."""
    try:
        return _REFERENCE.validate_json(content) if isinstance(content, bytes) else _REFERENCE.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the reference"
        raise CanariError(f"this is not a reference of inputs: {where}: {first['msg']}") from None


def sampled(inputs: Array, seed: int) -> Iterator[Array]:
    """The inputs that a reference is made of, a batch at a time: all, or MOST_INPUTS of them drawn at random."""
    rows = np.arange(len(inputs))
    if len(inputs) > MOST_INPUTS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_INPUTS, replace=False))
    for start in range(0, len(rows), _BATCH):
        yield inputs[rows[start : start + _BATCH]]


def refer(
    given: Input,
    learned: Iterable[Array],
    answers: Mapping[str, int],
    embeddings: tuple[Array, Array] | None = None,
) -> Reference:
    """The reference of a version that learned from `learned`, batches (n, *shape), and answered those held out so.

    `embeddings` are what it makes of inputs it learned from and of inputs held out, each (n, width). The axes are
    found on the first, and the places counted on the second: a model knows what it learned from by heart, and what
    users send looks otherwise to it without having moved.
    """
    view: View = "tensor"
    parts = []
    for batch in learned:
        view = _view(given, batch.shape[1:])
        parts.append(_VIEWS[view](batch))
    values = np.concatenate(parts)
    names = given.features if view == "features" else _NAMES[view]
    measures = [_measured(name, column) for name, column in zip(names, values.T, strict=True)]
    mean, axes = _principal(embeddings[0]) if embeddings else (np.zeros(0), np.zeros((0, 0)))
    if embeddings and len(axes):
        seen = (embeddings[1] - mean.astype(np.float32)) @ axes.astype(np.float32).T
        measures += [_measured(f"component {number}", column) for number, column in enumerate(seen.T, start=1)]
    return Reference(
        view=view,
        measures=tuple(measures),
        answers=dict(answers),
        mean=tuple(mean.tolist()) if len(axes) else (),
        axes=tuple(tuple(axis) for axis in axes.tolist()),
    )


def _view(given: Input, shape: tuple[int, ...]) -> View:
    if given.kind is InputKind.TABULAR and shape == (len(given.features),):
        return "features"
    return "pixels" if given.kind is InputKind.IMAGE and len(shape) == 3 and shape[2] == 3 else "tensor"


def _pixels(photos: Array) -> Array:
    """Of photos (n, height, width, 3), 0 to 255: their light, its spread, their colour, and their edges.

    Some thirty of their rows tell as much as all of them. Sharpness is how much neighbours on a row differ, measured
    by the contrast, so that a darker photo is no less sharp; one grey level keeps an empty photo finite.
    """
    rows = photos[:, :: max(1, photos.shape[1] // _ROWS)]
    planes = np.ascontiguousarray(np.moveaxis(rows, 3, 0))
    light = np.tensordot(_LUMA, planes, axes=1)
    contrast = light.std(axis=(1, 2))
    colour = planes.max(axis=0) - planes.min(axis=0)
    edges = np.abs(light[:, :, 1:] - light[:, :, :-1]).mean(axis=(1, 2))
    return np.stack([light.mean(axis=(1, 2)), contrast, colour.mean(axis=(1, 2)), edges / (contrast + 1)], axis=1)


def _tensor(inputs: Array) -> Array:
    """Of any inputs (n, *shape): their mean, their spread, and how much of them is not padding (zero)."""
    flat = inputs.reshape(len(inputs), -1)
    return np.stack([flat.mean(axis=1), flat.std(axis=1), (flat != 0).mean(axis=1, dtype=np.float32)], axis=1)


_VIEWS: dict[View, Callable[[Array], Array]] = {
    "features": lambda rows: rows.reshape(len(rows), -1),
    "pixels": _pixels,
    "tensor": _tensor,
}
_NAMES: dict[View, tuple[str, ...]] = {
    "pixels": ("brightness", "contrast", "saturation", "sharpness"),
    "tensor": ("mean", "deviation", "filled"),
}


def _place(edges: tuple[float, ...], value: float) -> int:
    return NO_NUMBER if math.isnan(value) else bisect_right(edges, value)


def _measured(name: str, values: Array) -> Measure:
    edges = tuple(_edges(values).tolist())
    places = Counter(_place(edges, value) for value in values.tolist())
    return Measure(name, edges, tuple(places[place] for place in range(PLACES)))


def _edges(values: Array) -> Array:
    """The deciles of (n,) values; a value that takes several of them gets a bin of its own."""
    numbers = values[np.isfinite(values)].astype(np.float64)
    if not len(numbers):
        return np.zeros(0, np.float32)
    cuts = np.quantile(numbers, np.arange(1, BINS) / BINS).astype(np.float32)
    repeated = np.concatenate([[False], cuts[1:] == cuts[:-1]])
    with np.errstate(over="ignore"):
        edges: Array = np.unique(np.where(repeated, np.nextafter(cuts, np.float32(np.inf)), cuts))
    return edges[np.isfinite(edges)]


def _principal(embedding: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (width,) and the principal axes (at most four, width) of (n, width), those without spread left out."""
    exact = embedding.astype(np.float64)
    mean = exact.mean(axis=0)
    _, spread, axes = np.linalg.svd(exact - mean, full_matrices=False)
    told = spread[:_COMPONENTS] > 1e-4 * max(spread[0], np.abs(mean).max(), 1e-12)
    return mean, axes[:_COMPONENTS][told]
