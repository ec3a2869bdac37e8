"""People who use a platform: ``locust -f tests/load/locustfile.py --host http://127.0.0.1:8080``."""

from __future__ import annotations

import random
from itertools import cycle

from locust import FastHttpUser, between, task

from canari.family import find_family
from canari.settings import Settings

PHOTOS = [
    (sample.content, sample.label) for sample in find_family(Settings().families_dir, "cats_dogs").generate(24, 0)
]


class Person(FastHttpUser):  # type: ignore[misc]
    """Posts photos, says now and then whether the answer was right, and sometimes asks drift."""

    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        """Begin as a visitor who can be told from the others."""
        self.photos = cycle(random.sample(PHOTOS, len(PHOTOS)))
        self.client.post("/api/session/anonymous")

    @task(8)  # type: ignore[untyped-decorator]
    def show_a_photo(self) -> None:
        """One photo; every third answer gets a vote."""
        photo, label = next(self.photos)
        headers = {"Content-Type": "image/jpeg"}
        answer = self.client.post("/api/cats_dogs/predict", data=photo, headers=headers)
        if answer.status_code == 200 and random.random() < 1 / 3:
            self._vote(answer.json(), label)

    @task(1)  # type: ignore[untyped-decorator]
    def ask_drift(self) -> None:
        """One point of the plane."""
        self.client.post("/api/drift/predict", json={"x1": random.gauss(0, 1), "x2": random.gauss(0, 1)})

    def _vote(self, prediction: dict[str, str], label: str) -> None:
        vote = {"prediction_id": prediction["prediction_id"], "right": prediction["answer"] == label, "label": label}
        self.client.post("/api/cats_dogs/feedback", json=vote)
