"""Rollouts and the decisions that move them: what traffic each version ought to get.

Every change is one transaction that records the decision; making the world match is the controller's.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update

from canari import __version__
from canari.errors import CanariError
from canari.store import tables as t
from canari.types import Rollout, RolloutState, VersionState


def deploy(engine: Engine, model: str, number: int, *, weight: int, actor: str) -> Rollout | None:
    """Give a version `weight` percent of the model's traffic (1 to 100), by hand.

    Weight 100 makes it the stable version and settles what is open. Less opens a rollout beside stable, or moves the
    open one; a rollout of another version is superseded. Without a stable version the first takes all, whatever the
    weight. Returns the rollout; None where the version is stable and nothing was open. Raises CanariError.
    """
    if not 1 <= weight <= 100:
        raise CanariError(f"the weight is {weight}; give a whole number from 1 to 100")
    with engine.begin() as connection:
        stable = _lock_model(connection, model)
        _require_ready(connection, model, number)
        opened = _open(connection, model)
        if number == stable:
            return _return_to_stable(connection, opened, model, stable, weight, actor)
        if opened is not None and opened.canary != number:
            _settle(connection, opened, RolloutState.SUPERSEDED, 0, f"superseded by version {number}", actor)
            opened = None
        if opened is None:
            opened = _start(connection, model, stable, number, 100 if stable is None else weight)
            _decide(connection, opened, "bootstrap" if stable is None else "start", opened.weight, "by hand", actor)
        elif opened.weight != weight:
            opened = _move(connection, opened, weight, actor)
        if opened.weight == 100:
            _promote(connection, opened, "all traffic by hand", actor)
        return _read(connection, opened.id)


def promote(engine: Engine, model: str, *, reason: str, actor: str) -> Rollout:
    """Make the version on trial the stable one; raises CanariError where no rollout is open."""
    with engine.begin() as connection:
        _lock_model(connection, model)
        opened = _open(connection, model)
        if opened is None:
            raise CanariError(f"no rollout of {model} is open: there is nothing to promote")
        _promote(connection, opened, reason, actor)
        return _read(connection, opened.id)


def roll_back(engine: Engine, model: str, *, reason: str, actor: str) -> Rollout:
    """Give stable all traffic again; raises CanariError where no rollout is open."""
    with engine.begin() as connection:
        _lock_model(connection, model)
        opened = _open(connection, model)
        if opened is None:
            raise CanariError(f"no rollout of {model} is open: there is nothing to roll back")
        _settle(connection, opened, RolloutState.ROLLED_BACK, 0, reason, actor)
        return _read(connection, opened.id)


def desired(engine: Engine) -> dict[str, tuple[int | None, Rollout | None]]:
    """Each model's stable version and its open rollout."""
    query = (
        select(t.models.c.name, t.models.c.stable, t.rollouts)
        .outerjoin(t.rollouts, (t.rollouts.c.model == t.models.c.name) & (t.rollouts.c.state == RolloutState.OPEN))
        .order_by(t.models.c.name)
    )
    with engine.connect() as connection:
        return {
            row.name: (row[1], None if row.id is None else _rollout(row._mapping))  # noqa: SLF001 - SQLAlchemy's public name
            for row in connection.execute(query)
        }


def history(engine: Engine, model: str, *, last: int = 50) -> list[dict[str, Any]]:
    """The newest decisions about a model's rollouts, newest first."""
    query = (
        select(t.decisions, t.rollouts.c.canary, t.rollouts.c.state)
        .join(t.rollouts, t.rollouts.c.id == t.decisions.c.rollout)
        .where(t.rollouts.c.model == model)
        .order_by(t.decisions.c.id.desc())
        .limit(last)
    )
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _lock_model(connection: Connection, model: str) -> int | None:
    row = connection.execute(select(t.models.c.stable).where(t.models.c.name == model).with_for_update()).first()
    if row is None:
        raise CanariError(f"there is no model {model!r} on this platform")
    return None if row.stable is None else int(row.stable)


