#!/usr/bin/env bash
# Every check and test, those in a browser included: scripts/test.sh [ARGUMENTS OF PYTEST]
#
# The types are checked while the tests run: mypy takes one core for a minute or more, and while a
# test waits for a browser or a process nobody else wants it. What it finds is shown after the
# tests and fails the run as they do.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin

"$bin/ruff" format --check .
"$bin/ruff" check .

# What mypy has found of a file holds for as long as the file and what it imports stay the same, in
# another clone, too: a minute of a processor becomes two seconds.
export MYPY_CACHE_DIR="${MYPY_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tracin-relabel-tests/mypy}"
types_log=$(mktemp)
"$bin/mypy" >"$types_log" 2>&1 &
types=$!
# Whoever interrupts the tests wants no mypy that goes on.
trap 'kill "$types" 2>/dev/null || true; rm -f "$types_log"' EXIT

scripts/install_browser.sh

# One run for all, so that the demos are built once. Workers often wait, for a browser, a process
# or a database, so there is one more than cores: with two on two cores the processors were idle for
# two fifths of the time. Who has nothing left takes over half of what waits for another. Compiled
# modules are kept, whatever the environment says: the tests start some hundred processes that
# would all compile the same again.
workers=$(($(getconf _NPROCESSORS_ONLN) + 1))
status=0
PYTHONDONTWRITEBYTECODE='' "$bin/pytest" -n "$workers" --dist worksteal --durations=20 -m "" "$@" || status=$?

if wait "$types"; then
  cat "$types_log"
else
  printf '\nmypy found errors:\n'
  cat "$types_log"
  [ "$status" -ne 0 ] || status=1
fi
exit "$status"
