#!/usr/bin/env bash
# Makes the virtual environment from a lock file: scripts/install.sh LOCK [PYTHON]
# Says what is missing before it starts, because the download is several gigabytes.
set -euo pipefail
cd "$(dirname "$0")/.."

lock="$1"
python="${2:-python3}"
needed_kib=$((9 * 1024 * 1024)) # torch with its CUDA libraries takes most of 7 GB on Linux

fail() {
  printf '%s\n' "$*" >&2
  exit 2
}

command -v "$python" >/dev/null ||
  fail "Python was not found as '$python'. Install Python 3.11 or newer, or say where it is: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version 2>&1 || echo "'$python'") is too old or does not start; Python 3.11 or newer is needed. Say where it is: make PYTHON=/path/to/python3"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"
command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
  fail "No C++ compiler was found; Annoy is compiled from source. On Debian and Ubuntu: apt-get install g++ python3-dev; on macOS: xcode-select --install"

if [ ! -x .venv/bin/python ]; then
  free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
  [ "$free_kib" -ge "$needed_kib" ] || [ "$(uname)" != Linux ] ||
    fail "Only $((free_kib / 1024)) MB are free here and about $((needed_kib / 1024)) MB are needed. Free some space first."
  echo "Making the virtual environment in .venv"
  "$python" -m venv .venv
fi
echo "Installing $lock (several minutes the first time)"
quiet=()
[ -t 1 ] || quiet=(--quiet --progress-bar off) # bars for a person, few lines for a log
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

# uv takes a third of pip's time, and of what it has had before a twentieth: it links the files of
# its cache into the environment. It does not read pip's settings, so whoever has told pip of
# another index on the net is served by pip.
install_with_uv() {
  local settings
  settings=$(pip config list 2>/dev/null)
  ! grep -Eq "index-url=.*https?://|no-index=" <<<"$settings" || return 1
  pip install ${quiet[@]+"${quiet[@]}"} "uv>=0.6,<1" || return 1
  [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
  .venv/bin/uv pip install ${quiet[@]+--quiet} --python .venv/bin/python -r "$lock"
}

if ! install_with_uv; then
  pip install --no-compile ${quiet[@]+"${quiet[@]}"} -r "$lock" ||
    fail "The installation did not finish; the reason stands above. Run the same command again to go on: what has been installed stays."
fi
# On all cores, while an installer would take one; without the packages' own tests and what hardly
# anybody imports, which is half of it (each file is compiled when it is). A few packages hold
# templates that are no valid Python, and what stays uncompiled still runs, so no failure stops us.
seldom='/tests?/|/plotly/(validators/|graph_objs/[a-z])|/pygments/lexers/|/networkx/algorithms/'
seldom+='|/sympy/(physics|stats|parsing|integrals|combinatorics)/|/numpy/distutils/'
seldom+='|/sqlalchemy/testing/|/playwright/async_api/|/huggingface_hub/(cli|inference)/'
seldom+='|/torch/(_inductor|_vendor|ao|distributed|onnx|testing)/'
seldom+='|/transformers/(models|generation|integrations|pipelines|exporters|cli|quantizers)/'
libraries=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
wanted=()
for library in "$libraries"/*; do
  case "${library##*/}" in
    pip | setuptools | mypy | mypyc | altair | material | backrefs | pymdownx | torchgen | *-info) ;;
    *) wanted+=("$library") ;;
  esac
done
.venv/bin/python -m compileall -q -j 0 -x "$seldom" "${wanted[@]}" >/dev/null 2>&1 || true
