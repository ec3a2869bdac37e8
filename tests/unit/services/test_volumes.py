from __future__ import annotations

import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.feedback.volumes import VolumeCollector


def test_the_data_folder_s_volume_tells_how_full_it_is(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(VolumeCollector(tmp_path))
    usage = shutil.disk_usage(tmp_path)
    assert registry.get_sample_value("canari_volume_size_bytes", {"volume": "data"}) == usage.total
    free = registry.get_sample_value("canari_volume_free_bytes", {"volume": "data"})
    assert free is not None
    assert 0 < free <= usage.total


def test_a_folder_that_is_away_tells_nothing(tmp_path: Path) -> None:
    assert list(VolumeCollector(tmp_path / "none").collect()) == []
