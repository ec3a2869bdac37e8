"""Running a model's versions as processes: unpack the bento, start it, know when it answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection

from canari.archive import unpack
from canari.launch.launcher import State, VersionRun
from canari.launch.probe import answers
from canari.launch.processes import Program, Supervisor
from canari.settings import Layout


class ProcessLauncher:
    """Versions as processes of this machine, each on a Unix socket.

    `token(model, number)` signs the token a bento writes its predictions with; `shared` are variables for all of them.
    """

    def __init__(
        self,
        layout: Layout,
        supervisor: Supervisor,
        *,
        public_key: str,
        token: Callable[[str, int], str],
        shared: dict[str, str],
    ) -> None:
        self._layout = layout
        self._supervisor = supervisor
        self._public_key = public_key
        self._token = token
        self._shared = shared

    def ensure(self, run: VersionRun) -> State:
        """Have a version running."""
        return self._supervisor.ensure(self._program(run))

    def running(self) -> set[tuple[str, int]]:
        """Every version whose process is known."""
        names = (name.removeprefix("bento-") for name in self._supervisor.known() if name.startswith("bento-"))
        return {(model, int(number)) for model, _, number in (name.rpartition("-") for name in names)}

    def stop(self, versions: Collection[tuple[str, int]]) -> None:
        """End versions."""
        self._supervisor.stop([_name(model, number) for model, number in versions])

    def _program(self, run: VersionRun) -> Program:
        model, layout = run.spec.name, self._layout
        bento = layout.bentos / run.archive[:32]
        unpack(run.archive, layout.archives / f"{run.archive}.tar.gz", bento)
        socket = layout.version_socket(model, run.number)
        spool = layout.spool / model / str(run.number)
        spool.mkdir(parents=True, exist_ok=True)
        return Program(
            name=_name(model, run.number),
            argv=(
                *(sys.executable, "-B", "-m", "canari.runtime.serve", str(bento), "--uds", str(socket)),
                *("--grace", f"{run.spec.serving.timeout.total_seconds():.0f}"),
            ),
            ready=lambda: answers(socket, "/readyz"),
            environment={
                **self._shared,
                "CANARI_PUBLIC_KEY": self._public_key,
                "CANARI_FEEDBACK_URL": f"unix:{layout.socket('feedback')}",
                "CANARI_SPOOL_DIR": str(spool),
                "CANARI_SPEC": json.dumps(run.spec.document(), ensure_ascii=False, sort_keys=True),
            },
            secrets={"CANARI_TOKEN": self._token(model, run.number)},
            folder=bento / "src",
            grace_seconds=run.spec.serving.timeout.total_seconds() + 10,
        )


def _name(model: str, number: int) -> str:
    return f"bento-{model}-{number}"
