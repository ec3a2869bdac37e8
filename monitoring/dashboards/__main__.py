"""Write the dashboards' files, and take away those that no code makes any more."""

from __future__ import annotations

from monitoring.dashboards import FOLDER, rendered

texts = rendered()
for path in set(FOLDER.glob("*.json")) - set(texts):
    path.unlink()
for path, text in texts.items():
    path.write_text(text)
