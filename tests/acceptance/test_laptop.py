"""The platform on one machine, from a fresh clone to killed processes, as a new user and a hard one would try it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest

from tests.acceptance.conftest import FULL, Figures
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(3600)
WEIGHTS = "mobilenet_v2_0.35_224_imagenet_notop.h5"


class Platform:
    """A clone of this repository, and the platform that runs in it."""

    def __init__(self, clone: Path, port: int) -> None:
        self.clone = clone
        self.port = port
        self.data = clone / ".canari"
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = clone.parent / "run.log"

    def run(self) -> None:
        """`make run`, as a user types it in a terminal of their own."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                ["make", "run", f"PORT={self.port}"],
                cwd=self.clone,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=120)

    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.data / "status.json").read_text()))
        except (OSError, ValueError):
            return {}

    def settled(self) -> bool:
        found = self.status()
        return (
            bool(found)
            and not found["waiting_for"]
            and all(p["pid"] for p in found["processes"] if "train-" not in p["name"])
        )

    def command(self, *arguments: str, seconds: float = 900) -> str:
        """`canari ...` in the clone."""
        done = subprocess.run(
            [str(self.clone / ".venv/bin/canari"), *arguments, "--data-dir", str(self.data)],
            cwd=self.clone,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self.status()["databases"]["app"]) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def processes(self) -> list[str]:
        """Every process of this platform that lives."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.clone) in line or str(process.info["cwd"] or "").startswith(str(self.clone)):
                found.append(line[:120])
        return found


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A fresh clone in an empty folder; nothing is installed in it yet."""
    folder = tmp_path_factory.mktemp("acceptance")
    folder.chmod(0o711)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "canari")], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Platform(folder / "canari", port)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.interrupt()


@pytest.fixture(scope="module")
def photos(real_data: Path | None) -> list[bytes]:
    assert real_data is not None, "set CANARI_TEST_DATA to the folder that holds cats_dogs/ and weights/"
    return [file.read_bytes() for file in sorted((real_data / "cats_dogs" / "originals").glob("*.jpg"))]


