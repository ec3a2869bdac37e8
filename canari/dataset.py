"""Datasets: which examples a version learns from and which it is judged on, decided by content and for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari.errors import CanariError, Problem
from canari.family import Array, Examples, Family
from canari.folders import labelled_files
from canari.phash import perceptual_hash
from canari.spec import InputKind, ModelSpec
from canari.types import Manifest, Origin, Sample, manifest_digest

_HELD_OUT = "canari evaluation set"

Progress = Callable[[int, int], None]
Skip = Callable[[Sample, str], object]


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds: the samples that can be used, and by name why each other file cannot."""

    samples: tuple[Sample, ...]
    skipped: tuple[tuple[str, str], ...]


def group_of(content: bytes, kind: InputKind) -> str:
    """What near-duplicates share: a perceptual hash for an image, else the content's SHA-256."""
    if kind is InputKind.IMAGE:
        return f"phash:{perceptual_hash(content)}"
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def held_out(group: str, share: float) -> bool:
    """Whether a group belongs to the evaluation set: it depends on the group alone, so it never changes sides."""
    digest = hashlib.sha256(f"{_HELD_OUT}\n{group}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def sample(content: bytes, label: str, path: Path, source: str, family: Family) -> Sample:
    """Describe one example; raises Problem where the family cannot read it."""
    if label not in family.spec.labels:
        raise Problem(422, "unknown-label", f"{label!r} is not one of the labels {', '.join(family.spec.labels)}")
    family.decode(content)
    return described(content, label, path, source, family.spec)


def described(content: bytes, label: str, path: Path, source: str, spec: ModelSpec) -> Sample:
    """An example that is known to be readable and of one of the labels: its group, and so its side, for ever."""
    group = group_of(content, spec.input.kind)
    return Sample(
        hashlib.sha256(content).hexdigest(), label, group, path, held_out(group, spec.evaluation.share), source
    )


def read_folder(folder: Path, family: Family, progress: Progress = lambda _done, _total: None) -> Found:
    """Read a folder that holds a folder of files per label. What cannot be used is skipped and named, never fatal."""
    files, skipped = labelled_files(folder, family.spec.labels)
    samples: dict[str, Sample] = {}
    contested: set[str] = set()
    for done, (label, file) in enumerate(files, start=1):
        name = file.relative_to(folder).as_posix()
        try:
            one = sample(file.read_bytes(), label, file.resolve(), name, family)
        except (Problem, OSError) as error:
            skipped.append((name, str(error)))
        else:
            first = samples.setdefault(one.sha256, one)
            if first is not one:
                skipped.append((name, f"the same content as {first.source}"))
            if first.label != label:
                contested.add(one.sha256)
        progress(done, len(files))
    skipped += [(samples[sha256].source, "the same content stands under another label") for sha256 in sorted(contested)]
    return Found(tuple(s for s in samples.values() if s.sha256 not in contested), tuple(skipped))


def unique(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """The samples in a manifest's order, the same content once."""
    found = {one.sha256: one for one in samples}
    return tuple(found[sha256] for sha256 in sorted(found))


def manifest(
    family: Family, samples: Iterable[Sample], *, synthetic: bool, skipped: Iterable[tuple[str, str]] = ()
) -> Manifest:
    """The dataset of one version, in its one order; raises CanariError that says what to add where it cannot serve."""
    ordered = unique(one for one in samples if one.label in family.spec.labels)
    learned = {one.label for one in ordered if not one.evaluation}
    lacking = [label for label in family.spec.labels if label not in learned]
    if lacking:
        present = sum(one.label in lacking for one in ordered)
        raise CanariError(
            f"there is nothing to learn {' and '.join(lacking)} from ({len(ordered)} usable samples in all, "
            f"{present} of {'these labels' if len(lacking) > 1 else 'this label'}, held out for evaluation): "
            f"add samples of {' and '.join(lacking)}"
        )
    if not any(one.evaluation for one in ordered):
        raise CanariError(
            f"none of the {len(ordered)} samples falls into the evaluation set, which takes a fixed share of "
            f"{family.spec.evaluation.share:.0%} by content: add more samples"
        )
    return Manifest(family.name, ordered, synthetic, tuple(skipped))


def document(dataset: Manifest) -> dict[str, Any]:
    """The manifest as JSON values: what is learned from and judged on, and what was skipped."""
    return {
        "model": dataset.model,
        "synthetic": dataset.synthetic,
        "samples": _rows(dataset),
        "skipped": [list(one) for one in dataset.skipped],
    }


def digest(dataset: Manifest) -> str:
    """SHA-256 of the canonical JSON of the model and its samples (content, label, group, side, user's origin)."""
    return manifest_digest(document(dataset))


def load(
    samples: Iterable[Sample],
    family: Family,
    root: Path,
    buffer: Path,
    progress: Progress = lambda _done, _total: None,
    skip: Skip = lambda _sample, _why: None,
) -> Examples:
    """Decode samples into the file `buffer`, so that a dataset may be larger than memory.

    A sample's path is taken relative to `root` unless it is absolute. One that has vanished or cannot be decoded is
    left out, and `skip` is told. Raises CanariError where a file has changed since the manifest named it.
    """
    chosen = list(samples)
    groups = {group: number for number, group in enumerate(sorted({one.group for one in chosen}))}
    inputs: Array | None = None
    usable: list[Sample] = []
    for place, one in enumerate(chosen, start=1):
        try:
            decoded = family.decode(_content(one, root))
        except FileNotFoundError:
            skip(one, "it is gone")
        except Problem as problem:
            skip(one, str(problem))
        else:
            if inputs is None:
                shape = (len(chosen), *decoded.shape)
                inputs = np.lib.format.open_memmap(buffer, mode="w+", dtype=np.float32, shape=shape)
            inputs[len(usable)] = decoded
            usable.append(one)
        progress(place, len(chosen))
    if inputs is None:
        raise CanariError("there are no samples to load: none was given, or every one is gone or cannot be read")
    labels = np.array([family.spec.labels.index(one.label) for one in usable], np.int64)
    return Examples(inputs[: len(usable)], labels, np.array([groups[one.group] for one in usable], np.int64))


def class_weights(labels: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """What each of `count` labels weighs so that all weigh the same together: shape (count,), 1 where they are equal.

    A label without an example weighs 1.
    """
    seen = np.bincount(labels, minlength=count)
    return np.where(seen > 0, len(labels) / (np.count_nonzero(seen) * np.maximum(seen, 1)), 1.0)


def split(examples: Examples, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows to validate on (about `share` of each label), never dividing a group.

    Every label keeps at least one group to learn from. For a family's own choices (when to stop, how much to
    regularise); the evaluation set is not part of `examples`.
    """
    random = np.random.default_rng(seed)
    validation = np.zeros(len(examples), bool)
    for label in np.unique(examples.labels):
        groups, sizes = np.unique(examples.groups[examples.labels == label], return_counts=True)
        order = random.permutation(len(groups))
        count = int(np.searchsorted(sizes[order].cumsum(), share * sizes.sum())) + 1
        chosen = groups[order[: min(count, len(groups) - 1)]]
        validation |= np.isin(examples.groups, chosen)
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def _content(one: Sample, root: Path) -> bytes:
    path = root / one.path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CanariError(f"the sample {one.source or one.sha256} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != one.sha256:
        raise CanariError(f"{path} has changed while it was being read: start again when it is left alone")
    return content


def _rows(dataset: Manifest) -> list[dict[str, Any]]:
    return [_row(one) for one in dataset.samples]


def _row(one: Sample) -> dict[str, Any]:
    row = {"sha256": one.sha256, "label": one.label, "group": one.group, "evaluation": one.evaluation}
    # What the team added is told by silence, so that manifests of before keep their digests.
    return row if one.origin is Origin.TEAM else {**row, "origin": one.origin, "labelled_by": one.labelled_by}
