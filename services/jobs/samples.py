"""Adding samples: files into the blob store, rows into Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from canari import dataset
from canari.blobs import FolderBlobs
from canari.family import Family
from canari.settings import Layout
from canari.store import samples, versions
from canari.types import Sample
from services.jobs.making import generate, place
from services.jobs.progress import Report


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a folder: usable samples found, those that were new, and what was skipped, with why."""

    found: int
    added: int
    skipped: tuple[tuple[str, str], ...]


def add_folder(engine: Engine, layout: Layout, family: Family, folder: Path, report: Report) -> Added:
    """Keep the samples of a folder that holds a folder per label; those that are there already are left alone."""
    found = dataset.read_folder(folder, family, lambda done, total: report("read", done, total, {}))
    blobs = FolderBlobs(layout.blobs)
    for done, one in enumerate(found.samples, start=1):
        blobs.put(place(family), one.path.read_bytes())
        report("keep", done, len(found.samples), {})
    versions.put_spec(engine, family.spec)
    added = samples.add(engine, family.name, found.samples)
    return Added(len(found.samples), added, found.skipped)


def add_generated(
    engine: Engine, layout: Layout, family: Family, count: int, seed: int, report: Report
) -> list[Sample]:
    """Make `count` synthetic samples with the family's generator and keep them as such."""
    made = generate(layout, family, count, seed, report)
    versions.put_spec(engine, family.spec)
    samples.add(engine, family.name, made, synthetic=True)
    return made
