#!/usr/bin/env bash
# The release before this one, its own code and tests, on the schema of today: migrations only add, so a platform can be
# upgraded while the old release still answers. Needs that release's commit in the clone's history.
set -euo pipefail
cd "$(dirname "$0")/.."
previous=$(cat tests/previous-release)
pytest=$PWD/.venv/bin/pytest
old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT

git archive "$previous" | tar -x -C "$old"
cp canari/store/migrations/versions/*.py "$old/canari/store/migrations/versions/"
cd "$old"
echo "Release $(sed -n 's/^version = //p' pyproject.toml) on today's schema:"
# That the old release's tables are the whole schema, and its revision the newest, is all that need not hold.
PYTHONPATH=$old "$pytest" --quiet -p no:cacheprovider tests/integration/store tests/integration/services \
  --deselect tests/integration/store/test_lifecycle.py::test_the_migrations_make_exactly_the_tables_the_code_knows \
  --deselect tests/integration/services/test_status.py::test_the_database_status_names_version_schema_and_size
