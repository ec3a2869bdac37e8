"""The course of a rollout: its confidence sequences, and its decisions judged again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from fastapi import APIRouter, Request
from sqlalchemy import Engine

from canari.errors import Problem
from canari.store import courses
from canari.store.courses import Replayed, View
from services.feedback.context import STATUS_SECONDS, STATUS_SHARE, Cached, InContext
from services.feedback.course_schemas import CourseOut, ReplayOut
from services.feedback.identity import Known, operated
from services.feedback.steering import Number, known_rollout
from services.web.problems import problems

router = APIRouter(tags=["Rollouts"])
# Some 10 s of work at the worst, where the gateway waits for 30 s.
MOST_ROWS = 50_000
_MOST_VIEWS = 32
_BUSY_SECONDS = 10


class Courses:
    """The courses that were asked for last, each kept a few seconds: many may watch one rollout.

    One rollout at a time is judged again: it takes a processor for seconds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        view: Callable[[Engine, str, int], View] = courses.view,
        judge_again: Callable[[Engine, str, int], Replayed] = courses.judge_again,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._engine = engine
        self._view, self._judge_again, self._most_rows = view, judge_again, most_rows
        self._views: OrderedDict[tuple[str, int], Cached[View]] = OrderedDict()
        self._lock = threading.Lock()
        self._judging = threading.Lock()

    def view(self, model: str, number: int) -> View:
        """The course of a model's rollout, a few seconds old at most; raises CanariError where there is none."""
        with self._lock:
            key = model, number
            cached = self._views.pop(key, None) or Cached(
                lambda: self._view(self._engine, model, number), STATUS_SECONDS, STATUS_SHARE
            )
            self._views[key] = cached
            if len(self._views) > _MOST_VIEWS:
                self._views.popitem(last=False)
        return cached.get()

    def judge_again(self, model: str, number: int) -> Replayed:
        """Judge a model's rollout again; raises CanariError where there is none, Problem where it is too much."""
        if courses.size(self._engine, number) > self._most_rows:
            detail = f"Rollout {number} has more than {self._most_rows:,} rows of evidence: judge it again where the "
            raise Problem(409, "too-much-evidence", f"{detail}platform runs, with `canari rollout replay {number}`.")
        if not self._judging.acquire(blocking=False):
            detail = f"Another rollout is judged again just now: come back in {_BUSY_SECONDS} seconds."
            raise Problem(429, "busy", detail, headers={"Retry-After": str(_BUSY_SECONDS)})
        try:
            return self._judge_again(self._engine, model, number)
        finally:
            self._judging.release()


@router.get(
    "/api/{model}/rollouts/{number}/course",
    summary="How a rollout's metrics went, and what was last said of it",
    responses=problems(401, 403, 404, 422, 503),
)
def course(model: str, number: Number, operator: Known, context: InContext, request: Request) -> CourseOut:
    """Each metric's confidence sequence: where the difference between the versions lay, as time went by.

    A few seconds old at most. Needs the scope operate.
    """
    operated(context, model, operator)
    with known_rollout():
        return CourseOut.of(_courses(request).view(model, number))


@router.get(
    "/api/{model}/rollouts/{number}/replay",
    summary="Judge a rollout again, from the evidence that was kept",
    responses=problems(401, 403, 404, 409, 422, 429, 503),
)
def replay(model: str, number: Number, operator: Known, context: InContext, request: Request) -> ReplayOut:
    """Every decision beside the verdict that its evidence leads to, and the looks that should have led to one.

    A rollout of more than 50,000 rows of evidence is refused: `canari rollout replay` has the time. Needs the scope
    operate.
    """
    operated(context, model, operator)
    with known_rollout():
        return ReplayOut.of(_courses(request).judge_again(model, number))


def _courses(request: Request) -> Courses:
    found: Courses = request.app.state.courses
    return found
