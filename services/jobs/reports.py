"""Reports in the data folder: one file each, of which a version keeps the newest."""

from __future__ import annotations

from pathlib import Path

# Two days of evaluations by the hour; MLflow keeps the newest besides.
_KEPT = 48


def keep(root: Path, name: str, page: str) -> Path:
    """Write the report `name` under `root`, and drop the oldest of its kind beside it; raises OSError."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}")
    fresh.write_text(page, encoding="utf-8")
    fresh.replace(file)
    kind = file.name.partition("-")[0]
    for old in sorted(file.parent.glob(f"{kind}-*.html"))[:-_KEPT]:
        old.unlink(missing_ok=True)
    return file
