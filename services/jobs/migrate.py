"""Making a server's databases, roles and schema what this release needs, as often as one likes."""

from __future__ import annotations

from pydantic import SecretStr

from canari.errors import CanariError
from canari.settings import Settings
from canari.store import access
from canari.store.engine import connect
from canari.store.migrate import ensure_lineage, ensure_own_database, migrate, wait_for_server
from canari.tokens import Scope
from services.jobs.asking import Tell

ADMIN = "admin"


def migrate_platform(settings: Settings, *, seconds: float, tell: Tell) -> None:
    """Wait for the server, make what is missing, migrate, and set each role's and the admin's password where given.

    Raises CanariError where the owner's URL is missing, or the server does not answer within `seconds`.
    """
    owner = settings.database_owner_url or settings.database_url
    if owner is None:
        raise CanariError("CANARI_DATABASE_OWNER_URL is not set: give the URL of the role that owns the schema")
    wait_for_server(owner, seconds=seconds, tell=lambda what: tell(f"waiting for {what}"))
    ensure_own_database(owner)
    migrate(owner, app_password=_text(settings.app_password), read_password=_text(settings.read_password))
    tell("the schema is the newest")
    if settings.lineage_password is not None:
        ensure_lineage(owner, settings.lineage_password.get_secret_value())
        tell("the database of the lineage is there")
    if settings.admin_password is not None:
        _ensure_admin(owner, settings.admin_password.get_secret_value(), tell)


def _ensure_admin(owner: str, password: str, tell: Tell) -> None:
    engine = connect(owner, pool=1)
    try:
        if access.ensure_account(engine, ADMIN, password, scopes=[Scope.ADMIN]):
            tell(f"the account {ADMIN} has the password that was given")
    finally:
        engine.dispose()


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
