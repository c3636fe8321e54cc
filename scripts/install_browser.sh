#!/usr/bin/env bash
# Sees that the browser tests have a browser: one that is here, Playwright's own, or Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."

for name in chromium-headless-shell chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then
    echo "Browser tests use $(command -v "$name")"
    exit 0
  fi
done
if .venv/bin/playwright install chromium >/dev/null 2>&1; then
  # Its system libraries are another matter, so see that it starts.
  if .venv/bin/python - <<'PYTHON' 2>/dev/null
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch().close()
PYTHON
  then
    echo "Browser tests use Playwright's own browser"
    exit 0
  fi
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  # The shell is all that tests need; an older Debian has only the whole browser.
  for name in chromium-headless-shell chromium; do
    if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "$name" fonts-dejavu-core >/dev/null 2>&1; then
      echo "Browser tests use $(command -v "$name")"
      exit 0
    fi
  done
fi
echo "No browser for the browser tests. Install Chromium (Debian: apt-get install chromium) and run this again." >&2
exit 2
