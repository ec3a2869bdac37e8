"""Rollouts and the decisions that move them: what traffic each version ought to get.

Every change is one transaction that records the decision; making the world match is the controller's. People may name
the model alone and mean whatever is open; whoever judged a rollout names it, so that no verdict ever falls on another
one, and the same call again changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from canari.errors import CanariError
from canari.store import rollout_rows as rows
from canari.store import tables as t
from canari.store.rollout_rows import Grounds, Why
from canari.types import Desired, Rollout, RolloutMode, RolloutState

_ENDED = (RolloutState.PROMOTED, RolloutState.ROLLED_BACK, RolloutState.ABORTED)


def deploy(engine: Engine, model: str, number: int, *, weight: int, actor: str) -> Rollout | None:
    """Give a version `weight` percent of the model's traffic (1 to 100), by hand.

    Weight 100 makes it the stable version and settles what is open. Less opens a rollout beside stable, or moves the
    open one. A rollout of another version, a judged one, and what waits behind it are superseded. Without a stable
    version the first takes all, whatever the weight. Returns the rollout; None where the version is stable and nothing
    was open. Raises CanariError.
    """
    if not 1 <= weight <= 100:
        raise CanariError(f"the weight is {weight}; give a whole number from 1 to 100")
    why = Why("by hand", actor)
    with engine.begin() as connection:
        stable = rows.lock_model(connection, model)
        rows.require_ready(connection, model, number)
        opened = rows.found(connection, model, RolloutState.OPEN)
        if number == stable:
            return _return_to_stable(connection, opened, model, number, weight, actor)
        rows.supersede(connection, rows.found(connection, model, RolloutState.QUEUED), number, actor)
        if opened is not None and (opened.canary != number or opened.mode is RolloutMode.JUDGED):
            rows.supersede(connection, opened, number, actor)
            opened = None
        if stable is None:
            return _bootstrap(connection, model, number, why)
        if opened is None:
            opened = rows.add(
                connection, "start", why, model=model, stable=stable, canary=number, weight=weight,
                state=RolloutState.OPEN,
            )  # fmt: skip
        elif opened.weight != weight:
            opened = rows.change(
                connection, opened, "weight", why, weight=weight, step=opened.step + 1, step_started_at=func.now()
            )
        return opened if weight < 100 else _all_by_hand(connection, opened, actor)


def propose(engine: Engine, model: str, number: int, *, actor: str, reason: str) -> Rollout:
    """Have a version judged, step by step as the live specification says, and promoted if it proves no worse.

    It opens at once, or is queued where another version's rollout is open; what was queued before is superseded. One
    of the same version that is steered by hand is taken over. Without a stable version the first takes all, unjudged.
    A version that is open or queued already stays as it is. Raises CanariError.
    """
    why = Why(reason, actor)
    with engine.begin() as connection:
        stable = rows.lock_model(connection, model)
        rows.require_ready(connection, model, number)
        if stable is None:
            return _bootstrap(connection, model, number, why)
        if number == stable:
            raise CanariError(f"version {number} of {model} is its stable version: there is nothing to judge it by")
        opened = rows.found(connection, model, RolloutState.OPEN)
        queued = rows.found(connection, model, RolloutState.QUEUED)
        if opened is not None:
            for known in (opened, queued):
                if known is not None and known.canary == number and known.mode is RolloutMode.JUDGED:
                    return known
        rows.supersede(connection, queued, number, actor)
        if opened is not None and opened.canary == number:
            rows.supersede(connection, opened, number, actor, "it is judged from now on")
            opened = None
        mode = RolloutMode.JUDGED
        proposal = {"model": model, "canary": number, "mode": mode, "proposed_by": actor, "reason": reason}
        if opened is not None:
            return rows.add(connection, "queued", why, **proposal, stable=stable, weight=0, state=RolloutState.QUEUED)
        return rows.add(connection, "start", why, **proposal, **rows.opening(connection, model, stable))


def advance(
    engine: Engine, rollout: int, step: int, *, reason: str, actor: str, grounds: Grounds | None = None
) -> Rollout:
    """Bring a judged rollout to its next step, which is `step` (counted from 0). Raises CanariError."""
    with engine.begin() as connection:
        rows.lock_model(connection, rows.read(connection, rollout).model)
        found = rows.read(connection, rollout)
        _require_judged(found)
        if found.state is not RolloutState.OPEN:
            raise CanariError(
                f"rollout {rollout} of {found.model} is {found.state.replace('_', ' ')}: it has no next step"
            )
        if found.step == step:
            return found
        _require_running(found)
        steps = rows.canary_of(connection, found).steps
        if step != found.step + 1 or step >= len(steps):
            raise CanariError(
                f"rollout {rollout} of {found.model} is at step {found.step} of {list(steps)}, not {step}"
            )
        return rows.change(
            connection, found, "advance", Why(reason, actor, grounds), step=step, weight=rows.weight_of(steps[step]),
            step_started_at=func.now(),
        )  # fmt: skip


def pause(engine: Engine, model: str, *, reason: str, actor: str, rollout: int | None = None) -> Rollout:
    """Keep the open judged rollout where it is until it is resumed; raises CanariError where none is."""
    with engine.begin() as connection:
        opened = _judged(connection, model, rollout, "pause")
        if opened.paused_at is not None:
            return opened
        return rows.change(connection, opened, "pause", Why(reason, actor), paused_at=func.now())


def resume(engine: Engine, model: str, *, reason: str, actor: str, rollout: int | None = None) -> Rollout:
    """Let a paused rollout go on; the pause does not count towards its deadline. Raises CanariError."""
    with engine.begin() as connection:
        opened = _judged(connection, model, rollout, "resume")
        if opened.paused_at is None:
            return opened
        later = t.rollouts.c.deadline_at + (func.now() - t.rollouts.c.paused_at)
        return rows.change(connection, opened, "resume", Why(reason, actor), paused_at=None, deadline_at=later)


def promote(
    engine: Engine, model: str, *, reason: str, actor: str, rollout: int | None = None, grounds: Grounds | None = None
) -> Rollout:
    """Make the version on trial the stable one, and open what is queued; raises CanariError where none is on trial.

    With `rollout` no other than that one is promoted. Grounds do not promote one that was paused meanwhile.
    """
    with engine.begin() as connection:
        rows.lock_model(connection, model)
        if (done := _done(connection, model, rollout, RolloutState.PROMOTED)) is not None:
            return done
        opened = _on_trial(connection, model, rollout, "promote")
        if grounds is not None:
            _require_running(opened)
        return rows.settle(connection, opened, RolloutState.PROMOTED, Why(reason, actor, grounds))


def roll_back(
    engine: Engine, model: str, *, reason: str, actor: str, rollout: int | None = None, grounds: Grounds | None = None
) -> Rollout:
    """Give stable all traffic again, and open what is queued; raises CanariError where there is nothing to roll back.

    Where the newest rollout was promoted and the stable version of before is still kept, that one is stable again.
    With `rollout` no other than that one is rolled back.
    """
    why = Why(reason, actor, grounds)
    with engine.begin() as connection:
        rows.lock_model(connection, model)
        if (done := _done(connection, model, rollout, RolloutState.ROLLED_BACK)) is not None:
            return done
        previous = rows.kept(connection, model).get(model)
        if previous is not None and rows.found(connection, model, RolloutState.OPEN) is None:
            # By hand only what ended last is undone: a request sent twice must not undo two rollouts.
            last = rollout if rollout is not None else _ended_last(connection, model)
            if previous.rollout == last:
                return rows.revert(connection, previous, why)
        opened = _on_trial(connection, model, rollout, "roll back")
        return rows.settle(connection, opened, RolloutState.ROLLED_BACK, why)


def abort(
    engine: Engine, model: str, *, reason: str, actor: str, rollout: int | None = None, grounds: Grounds | None = None
) -> Rollout:
    """End the trial without a verdict: stable gets all traffic, and what is queued opens. Raises CanariError."""
    with engine.begin() as connection:
        rows.lock_model(connection, model)
        if (done := _done(connection, model, rollout, RolloutState.ABORTED)) is not None:
            return done
        opened = _on_trial(connection, model, rollout, "abort")
        return rows.settle(connection, opened, RolloutState.ABORTED, Why(reason, actor, grounds))


def desired(engine: Engine) -> dict[str, Desired]:
    """Each model's stable version, its open rollout, and the stable version of before while that is kept."""
    query = (
        select(t.models.c.name, t.models.c.stable.label("serving"), t.rollouts)
        .outerjoin(t.rollouts, (t.rollouts.c.model == t.models.c.name) & (t.rollouts.c.state == RolloutState.OPEN))
        .order_by(t.models.c.name)
    )
    with engine.connect() as connection:
        previous = rows.kept(connection)
        return {
            row["name"]: Desired(
                stable=row["serving"],
                rollout=None if row["id"] is None else rows.rollout_of(row),
                previous=previous.get(row["name"]),
            )
            for row in connection.execute(query).mappings()
        }


