"""Every setting, read once by an entry point from ``CANARI_*`` variables; nothing else reads the environment."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from canari.types import JobKind


class Settings(BaseSettings):
    """What an entry point may be told. Paths are made absolute."""

    model_config = SettingsConfigDict(env_prefix="CANARI_", extra="ignore")

    data_dir: Path = Field(
        default=Path(".canari"), description="Everything that is kept: database, bentos, keys, logs."
    )
    port: int = Field(default=8080, ge=1, le=65535, description="The gateway's port, the only fixed one.")
    host: str = Field(default="127.0.0.1", description="The gateway's address.")
    database_url: str | None = Field(
        default=None, description="The application role's URL; unset: embedded PostgreSQL."
    )
    database_owner_url: str | None = Field(default=None, description="The migrating role's URL; unset: database_url.")
    lineage_url: str | None = Field(default=None, description="MLflow's own database; unset: `mlflow` beside ours.")
    app_password: SecretStr | None = Field(
        default=None, description="What migrating sets as the password of the role canari_app; unset: left as it is."
    )
    read_password: SecretStr | None = Field(default=None, description="The same for the role canari_read.")
    lineage_password: SecretStr | None = Field(
        default=None, description="The same for the role canari_lineage, which owns the database `mlflow`."
    )
    admin_password: SecretStr | None = Field(
        default=None, description="What migrating sets as the password of the account `admin`; unset: no such account."
    )
    keys_dir: Path | None = Field(default=None, description="Where signing.pem lies; unset: `keys` in the data folder.")
    archives_url: str | None = Field(
        default=None, description="Where bentos are kept: s3://BUCKET/PREFIX; unset: `archives` in the data folder."
    )
    archive_max_bytes: int = Field(default=2**30, ge=1, description="The largest bento archive that may be pushed.")
    families_dir: Path = Field(
        default=Path(__file__).resolve().parent.parent / "bentos", description="A folder per model family."
    )
    secure_cookies: bool = Field(default=False, description="Whether browsers reach the gateway over https alone.")
    evaluate_schedule: str = Field(
        default="7 * * * *", description="When live versions are evaluated: a cron expression, in UTC."
    )
    retrain_schedule: str = Field(
        default="*/5 * * * *", description="When one looks whether a model is to be trained again."
    )
    retention_schedule: str = Field(default="37 3 * * *", description="When what may be kept no longer is deleted.")
    heartbeat_health_url: SecretStr | None = Field(
        default=None, description="A watcher's address, told every minute while the platform is well; unset: nobody."
    )
    heartbeat_evaluate_url: SecretStr | None = Field(
        default=None, description="A watcher's address, told of each evaluation."
    )
    heartbeat_retrain_url: SecretStr | None = Field(
        default=None, description="A watcher's address, told of each look at whether to train again."
    )
    heartbeat_retention_url: SecretStr | None = Field(
        default=None, description="A watcher's address, told when what may be kept no longer is gone."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="How services write their logs.")
    log_level: str = Field(default="INFO", description="The least severe level that is logged.")

    @property
    def schedules(self) -> dict[JobKind, str]:
        """The schedule of each kind of job."""
        return {
            JobKind.EVALUATE: self.evaluate_schedule,
            JobKind.RETENTION: self.retention_schedule,
            JobKind.RETRAIN: self.retrain_schedule,
        }

    @property
    def layout(self) -> Layout:
        """Where things lie under `data_dir`."""
        return Layout(self.data_dir.expanduser().resolve())

    @property
    def keys(self) -> Path:
        """The folder of the signing key."""
        return self.keys_dir or self.layout.keys


class Layout:
    """The data folder's inside. Sockets lie in a short folder elsewhere: their paths may not exceed about 100 bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.postgres = root / "postgres"
        self.blobs = root / "blobs"
        self.archives = root / "archives"
        self.bentos = root / "bentos"
        self.bentoml_home = root / "bentoml"
        self.mlflow = root / "mlflow"
        self.spool = root / "spool"
        self.keys = root / "keys"
        self.logs = root / "logs"
        self.processes = root / "processes"
        self.envoy = root / "envoy"
        self.training = root / "training"
        self.reports = root / "reports"
        self.lock = root / "up.lock"

    @property
    def sockets(self) -> Path:
        """A folder for Unix sockets that this data folder alone uses."""
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        name = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path(base) / f"canari-{os.getuid()}-{name}"

    def socket(self, name: str) -> Path:
        """The socket of the process called `name`."""
        return self.sockets / f"{name}.sock"

    def version_socket(self, model: str, version: int) -> Path:
        """The socket a version's process listens on."""
        return self.socket(f"{model}-{version}")

    def create(self) -> None:
        """Make the folders, for this user alone where secrets lie."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.blobs, self.archives, self.bentos, self.spool, self.logs, self.processes, self.envoy):
            folder.mkdir(exist_ok=True)
        for private in (self.keys, self.sockets):
            private.mkdir(mode=0o700, exist_ok=True)
