"""Erasing a person: the tombstone, then every place that holds something of them, then a signed certificate.

Whoever is killed in the middle leaves an open erasure, which the feedback API at its start and the retention job go on
with. What is left of the person is then found by their hash, for nothing else of them was kept with the tombstone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, Engine

from canari import __version__
from canari.blobs import Blobs, FolderBlobs, samples_folder
from canari.errors import CanariError
from canari.ids import first_id
from canari.settings import Layout
from canari.store import erasures, inputs
from canari.store.engine import connect
from canari.tombstones import Tombstone, Tombstones, is_pseudonym
from canari.training_lock import training_alone

ISSUER = "canari/erasure"
_TYPE = "canari-erasure+jwt"

Step = Callable[[Connection, Tombstone, str], Mapping[str, int]]
Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Resumed:
    """What going on came to: tombstones the database lacked, erasures done, and those that are still open."""

    replayed: int
    done: int
    still_open: int


@dataclass(frozen=True, slots=True)
class Eraser:
    """What erasing works with.

    `key` gives the signing key when a certificate is to be signed. `owner_url`: a database role that may vacuum, where
    the application's may not.
    """

    engine: Engine
    layout: Layout
    tombstones: Tombstones
    key: Callable[[], Ed25519PrivateKey]
    owner_url: str | None = None

    @property
    def blobs(self) -> Blobs:
        """Where inputs and samples lie."""
        return FolderBlobs(self.layout.blobs)

    def begin(self, subject: str, requested_by: str, *, access: bool = False, reason: str | None = None) -> Tombstone:
        """Put the tombstone; raises CanariError for what is no subject. Nothing is erased yet: `finish` does that.

        `access`: their tokens are revoked and their account is deleted too.
        """
        if not subject.strip() or "\x00" in subject or is_pseudonym(subject):
            raise CanariError(f"{subject!r} is no subject: give what `canari token list` or a prediction shows")
        hashed = self.tombstones.hash(subject)
        one = erasures.bury(self.engine, hashed, requested_by, access=access, reason=reason)
        self.tombstones.add([one])
        return one

    def finish(
        self, one: Tombstone, subjects: Collection[str], *, rewrite: bool = False, tell: Tell = lambda _: None
    ) -> Mapping[str, Any] | None:
        """Erase, and certify it; None where something is in the way, which `tell` hears. Safe to run again."""
        for subject in subjects:
            tell("inputs")
            self._erase_inputs(one, subject)
            tell("samples")
            self._erase_samples(one, subject)
            tell("predictions")
            while self._step(one, subject, erasures.erase_predictions, "predictions"):
                pass
            tell("votes")
            self._step(one, subject, erasures.erase_votes)
            self._step(one, subject, erasures.erase_reviews)
            if one.access:
                tell("tokens")
                self._step(one, subject, erasures.erase_access)
        busy = [model for model in erasures.samples_buried(self.engine, one.id) if not self._forget_training(model)]
        if busy:
            tell(f"waiting: {', '.join(busy)} is being trained, and its working files hold what is to be erased")
            return None
        tell("vacuum")
        return self._certify(one, *self._vacuum(one, rewrite=rewrite))

    def resume(self, tell: Tell = lambda _: None) -> Resumed:
        """Replay the tombstones that the database lacks, and go on with all open erasures."""
        replayed = self._replay()
        waiting = [found.tombstone for found in erasures.newest(self.engine, open_only=True, limit=None)]
        if not waiting:
            return Resumed(replayed, 0, 0)
        last = max(one.erased_before for one in waiting)
        hashes = {one.subject_hash for one in waiting}
        subjects = erasures.find_subjects(self.engine, self.tombstones.hash, hashes, last)
        done = [self.finish(one, subjects[one.subject_hash], tell=tell) is not None for one in reversed(waiting)]
        return Resumed(replayed, sum(done), len(done) - sum(done))

    def _replay(self) -> int:
        """Have database and file know the same tombstones; returns how many the database lacked, now open."""
        lacked = erasures.put_back(self.engine, self.tombstones.read())
        self.tombstones.add(found.tombstone for found in reversed(erasures.newest(self.engine, limit=None)))
        return lacked

    def _step(self, one: Tombstone, subject: str, step: Step, what: str | None = None) -> bool:
        """One transaction of work with its counts; whether it found something. `what`: count all tables as this."""
        with self.engine.begin() as connection:
            found = {table: count for table, count in step(connection, one, subject).items() if count}
            if found:
                erasures.note(connection, one.id, {what: sum(found.values())} if what else found, found)
        return bool(found)

    def _erase_inputs(self, one: Tombstone, subject: str) -> None:
        before = first_id(one.erased_before)
        while True:
            with self.engine.begin() as connection:
                gone = inputs.delete_of(connection, self.blobs, subject, before)
                if gone is None:
                    inputs.clear(connection, self.blobs, subject)
                    return
                # Versions may have learned from inputs they were sure of, without a person having looked at them.
                erasures.bury_digests(connection, one, {(was.model, was.sha256) for was in gone})
                counts = {"inputs": len(gone), "input_bytes": sum(was.bytes for was in gone)}
                erasures.note(connection, one.id, counts, {"inputs"})

    def _erase_samples(self, one: Tombstone, subject: str) -> None:
        while True:
            with self.engine.begin() as connection:
                found = erasures.delete_samples(connection, one, subject)
                if not found:
                    return
                for model, sha256 in found:
                    self.blobs.delete(samples_folder(model), sha256)
                erasures.bury_digests(connection, one, found)
                erasures.note(connection, one.id, {"samples": len(found)}, {"samples"})

    def _forget_training(self, model: str) -> bool:
        """Delete what killed trainings of a model left, decoded samples among it; False while one is running."""
        with training_alone(self.layout, model) as held:
            if held:
                shutil.rmtree(self.layout.training / model, ignore_errors=True)
        return held

    def _vacuum(self, one: Tombstone, *, rewrite: bool) -> tuple[list[str], list[str]]:
        kept = erasures.read(self.engine, one.id)
        tables = kept.notes.get("tables", []) if kept else []
        if self.owner_url is None:
            return erasures.vacuum(self.engine, tables, rewrite=rewrite)
        owner = connect(self.owner_url, pool=1)
        try:
            return erasures.vacuum(owner, tables, rewrite=rewrite)
        finally:
            owner.dispose()

    def _certify(self, one: Tombstone, vacuumed: list[str], left: list[str]) -> Mapping[str, Any]:
        found = erasures.read(self.engine, one.id)
        assert found is not None
        if found.done_at is not None:
            return found.notes
        told = {
            "erasure": str(one.id),
            "subject_hash": one.subject_hash,
            "erased_before": _text(one.erased_before),
            "requested_at": _text(found.requested_at),
            "done_at": _text(datetime.now(UTC)),
            "canari": __version__,
            "requested_by": one.requested_by,
            "reason": found.notes.get("reason"),
            "access": one.access,
            "counts": found.notes.get("counts", {}),
            "vacuumed": vacuumed,
            "left_to_autovacuum": left,
            "trained_on": [
                {**version, "suggestion": f"canari job run retrain {version['model']}"}
                for version in erasures.trained_on(self.engine, one.id)
            ],
        }
        certificate = {**told, "signature": sign(self.key(), told)}
        erasures.finish(self.engine, one.id, certificate)
        return certificate


def sign(key: Ed25519PrivateKey, certificate: Mapping[str, Any]) -> str:
    """A certificate as a JSON Web Token (RFC 7519, EdDSA). It is no bearer's token: its issuer and type are others."""
    return jwt.encode({**certificate, "iss": ISSUER}, key, algorithm="EdDSA", headers={"typ": _TYPE})


def verify(public_key: Ed25519PublicKey, certificate: Mapping[str, Any]) -> None:
    """Raise CanariError unless a certificate is this platform's, word for word."""
    try:
        token = certificate["signature"]
        signed = jwt.decode(token, public_key, algorithms=["EdDSA"], issuer=ISSUER, options={"require": ["iss"]})
        genuine = jwt.get_unverified_header(token)["typ"] == _TYPE
    except (jwt.InvalidTokenError, KeyError, TypeError) as error:
        raise CanariError(f"this is no erasure certificate of this platform: {error}") from None
    told = {name: value for name, value in certificate.items() if name != "signature"}
    if not genuine or {**told, "iss": ISSUER} != signed:
        raise CanariError("the certificate says something else than what was signed: it was changed")


def is_of(certificate: Mapping[str, Any], subject: str, tombstones: Tombstones) -> bool:
    """Whether a certificate is about a subject; the platform's salt is needed to tell."""
    return bool(certificate.get("subject_hash") == tombstones.hash(subject))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
