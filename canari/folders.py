"""A folder of samples, as teams lay one out: a folder of files for each label."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from canari.errors import CanariError


def labelled_files(folder: Path, labels: Collection[str]) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """The files of a folder that holds a folder per label, each with its label; and what else is there, with why.

    Raises CanariError where it is no folder.
    """
    if not folder.is_dir():
        raise CanariError(f"{folder} is not a folder; it should hold a folder of files for each label")
    strange = [
        (entry.name, f"not in a label's folder; the labels are {', '.join(labels)}")
        for entry in sorted(folder.iterdir())
        if entry.name not in labels or not entry.is_dir()
    ]
    files = [(label, file) for label in labels for file in sorted((folder / label).rglob("*")) if file.is_file()]
    return files, strange
