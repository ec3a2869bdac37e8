"""What a build must put into a bento beside the family's own folder and its artifact."""

from __future__ import annotations

RUNTIME_FILES: tuple[str, ...] = (
    "canari/__init__.py",
    "canari/archive.py",
    "canari/errors.py",
    "canari/ids.py",
    "canari/measures.py",
    "canari/spec.py",
    "canari/spec_canary.py",
    "canari/spec_parts.py",
    "canari/tokens.py",
    "canari/types.py",
    "canari/runtime/*.py",
    "bentos/__init__.py",
    "bentos/service.py",
)
"""Globs relative to the repository's root; in a bento they lie at the same places under ``src``."""