def test_1_one_command_from_a_clone_to_photo_and_feedback(
    platform: Platform, photos: list[bytes], figures: Figures
) -> None:
    began = time.monotonic()
    platform.run()
    until(platform.settled, 1200, "make run")
    figures.at_most("from `make run` in an empty clone to ready, seconds", time.monotonic() - began, 900)
    page = httpx.get(platform.url, follow_redirects=True)
    figures.true("the page answers", holds=page.status_code == 200 and "Canari" in page.text)
    answer = httpx.post(
        f"{platform.url}/api/cats_dogs/predict", content=photos[0], headers={"content-type": "image/jpeg"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    prediction = answer.json()
    best = prediction["labels"][0]
    figures.true(f"a photo is answered: {best['label']} {best['score']:.2f}", holds=best["label"] in {"cat", "dog"})
    vote = {"prediction_id": prediction["prediction_id"], "right": False, "label": "dog", "comment": None}
    said = [httpx.post(f"{platform.url}/api/cats_dogs/feedback", json=vote).status_code for _ in range(2)]
    figures.true(f"feedback is taken once: {said}", holds=said == [201, 200])
    kept = platform.rows('SELECT "right", label FROM feedback WHERE prediction_id = %s', prediction["prediction_id"])
    figures.true("the feedback is one row in Postgres", holds=kept == [(False, "dog")])
    platform.interrupt()
    figures.true("Ctrl-C leaves no process", holds=platform.processes() == [])
    platform.run()
    figures.note(f"started again in {until(platform.settled, 120, 'the second make run'):.1f} s")


def test_2_training_a_second_version_and_sending_it_traffic(
    platform: Platform, photos: list[bytes], real_data: Path, figures: Figures
) -> None:
    began = time.monotonic()
    options = ["--data", str(real_data / "cats_dogs"), "--base-weights", str(real_data / "weights" / WEIGHTS)]
    trained = json.loads(platform.command("train", "cats_dogs", *options, "--json").strip().splitlines()[-1])
    figures.at_most("training with base weights, seconds", time.monotonic() - began, 600)
    figures.at_least("accuracy on photos held out", trained["accuracy"], 0.88, ".3f")
    figures.true(f"it is version {trained['version']}", holds=trained["version"] == 2)
    platform.command("deploy", "cats_dogs", "2", "--weight", "20")
    requests, bar = 1000, 40
    answered = post(platform, photos, requests)
    share = sum(version == 2 for _, version in answered)
    figures.within(f"requests of {requests} that version 2 answered at weight 20", share, 200 - bar, 200 + bar)
    total = 5000 if FULL else 1000
    stop = threading.Event()
    changing = threading.Thread(target=change_weights, args=(platform, stop), daemon=True)
    changing.start()
    answered = post(platform, photos, total)
    stop.set()
    changing.join()
    changes = platform.rows("SELECT count(*) FROM decisions WHERE action IN ('weight', 'start', 'rolled_back')")[0][0]
    figures.at_least("changes of weight meanwhile", changes, 10, ".0f")
    figures.at_most(f"requests of {total} that failed meanwhile", total - len(answered), 0, ".0f")


def test_3_the_tests_pass_in_time(platform: Platform, figures: Figures) -> None:
    if not FULL:
        figures.note("`make test` is timed by itself here: see its own lines")
        return
    began = time.monotonic()
    done = subprocess.run(["make", "test"], cwd=platform.clone, capture_output=True, text=True, check=False)
    figures.true("make test passes, over 90 % branch coverage", holds=done.returncode == 0)
    figures.at_most("make test after installation, seconds", time.monotonic() - began, 600)


def test_4_speed_beside_simpler_servers_and_the_engine_alone(platform: Platform, figures: Figures) -> None:
    platform.interrupt()
    rounds, seconds = (9, 8) if FULL else (5, 4)
    # Short rounds on a machine that others share swing by a tenth or two.
    slack = 0.0 if FULL else 0.12
    if not FULL:
        figures.note(f"{rounds} rounds of {seconds} s instead of 9 of 8, and so bars lower by {slack:.0%}")
    command = ("bench", "serve", "--rounds", str(rounds), "--seconds", str(seconds), "--json")
    ratios = json.loads(platform.command(*command, seconds=2400))["ratios"]
    figures.at_least("Canari over the naive server", ratios["canari_over_naive"]["median"], 3.2 * (1 - slack))
    figures.at_least("Canari over the in-process limit", ratios["canari_over_limit"]["median"], 0.90 * (1 - slack))
    platform.run()
    until(platform.settled, 120, "the third make run")


def test_5_killing_any_process_loses_nothing(platform: Platform, photos: list[bytes], figures: Figures) -> None:
    platform.command("deploy", "cats_dogs", "2", "--weight", "20")
    names = list(lasting(platform))
    with posting(platform, photos) as answered:
        for name in names:
            figures.note(f"{name} killed; back in {kill(platform, name):.1f} s")
        kill_up(platform, figures)
        before = len(answered)
        until(lambda: len(answered) > before + 50, 60, "answers after the last kill")
    figures.true(f"every process came back: {', '.join(names)} and `up`", holds=platform.settled())

    def rows() -> Counter[int]:
        query = "SELECT id::text, count(*) FROM predictions WHERE id = ANY(%s::uuid[]) GROUP BY id"
        found = dict(platform.rows(query, answered))
        return Counter(found.get(one, 0) for one in answered)

    until(lambda: rows()[1] == len(answered), 60, f"one row per answered prediction: {rows()}")
    figures.true(f"{len(answered)} answered predictions, {dict(rows())} rows each", holds=rows() == {1: len(answered)})
    platform.interrupt()
    figures.true("Ctrl-C leaves no process", holds=platform.processes() == [])


def kill_up(platform: Platform, figures: Figures) -> None:
    """Kill the controller itself, then start it again: what lives is adopted."""
    pids = lasting(platform)
    assert platform.process is not None
    os.killpg(platform.process.pid, signal.SIGKILL)
    platform.process.wait()
    (platform.data / "status.json").unlink()
    platform.run()
    figures.note(f"`up` killed and started again; ready in {until(platform.settled, 120, 'up'):.1f} s")
    figures.true("a new `up` adopts what lives", holds=lasting(platform) == pids)


def lasting(platform: Platform) -> dict[str, int]:
    """The processes that are there for good, by name: a training or a job is there until it is done."""
    processes = {p["name"]: p["pid"] for p in platform.status()["processes"]}
    return {name: pid for name, pid in processes.items() if not name.startswith(("train-", "job-"))}


def kill(platform: Platform, name: str) -> float:
    """Kill -9 one process; the seconds until another does its work."""
    killed = next(p["pid"] for p in platform.status()["processes"] if p["name"] == name)
    os.kill(killed, signal.SIGKILL)

    def back() -> bool:
        found = {p["name"]: p["pid"] for p in platform.status().get("processes", [])}
        return found.get(name) not in {None, killed} and platform.settled()

    return until(back, 60, name)


def post(platform: Platform, photos: list[bytes], count: int) -> list[tuple[str, int]]:
    """Predictions by 8 clients: id and version of each that was answered 200."""
    answered: list[tuple[str, int]] = []
    turns = iter(range(count))
    lock = threading.Lock()

    def ask() -> None:
        with httpx.Client(base_url=platform.url, timeout=60) as client:
            while True:
                with lock:
                    turn = next(turns, None)
                if turn is None:
                    return
                answer = client.post(
                    "/api/cats_dogs/predict",
                    content=photos[turn % len(photos)],
                    headers={"content-type": "image/jpeg"},
                )
                if answer.status_code == 200:
                    body = answer.json()
                    answered.append((body["prediction_id"], body["version"]))
                else:
                    sys.stdout.write(f"      {answer.status_code}: {answer.text[:200]}\n")

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return answered


@contextmanager
def posting(platform: Platform, photos: list[bytes]) -> Iterator[list[str]]:
    """Eight clients that post until the block ends; what was answered so far."""
    answered: list[str] = []
    stop = threading.Event()
    told = (platform, photos, stop, answered)
    clients = [threading.Thread(target=keep_posting, args=told, daemon=True) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        yield answered
    finally:
        stop.set()
        for client in clients:
            client.join()


def keep_posting(platform: Platform, photos: list[bytes], stop: threading.Event, answered: list[str]) -> None:
    """Post until told to stop; a refused or broken request is simply tried again."""
    turn = 0
    while not stop.is_set():
        try:
            with httpx.Client(base_url=platform.url, timeout=20) as client:
                while not stop.is_set():
                    turn += 1
                    answer = client.post(
                        "/api/cats_dogs/predict",
                        content=photos[turn % len(photos)],
                        headers={"content-type": "image/jpeg"},
                    )
                    if answer.status_code == 200:
                        answered.append(answer.json()["prediction_id"])
                    else:
                        time.sleep(0.1)
        except httpx.HTTPError:
            time.sleep(0.1)


def change_weights(platform: Platform, stop: threading.Event) -> None:
    """Move the split, also all the way back to stable, until told to stop (ten times at least)."""
    moves = [("2", "50"), ("1", "100"), ("2", "10"), ("2", "80"), ("2", "30"), ("1", "100"), ("2", "5"), ("2", "60")]
    done = 0
    while not stop.is_set() or done < 12:
        version, weight = moves[done % len(moves)]
        platform.command("deploy", "cats_dogs", version, "--weight", weight)
        done += 1
        stop.wait(2)
