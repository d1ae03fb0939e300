# Two commands on a fresh machine with Python 3.11 or later and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
SOURCES := $(shell git ls-files hub/web/islands hatch_build.py pyproject.toml 2>/dev/null)

.PHONY: demo serve test check bench docs clean venv ohif

demo: $(VENV)/.installed ## a throw-away county at http://127.0.0.1:8080
	$(BIN)/hub demo

serve: $(VENV)/.installed ## an embedded hub that keeps its data in ./hub-data
	$(BIN)/hub serve

test: $(VENV)/.installed-dev ## every test
	HUB_STRICT_TEXTS=1 $(BIN)/pytest -n auto --dist worksteal -m "not benchmark" $(ARGS)

check: $(VENV)/.installed-dev ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-bench ## figures, beside a baseline in the same run
	$(BIN)/pytest -m benchmark -s -p no:randomly tests/benchmarks $(ARGS)

docs: $(VENV)/.installed-dev ## references generated from the code
	$(BIN)/python -m tests.generate_docs

venv: $(VENV)/.installed-dev ## the environment for working on the hub

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9

$(VENV)/.installed: $(UV) requirements.lock $(SOURCES)
	@echo "Installing the hub (the first time takes a few minutes)"
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@$(BIN)/python -m compileall -q hub storage # a hub that starts compiles nothing
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev requirements-bench.lock
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-bench.lock
	@touch $@

ohif: $(VENV)/.installed-dev ## a viewer of other makers, for tests only
	$(BIN)/python -m tests.fixtures.ohif

clean: ## forget the environment and everything built
	rm -rf $(VENV) hub/web/static/dist hub/web/islands/node_modules
