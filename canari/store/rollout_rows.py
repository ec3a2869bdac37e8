"""The rows of rollouts and decisions, as every act upon a rollout reads and writes them, inside its transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, select, text, true, update

from canari import __version__
from canari.errors import CanariError
from canari.observations import Metric
from canari.spec_canary import Canary
from canari.stats import VOTES
from canari.store import tables as t
from canari.types import Previous, Rollout, RolloutMode, RolloutState, VersionState

_SAID = text("""
    SELECT count(*) AS votes, count(*) FILTER (WHERE NOT f.first_right) AS wrong,
           count(f.label) AS labels, count(*) FILTER (WHERE f.label <> p.label) AS differ
    FROM (SELECT * FROM feedback WHERE model = :model ORDER BY created_at DESC LIMIT 2000) f
    JOIN predictions p ON p.id = f.prediction_id
    WHERE p.version = :stable AND p.kind = 'arm'
""")
_FIELDS = tuple(name for name in Rollout.__slots__ if name not in {"state", "mode"})


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a decision was made on: the evidence up to `tick` (epoch ms), and the figures of each metric, as JSON."""

    tick: int
    verdict: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Why:
    """Who decided, the sentence that people read, and the grounds where it was judged."""

    reason: str
    actor: str
    grounds: Grounds | None = None


def lock_model(connection: Connection, model: str) -> int | None:
    """The model's stable version; whoever else would change its rollouts waits until the transaction ends."""
    row = connection.execute(select(t.models.c.stable).where(t.models.c.name == model).with_for_update()).first()
    if row is None:
        raise CanariError(f"there is no model {model!r} on this platform")
    return None if row.stable is None else int(row.stable)


def require_ready(connection: Connection, model: str, number: int) -> None:
    """Raise CanariError unless the version may serve."""
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


def read(connection: Connection, rollout: int, model: str | None = None) -> Rollout:
    """A rollout, of `model` if one is named; raises CanariError where there is none."""
    row = connection.execute(select(t.rollouts).where(t.rollouts.c.id == rollout)).mappings().first()
    if row is None:
        raise CanariError(f"there is no rollout {rollout}")
    if model is not None and row["model"] != model:
        raise CanariError(f"{model} has no rollout {rollout}; `canari rollout list {model}` tells which it has")
    return rollout_of(row)


