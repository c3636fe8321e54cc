# make app    everything from a fresh clone to the app in a browser
# make test   everything from a fresh clone to every check and test
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help app demo test check format docs wheels lock screenshots bench clean

help:
	@echo "make app [PORT=8501]   install what is missing, build the demo projects, start the app"
	@echo "make demo              build the demo projects"
	@echo "make test              formatter, linter, types, all tests, browser included"
	@echo "make check             formatter, linter, types"
	@echo "make format            format the code"
	@echo "make docs              build the documentation and the reference into site/"
	@echo "make wheels            build the application and the engine alone into dist/"
	@echo "make bench             measure again and fill docs/benchmarks.md (tens of minutes)"
	@echo "make screenshots       take the screenshots of the documentation again"
	@echo "make lock              choose the newest versions that pyproject.toml allows"

$(VENV)/.app-ready: requirements.lock scripts/install.sh
	@scripts/install.sh requirements.lock $(PYTHON)
	@touch $@

$(VENV)/.dev-ready: requirements-dev.lock scripts/install.sh
	@scripts/install.sh requirements-dev.lock $(PYTHON)
	@touch $@ $(VENV)/.app-ready

app: demo
	@$(BIN)/python app.py --port $(PORT)

demo: $(VENV)/.app-ready
	@$(BIN)/python -m relabel demo all

# Every check and test, also those that a plain pytest leaves out.
test: $(VENV)/.dev-ready
	@scripts/test.sh

check: $(VENV)/.dev-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev-ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every warning fails: a link that leads nowhere, a docstring that cannot be read.
docs: $(VENV)/.dev-ready
	$(BIN)/mkdocs build --strict

wheels: $(VENV)/.dev-ready
	$(BIN)/hatchling build -t wheel
	cd tracin_core && ../$(BIN)/hatchling build -t wheel -d ../dist

bench: $(VENV)/.dev-ready
	$(BIN)/pip install --quiet -r requirements-bench.txt
	$(BIN)/python -m benchmarks.report

screenshots: $(VENV)/.dev-ready
	@scripts/install_browser.sh
	$(BIN)/python -m scripts.screenshots

lock: $(VENV)/.dev-ready
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-header --no-annotate -U pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-header --no-annotate -U --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
