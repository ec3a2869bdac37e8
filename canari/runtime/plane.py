"""The data plane: from a request's inputs to answers, knowing nothing of HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from canari.errors import CanariError, Problem
from canari.measures import Reference
from canari.runtime.engine import Engine
from canari.spec import ModelSpec

Array = NDArray[np.float32]
Decode = Callable[[bytes, ModelSpec], Array]


@dataclass(frozen=True, slots=True)
class Question:
    """What one request asks: encoded payloads, or a tensor (n, *input shape) that needs no decoding.

    `consent`: its sender agrees to the payloads being kept.
    """

    payloads: tuple[bytes, ...] = ()
    tensor: Array | None = None
    consent: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one input: `ranked` holds every label with its score, best first.

    `label` is the best one, or the specification's abstention where its score is too low. `bins` are the input's places
    on the reference's measures, where there is a reference.
    """

    label: str
    score: float
    ranked: list[tuple[str, float]]
    input_bytes: int
    input_sha256: str
    bins: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers to one question, in its order, and what they took."""

    question: Question
    answers: list[Answer]
    decode_ms: float
    inference_ms: float


class DataPlane:
    """Decodes and predicts in a pool of one thread per CPU; the event loop only waits."""

    def __init__(
        self, spec: ModelSpec, engine: Engine, decode: Decode, threads: int, reference: Reference | None = None
    ) -> None:
        self.spec = spec
        self.engine = engine
        self._decode = decode
        self._reference = reference
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._held = 0

    async def ask(self, read: Callable[[], Question], deadline: float) -> Outcome:
        """Answer what `read` (run in the pool) reads from a request.

        `deadline` is a moment of time.monotonic(): a request still waiting for a thread then is given up. Raises
        Problem of `read`, of the family's decode, or 503 past the deadline.
        """
        self._held += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._work, read, deadline)
        finally:
            self._held -= 1

    def warm_up(self) -> None:
        """Predict once on zeros, so that the first visitor does not wait for lazy initialisation.

        Raises CanariError where the model does not fit its specification or its reference.
        """
        zeros = np.zeros((1, *self.engine.input_shape), np.float32)
        for alone in (True, False):
            scores, embedding = self.engine.predict(zeros, alone=alone)
            self._check_scores(scores, 1)
        try:
            self._bins(zeros, embedding)
        except ValueError as error:
            raise CanariError(f"the reference of inputs does not fit the model: {error}") from error

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, read: Callable[[], Question], deadline: float) -> Outcome:
        started = time.perf_counter()
        if time.monotonic() > deadline:
            raise Problem(
                503, "overloaded", "The request waited too long for its turn: try again.", headers={"Retry-After": "1"}
            )
        question = read()
        tensor = question.tensor if question.tensor is not None else self._stack(question.payloads)
        decoded = time.perf_counter()
        scores, embedding = self.engine.predict(tensor, alone=self._held == 1)
        inferred = time.perf_counter()
        self._check_scores(scores, len(tensor))
        sources = question.payloads or [row.tobytes() for row in tensor]
        places = self._bins(tensor, embedding)
        answers = [self._answer(*parts) for parts in zip(scores.tolist(), sources, places, strict=True)]
        return Outcome(question, answers, (decoded - started) * 1000, (inferred - decoded) * 1000)

    def _bins(self, inputs: Array, embedding: Array | None) -> list[tuple[int, ...]] | list[None]:
        if self._reference is None:
            return [None] * len(inputs)
        return self._reference.bins(inputs, embedding)

    def _stack(self, payloads: tuple[bytes, ...]) -> Array:
        if len(payloads) == 1:
            return self._decode(payloads[0], self.spec)[None]
        inputs = []
        for place, payload in enumerate(payloads):
            try:
                inputs.append(self._decode(payload, self.spec))
            except Problem as problem:
                detail = f"Input {place}: {problem.detail}"
                raise Problem(problem.status, problem.code, detail, **problem.extra) from None
        return np.stack(inputs)

    def _check_scores(self, scores: Array, count: int) -> None:
        expected = (count, len(self.spec.labels))
        if scores.shape != expected or not np.isfinite(scores).all():
            raise CanariError(f"the model gave scores of shape {scores.shape}, or not finite; expected {expected}")

    def _answer(self, scores: list[float], source: bytes, bins: tuple[int, ...] | None) -> Answer:
        ranked = [
            (label, round(score, 6))
            for score, label in sorted(zip(scores, self.spec.labels, strict=True), key=itemgetter(0), reverse=True)
        ]
        best, score = ranked[0]
        abstain = self.spec.abstain
        return Answer(
            label=abstain.label if abstain and score < abstain.below else best,
            score=score,
            ranked=ranked,
            input_bytes=len(source),
            input_sha256=hashlib.sha256(source).hexdigest(),
            bins=bins,
        )