def found(connection: Connection, model: str, state: RolloutState) -> Rollout | None:
    """The model's newest rollout in `state`; there is one at most that is open, and one that is queued."""
    query = (
        select(t.rollouts)
        .where(t.rollouts.c.model == model, t.rollouts.c.state == state)
        .order_by(t.rollouts.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else rollout_of(row)


def matching(model: str, states: Collection[RolloutState], version: int | None) -> list[ColumnElement[bool]]:
    """What holds of a model's rollouts that are in one of `states`, if there are any, and of this canary, if given."""
    conditions = [t.rollouts.c.model == model]
    if states:
        conditions.append(t.rollouts.c.state.in_(states))
    if version is not None:
        conditions.append(t.rollouts.c.canary == version)
    return conditions


def add(connection: Connection, action: str, why: Why, **values: object) -> Rollout:
    """Write a new rollout and the decision that made it."""
    statement = insert(t.rollouts).values(**values).returning(t.rollouts)
    return _decided(connection, rollout_of(connection.execute(statement).mappings().one()), action, why)


def change(connection: Connection, rollout: Rollout, action: str, why: Why, **values: object) -> Rollout:
    """Write what changes of a rollout, and the decision that changes it."""
    statement = update(t.rollouts).where(t.rollouts.c.id == rollout.id).values(**values).returning(t.rollouts)
    return _decided(connection, rollout_of(connection.execute(statement).mappings().one()), action, why)


def live_canary(connection: Connection, model: str) -> tuple[str, Canary]:
    """The hash of the model's live specification, and what that says of canaries."""
    query = (
        select(t.specs.c.hash, t.specs.c.body["canary"])
        .join(t.models, t.models.c.spec_hash == t.specs.c.hash)
        .where(t.models.c.name == model)
    )
    digest, canary = connection.execute(query).one()
    return str(digest), Canary.model_validate(canary)


def canary_of(connection: Connection, rollout: Rollout) -> Canary:
    """What the specification of a judged rollout says of it: the live one, as long as it is queued."""
    if rollout.spec_hash is None:
        return live_canary(connection, rollout.model)[1]
    query = select(t.specs.c.body["canary"]).where(t.specs.c.hash == rollout.spec_hash)
    return Canary.model_validate(connection.execute(query).scalar_one())


def rules_of(connection: Connection, rollout: Rollout) -> Canary | None:
    """What a rollout is judged by; None where it is steered by hand."""
    return canary_of(connection, rollout) if rollout.mode is RolloutMode.JUDGED else None


def kept(connection: Connection, model: str | None = None) -> dict[str, Previous]:
    """The stable versions of before that are still to be ready, by model: of all models, or of one."""
    promoted = (
        select(t.rollouts)
        .where(t.rollouts.c.model == t.models.c.name, t.rollouts.c.state == RolloutState.PROMOTED)
        .order_by(t.rollouts.c.id.desc())
        .limit(1)
        .lateral("promoted")
    )
    on_evidence = exists().where(t.decisions.c.rollout == promoted.c.id, t.decisions.c.action == RolloutState.PROMOTED)
    on_evidence = on_evidence.where(t.decisions.c.verdict.is_not(None))
    query = (
        select(promoted, t.specs.c.body["canary"].label("rules"), func.now().label("now"), on_evidence.label("judged"))
        .select_from(t.models.join(promoted, true()).join(t.specs, t.specs.c.hash == promoted.c.spec_hash))
        .where(promoted.c.mode == RolloutMode.JUDGED, promoted.c.canary == t.models.c.stable)
    )
    if model is not None:
        query = query.where(t.models.c.name == model)
    previous: dict[str, Previous] = {}
    for row in connection.execute(query):
        rules = Canary.model_validate(row.rules)
        until = row.settled_at + rules.keep_previous
        if row.stable is not None and row.now < until:
            previous[row.model] = Previous(row.stable, row.id, row.step + 1, rules.holdback, until, row.judged)
    return previous


def weight_of(step: str | int) -> int:
    """The percent of the traffic that a step gives: none while the canary is a shadow."""
    return 0 if isinstance(step, str) else step


def opening(connection: Connection, model: str, stable: int) -> dict[str, Any]:
    """What a judged rollout's row says once it opens."""
    spec_hash, canary = live_canary(connection, model)
    return {
        "priors": _priors(connection, model, stable),
        "state": RolloutState.OPEN,
        "stable": stable,
        "weight": weight_of(canary.steps[0]),
        "spec_hash": spec_hash,
        "step_started_at": func.now(),
        "deadline_at": func.now() + canary.deadline,
    }


def _priors(connection: Connection, model: str, stable: int) -> dict[str, float]:
    """Stable's share of wrong votes and wrong labels, from the newest ones; the fewer, the nearer to the usual."""
    row = connection.execute(_SAID, {"model": model, "stable": stable}).one()
    said = {Metric.SATISFACTION: (row.votes, row.wrong), Metric.ACCURACY: (row.labels, row.differ)}
    return {
        metric: (bad + VOTES.strength * VOTES.prior) / (n + VOTES.strength) for metric, (n, bad) in said.items() if n
    }


def supersede(
    connection: Connection, rollout: Rollout | None, number: int, actor: str, reason: str | None = None
) -> None:
    """End a rollout, where there is one, because of version `number`."""
    if rollout is not None:
        why = Why(reason or f"superseded by version {number}", actor)
        state = RolloutState.SUPERSEDED
        change(connection, rollout, state, why, state=state, weight=0, settled_at=func.now())


def settle(connection: Connection, rollout: Rollout, state: RolloutState, why: Why) -> Rollout:
    """End the open rollout, and open what is queued."""
    promoted = state is RolloutState.PROMOTED
    settled = change(connection, rollout, state, why, state=state, weight=100 if promoted else 0, settled_at=func.now())
    stable = rollout.stable
    if promoted:
        stable = rollout.canary
        _make_stable(connection, rollout.model, stable)
    queued = found(connection, rollout.model, RolloutState.QUEUED)
    if queued is not None and stable is not None:
        proposed = Why(queued.reason or why.reason, queued.proposed_by or why.actor)
        change(connection, queued, "start", proposed, **opening(connection, rollout.model, stable))
    return settled


def revert(connection: Connection, previous: Previous, why: Why) -> Rollout:
    """Make the version of before the stable one again: the rollout that was promoted over it is rolled back."""
    promoted = read(connection, previous.rollout)
    _make_stable(connection, promoted.model, previous.version)
    state = RolloutState.ROLLED_BACK
    return change(connection, promoted, state, why, state=state, weight=0, settled_at=func.now())


def rollout_of(row: Mapping[Any, Any]) -> Rollout:
    """A rollout from its row."""
    values = {name: row[name] for name in _FIELDS}
    return Rollout(**values, state=RolloutState(row["state"]), mode=RolloutMode(row["mode"]))


def _make_stable(connection: Connection, model: str, number: int) -> None:
    connection.execute(update(t.models).where(t.models.c.name == model).values(stable=number))


def _decided(connection: Connection, rollout: Rollout, action: str, why: Why) -> Rollout:
    live = select(t.models.c.spec_hash).where(t.models.c.name == rollout.model).scalar_subquery()
    connection.execute(
        insert(t.decisions).values(
            rollout=rollout.id,
            action=action,
            weight=rollout.weight,
            reason=why.reason,
            actor=why.actor,
            spec_hash=rollout.spec_hash or live,
            code_version=__version__,
            evidence_tick=why.grounds.tick if why.grounds else None,
            verdict=dict(why.grounds.verdict) if why.grounds else None,
        )
    )
    return rollout