def history(
    engine: Engine, model: str, *, last: int = 50, states: Collection[RolloutState] = (), version: int | None = None
) -> list[dict[str, Any]]:
    """The newest decisions about a model's rollouts, newest first: about those in these states, and of this canary."""
    query = (
        select(t.decisions, t.rollouts.c.canary, t.rollouts.c.state)
        .join(t.rollouts, t.rollouts.c.id == t.decisions.c.rollout)
        .where(*rows.matching(model, states, version))
        .order_by(t.decisions.c.id.desc())
        .limit(last)
    )
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _bootstrap(connection: Connection, model: str, number: int, why: Why) -> Rollout:
    opened = rows.add(
        connection, "bootstrap", why, model=model, stable=None, canary=number, weight=100, state=RolloutState.OPEN
    )
    return _all_by_hand(connection, opened, why.actor)


def _all_by_hand(connection: Connection, opened: Rollout, actor: str) -> Rollout:
    return rows.settle(connection, opened, RolloutState.PROMOTED, Why("all traffic by hand", actor))


def _return_to_stable(
    connection: Connection, opened: Rollout | None, model: str, stable: int, weight: int, actor: str
) -> Rollout | None:
    if weight != 100:
        raise CanariError(
            f"version {stable} of {model} is its stable version, which gets what the canary does not: "
            f"name the canary with its weight, or weight 100 to roll back"
        )
    rows.supersede(connection, rows.found(connection, model, RolloutState.QUEUED), stable, actor)
    if opened is None:
        return None
    return rows.settle(connection, opened, RolloutState.ROLLED_BACK, Why("all traffic to stable by hand", actor))


