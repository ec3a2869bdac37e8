"""How full the data folder's volume is, which the feedback API has at hand: a kubelet is not everybody's to ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class VolumeCollector(Collector):
    """Gauges of the volume that a folder lies on, read when Prometheus asks; nothing where the folder is away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """`canari_volume_size_bytes` and `canari_volume_free_bytes`."""
        size = GaugeMetricFamily("canari_volume_size_bytes", "What the volume holds at most.", labels=("volume",))
        free = GaugeMetricFamily("canari_volume_free_bytes", "What may still be written to it.", labels=("volume",))
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return
        size.add_metric(("data",), usage.total)
        free.add_metric(("data",), usage.free)
        yield from (size, free)
