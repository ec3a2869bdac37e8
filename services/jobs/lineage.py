"""Where the platform's MLflow is."""

from __future__ import annotations

from sqlalchemy.engine import make_url

from canari.errors import CanariError
from canari.settings import Settings


def lineage_url(settings: Settings) -> str:
    """Where MLflow is: as set, else the database `mlflow` beside the platform's. Raises CanariError without either."""
    if settings.lineage_url:
        return settings.lineage_url
    if not settings.database_url:
        raise CanariError("CANARI_DATABASE_URL is not set: give the application role's URL, postgresql://...")
    return make_url(settings.database_url).set(database="mlflow").render_as_string(hide_password=False)
