"""What all tables share."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, func

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)


def moment(name: str = "created_at") -> Column[object]:
    """A column of times, by itself the time of its row's transaction."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
