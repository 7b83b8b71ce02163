# Loadlock's two commands, and what stands behind them. Needed: Python 3.11 or newer with venv and pip, make, git.
#
#   make demo    the whole story on this machine, no connection beyond loopback
#   make test    the whole test suite, checks of style and types included
#   make lint    those checks alone
#   make lock    resolve the locks in requirements/ again from pyproject.toml (UPGRADE=1: take newer versions)
#   make clean   remove what these made

.DELETE_ON_ERROR:
.PHONY: demo test lint lock setup clean

# The first interpreter that is new enough and can make environments; PYTHON=... overrides.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements/dev.lock
SERVER_LOCK := requirements/server.lock
HOUSE := $(VENV)/build-wheels
HOUSE_LOCK := examples/csv-exporter/build-requirements.lock

demo: $(STAMP) $(HOUSE)
	$(BIN)/loadlock demo --build-wheelhouse $(HOUSE)

test: $(STAMP) $(HOUSE)
	PATH="$$PATH:/usr/sbin:/sbin" bash tools/system_packages.sh
	LOADLOCK_DEMO_WHEELHOUSE=$(HOUSE) $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/python -m pytest tests/project/test_lint.py tests/project/test_imports.py $(PYTEST_ARGS)

setup: $(STAMP) $(HOUSE)

# Everything is installed by hash, the build backend too, so that the editable install fetches nothing.
$(STAMP): $(LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv and pip found; pass PYTHON=PROGRAM" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# What the demo's build needs, fetched once and by hash: the demo itself connects to nothing beyond loopback.
$(HOUSE): $(HOUSE_LOCK) $(STAMP)
	rm -rf $@
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes --requirement $(HOUSE_LOCK) --dest $@
	@touch $@

# Neither configuration nor the options below let the address of an index into the lock.
lock: $(STAMP)
	UV_NO_CONFIG=1 $(BIN)/uv pip compile pyproject.toml --quiet --all-extras --group dev \
		--universal --python-version 3.11 --generate-hashes --no-header $(if $(UPGRADE),--upgrade) --output-file $(LOCK)
	UV_NO_CONFIG=1 $(BIN)/uv pip compile pyproject.toml --quiet --extra server --extra postgresql --extra s3 --extra otel \
		--universal --python-version 3.11 --generate-hashes --no-header --no-annotate --constraints $(LOCK) --output-file $(SERVER_LOCK)

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