def _require_ready(connection: Connection, model: str, number: int) -> None:
    query = select(t.versions.c.state, t.versions.c.error).where(
        t.versions.c.model == model, t.versions.c.number == number
    )
    row = connection.execute(query).first()
    if row is None:
        numbers = connection.execute(
            select(t.versions.c.number)
            .where(t.versions.c.model == model, t.versions.c.state == VersionState.READY)
            .order_by(t.versions.c.number)
        ).scalars()
        known = ", ".join(map(str, numbers)) or "none yet"
        raise CanariError(f"{model} has no version {number}; versions that may serve: {known}")
    if row.state != VersionState.READY:
        because = f": {row.error}" if row.error else ""
        raise CanariError(f"version {number} of {model} is {row.state}, not ready{because}")


def _return_to_stable(
    connection: Connection, opened: Rollout | None, model: str, stable: int, weight: int, actor: str
) -> Rollout | None:
    if weight != 100:
        raise CanariError(
            f"version {stable} of {model} is its stable version, which gets what the canary does not: "
            f"name the canary with its weight, or weight 100 to roll back"
        )
    if opened is not None:
        _settle(connection, opened, RolloutState.ROLLED_BACK, 0, "all traffic to stable by hand", actor)
        return _read(connection, opened.id)
    return None


def _start(connection: Connection, model: str, stable: int | None, canary: int, weight: int) -> Rollout:
    statement = insert(t.rollouts).values(
        model=model, stable=stable, canary=canary, weight=weight, state=RolloutState.OPEN
    )
    return _rollout(connection.execute(statement.returning(t.rollouts)).mappings().one())


def _move(connection: Connection, rollout: Rollout, weight: int, actor: str) -> Rollout:
    statement = (
        update(t.rollouts)
        .where(t.rollouts.c.id == rollout.id)
        .values(weight=weight, step=t.rollouts.c.step + 1)
        .returning(t.rollouts)
    )
    moved = _rollout(connection.execute(statement).mappings().one())
    _decide(connection, moved, "weight", weight, "by hand", actor)
    return moved


def _promote(connection: Connection, rollout: Rollout, reason: str, actor: str) -> None:
    _settle(connection, rollout, RolloutState.PROMOTED, 100, reason, actor)
    connection.execute(update(t.models).where(t.models.c.name == rollout.model).values(stable=rollout.canary))


def _settle(
    connection: Connection, rollout: Rollout, state: RolloutState, weight: int, reason: str, actor: str
) -> None:
    connection.execute(
        update(t.rollouts)
        .where(t.rollouts.c.id == rollout.id)
        .values(state=state, weight=weight, settled_at=func.now())
    )
    _decide(connection, rollout, state.value, weight, reason, actor)


def _decide(connection: Connection, rollout: Rollout, action: str, weight: int, reason: str, actor: str) -> None:
    spec_hash = select(t.models.c.spec_hash).where(t.models.c.name == rollout.model).scalar_subquery()
    connection.execute(
        insert(t.decisions).values(
            rollout=rollout.id,
            action=action,
            weight=weight,
            reason=reason,
            actor=actor,
            spec_hash=spec_hash,
            code_version=__version__,
        )
    )


def _open(connection: Connection, model: str) -> Rollout | None:
    query = select(t.rollouts).where(t.rollouts.c.model == model, t.rollouts.c.state == RolloutState.OPEN)
    row = connection.execute(query).mappings().first()
    return None if row is None else _rollout(row)


def _read(connection: Connection, rollout_id: int) -> Rollout:
    return _rollout(connection.execute(select(t.rollouts).where(t.rollouts.c.id == rollout_id)).mappings().one())


def _rollout(row: Any) -> Rollout:
    return Rollout(
        id=row["id"],
        model=row["model"],
        stable=row["stable"],
        canary=row["canary"],
        step=row["step"],
        weight=row["weight"],
        state=RolloutState(row["state"]),
        created_at=row["created_at"],
    )
