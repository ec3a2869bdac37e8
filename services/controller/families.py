"""The families' folder, read again when a specification in it changes."""

from __future__ import annotations

from pathlib import Path

from loguru import logger

from canari.errors import CanariError
from canari.family import Family, find_families


class WatchedFamilies:
    """The families there are. A specification broken while the platform runs is told once; the last good ones stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamps: dict[Path, int] | None = None
        self._families: list[Family] | None = None

    def current(self) -> list[Family]:
        """Every family, by name; raises CanariError where the very first reading fails."""
        stamps = {file: file.stat().st_mtime_ns for file in sorted(self._folder.glob("*/model.yaml"))}
        if self._families is None:
            self._families = find_families(self._folder)
        elif stamps != self._stamps:
            try:
                self._families = find_families(self._folder)
            except CanariError as error:
                logger.warning("the last good specifications stay live, for one was broken: {}", error)
        self._stamps = stamps
        return self._families