def _done(connection: Connection, model: str, rollout: int | None, state: RolloutState) -> Rollout | None:
    """The named rollout where it is in `state` already: whoever asks again asks for nothing new."""
    found = None if rollout is None else rows.read(connection, rollout)
    return found if found is not None and (found.model, found.state) == (model, state) else None


def _on_trial(connection: Connection, model: str, rollout: int | None, act: str) -> Rollout:
    opened = rows.found(connection, model, RolloutState.OPEN)
    if rollout is not None and (opened is None or opened.id != rollout):
        raise CanariError(f"rollout {rollout} of {model} is not open: there is nothing to {act}")
    if opened is None:
        raise CanariError(f"no rollout of {model} is open: there is nothing to {act}")
    return opened


def _judged(connection: Connection, model: str, rollout: int | None, act: str) -> Rollout:
    rows.lock_model(connection, model)
    opened = _on_trial(connection, model, rollout, act)
    _require_judged(opened)
    return opened


def _require_judged(rollout: Rollout) -> None:
    if rollout.mode is not RolloutMode.JUDGED:
        raise CanariError(
            f"rollout {rollout.id} of {rollout.model} is steered by hand: only people move it, with `canari deploy`"
        )


def _require_running(rollout: Rollout) -> None:
    if rollout.paused_at is not None:
        raise CanariError(f"rollout {rollout.id} of {rollout.model} is paused: resume it first")


def _ended_last(connection: Connection, model: str) -> int | None:
    query = (
        select(t.rollouts.c.id)
        .where(t.rollouts.c.model == model, t.rollouts.c.state.in_(_ENDED))
        .order_by(t.rollouts.c.settled_at.desc(), t.rollouts.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()
