"""What the cluster's tests share: commands that fail loudly, and waiting."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
EMPTY: Mapping[str, str] = {}


def command(
    *arguments: str, given: str | None = None, seconds: float = 300, environment: Mapping[str, str] = EMPTY
) -> str:
    """A command's standard output; it must end well. `environment` is added to this process's own."""
    done = subprocess.run(
        arguments,
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Kubectl:
    """`kubectl`, in one namespace or none."""

    namespace: str | None = None

    def __call__(self, *arguments: str, given: str | None = None, seconds: float = 300) -> str:
        scope = ["--namespace", self.namespace] if self.namespace else []
        return command("kubectl", *scope, *arguments, given=given, seconds=seconds)

    def within(self, namespace: str) -> Kubectl:
        """The same cluster, in a namespace."""
        return Kubectl(namespace)

    def json(self, *arguments: str) -> Any:
        """What `kubectl ... -o json` prints."""
        return json.loads(self(*arguments, "--output=json"))

    def items(self, kinds: str, *arguments: str) -> list[dict[str, Any]]:
        """The objects of these kinds."""
        return list(self.json("get", kinds, *arguments)["items"])

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests, as a user would."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self("apply", "--filename=-", given=json.dumps(document))


def until(ask: Callable[[], T | None], what: str, *, seconds: float = 120, pause: float = 0.5) -> T:
    """The first true answer; fails with `what` was waited for and the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s, last seen: {answer!r}"
        time.sleep(pause)
    return answer
