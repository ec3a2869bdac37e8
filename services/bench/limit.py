"""The engine with nothing around it: ``python -m services.bench.limit MODEL.onnx SPEC.json PHOTO...``.

One thread per CPU decodes and predicts. Each line on standard input asks for that many seconds; a line of JSON answers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count
from pathlib import Path

from canari.runtime import images
from canari.runtime.config import available_cpus
from canari.runtime.engine import OnnxEngine
from canari.spec import ModelSpec
from services.bench.load import WARM_UP_SECONDS, Turn, Window


class Limit:
    """A model, the photos to ask it about, and a thread per CPU."""

    def __init__(self, model: Path, spec: ModelSpec, photos: Sequence[bytes]) -> None:
        assert spec.input.size is not None
        self._engine = OnnxEngine(model, available_cpus())
        self._size, self._max_pixels = spec.input.size, spec.input.max_pixels
        self._photos = photos

    def run(self, seconds: float) -> Turn:
        """Decode and predict for `seconds`."""
        opens = time.perf_counter() + WARM_UP_SECONDS
        window = Window(opens, opens + seconds)
        threads = available_cpus()
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(self._work, place, threads, window) for place in range(threads)]:
                done.result()
        return window.turn()

    def _work(self, first: int, step: int, window: Window) -> None:
        for place in count(first, step):
            started = time.perf_counter()
            if started >= window.closes:
                return
            photo = images.decode(self._photos[place % len(self._photos)], self._size, self._max_pixels)
            self._engine.predict(photo[None], alone=False)
            window.note(started, time.perf_counter())


def main(model: str, spec: str, *photos: str) -> None:
    """Answer each line of standard input."""
    limit = Limit(
        Path(model),
        ModelSpec.model_validate_json(Path(spec).read_bytes()),
        [Path(photo).read_bytes() for photo in photos],
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asdict(limit.run(float(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
