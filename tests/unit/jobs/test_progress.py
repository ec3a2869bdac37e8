import subprocess
import sys

from services.jobs.progress import Lines
from tests.conftest import ROOT


def test_a_stage_says_when_it_begins_when_it_ends_and_now_and_then() -> None:
    lines: list[str] = []
    clock = iter([0.0, 1.0, 4.0, 6.0, 7.0, 8.0])
    report = Lines(lines.append, lambda: next(clock))
    for done in (1, 2, 3, 4):
        report("train", done, 5, {"loss": 0.123456})
    report("train", 5, 5, {})
    report("export", 0, 1, {})
    assert lines == ["train 1/5 loss 0.1235", "train 4/5 loss 0.1235", "train 5/5", "export 0/1"]


def test_off_a_terminal_progress_is_lines_on_standard_error() -> None:
    code = "from services.jobs.progress import reporting\nwith reporting() as report: report('train', 1, 2, {})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "train 1/2\n")
