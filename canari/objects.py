"""Kubernetes objects as plain dictionaries: their kinds, and how one differs from what is wanted. Pure."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, NamedTuple

Manifest = dict[str, Any]
OwnerReference = dict[str, Any]

_QUANTITIES = frozenset({"cpu", "memory", "ephemeral-storage", "sizeLimit", "storage"})
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_POWERS = {"": 0, "n": -3, "u": -2, "m": -1, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


class Kind(NamedTuple):
    """A kind of object, as its manifests' `apiVersion` and `kind` name it."""

    api_version: str
    kind: str

    @property
    def plural(self) -> str:
        """The kind as the API server's paths name it."""
        name = self.kind.lower()
        if name.endswith("y") and name[-2] not in "aeiou":
            return name[:-1] + "ies"
        return name + ("es" if name.endswith("s") else "s")


DEPLOYMENT = Kind("apps/v1", "Deployment")
EVENT = Kind("events.k8s.io/v1", "Event")
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice")
HPA = Kind("autoscaling/v2", "HorizontalPodAutoscaler")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute")
LEASE = Kind("coordination.k8s.io/v1", "Lease")
MODEL = Kind("canari.dev/v1alpha1", "Model")
PDB = Kind("policy/v1", "PodDisruptionBudget")
POD = Kind("v1", "Pod")
SECRET = Kind("v1", "Secret")
SERVICE = Kind("v1", "Service")


def differences(live: Any, wanted: Any, path: str = "") -> list[str]:
    """What an object lacks of what is wanted, one line per field; empty where an apply would change nothing.

    Fields beside the wanted ones are others', or the API server's defaults. Quantities are compared as numbers: the
    API server writes `0.5` as `500m`.
    """
    if isinstance(wanted, dict):
        known = live if isinstance(live, dict) else {}
        return [
            line
            for name, value in wanted.items()
            for line in differences(known.get(name), value, f"{path}.{name}" if path else name)
        ]
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        pairs = enumerate(zip(live, wanted, strict=True))
        return [line for n, (old, new) in pairs for line in differences(old, new, f"{path}[{n}]")]
    # The API server leaves out what is empty.
    if live == wanted or (live is None and not wanted and wanted is not False):
        return []
    if path.rpartition(".")[2] in _QUANTITIES and _amount(live) == _amount(wanted) is not None:
        return []
    return [f"{path}: {_short(live)} -> {_short(wanted)}"]


def _amount(quantity: object) -> Decimal | None:
    """The number a quantity stands for (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/)."""
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2] or ""
    return number * Decimal(1024 if suffix.endswith("i") else 1000) ** _POWERS[suffix.removesuffix("i")]


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
