"""`canari up` starts its jobs by itself, one after the other, when the demonstration's training is over."""

from __future__ import annotations

from pathlib import Path

from tests.platform import Platform, until


def test_what_is_due_is_done_by_itself_and_shown_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    for parent in (tmp_path, tmp_path.parent):
        parent.chmod(0o711)
    made = Platform(tmp_path, jobs=True)
    made.start()
    try:
        seen: list[set[str]] = []

        def ended() -> bool:
            status = made.status()
            names = {process["name"] for process in status.get("processes", [])}
            seen.append({name for name in names if name.startswith("job-")})
            assert not (seen[-1] and any(name.startswith("train-") for name in names))
            return len(made.rows("SELECT 1 FROM jobs WHERE state = 'done'")) >= 3

        until(ended, 300, lambda: str(made.rows("SELECT key, state, error FROM jobs")))
        listed = made.canari("job", "list")
        assert {job["kind"] for job in listed} == {"evaluate", "retrain", "retention"}
        assert {job["asked_by"] for job in listed} == {"schedule"}
        assert all(len(names) <= 1 for names in seen)
        asked = made.canari("job", "run", "evaluate", "drift", "--follow")
        assert (asked["state"], asked["model"]) == ("done", "drift")
    finally:
        made.stop()
    assert made.left() == []
