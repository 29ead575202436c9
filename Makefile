# `make help` lists the commands. People, CI and schedules call the same ones.
.DEFAULT_GOAL := help
.PHONY: help setup repro submit test quick lint faults bench screenshots ui lock
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A user id without a passwd entry (docker run --user) has no name, which DVC asks for, and no home folder for caches.
export USER ?= $(or $(firstword $(shell id -un 2>/dev/null)),user)
ifeq ($(shell test -w "$$HOME" || echo none),none)
export XDG_CACHE_HOME ?= $(CURDIR)/.reconv/cache
endif
# Bytecode is most of a command's start-up time.
unexport PYTHONDONTWRITEBYTECODE
# Scripts in .venv name their interpreter by its full path: where the project was moved or copied, or that Python was
# removed, .venv is made again.
VENV_WORKS = head -n 2 $(BIN)/dvc | grep -qF -e "!$(CURDIR)/$(BIN)/python" -e "'$(CURDIR)/$(BIN)/python" && $(BIN)/python -c ""
ifneq ($(shell { $(VENV_WORKS); } 2>/dev/null && echo yes),yes)
.PHONY: .venv/ready
endif

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## make .venv from requirements.lock (the other commands do it themselves)

.venv/ready: requirements.lock pyproject.toml
	@{ $(VENV_WORKS); } 2>/dev/null || rm -rf .venv
	@echo "[set-up]   $$($(PYTHON) --version), $$(grep -c '==' requirements.lock) packages from requirements.lock …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@test -x $(BIN)/uv || $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.lock
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

repro: .venv/ready ## run the pipeline: whatever changed, from the images to the registered model
	@reconv run

submit: .venv/ready ## run the pipeline as a job of the Ray cluster behind RAY_API_SERVER_ADDRESS (ARGS: for dvc repro)
	@python pipeline/cluster/submit.py $(ARGS)

test: .venv/ready ## run the tests (JOBS=2: so many files at a time)
	@pytest --numprocesses $${JOBS:-2} --dist loadfile --no-loadscope-reorder --max-worker-restart 0

quick: .venv/ready ## run the tests that take less than a minute together
	@pytest -m "not slow"

lint: .venv/ready ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

faults: .venv/ready ## kill or break whatever a stage on a cluster needs (RUNS=20 of each stage: 220 faults, an hour)
	@RECONV_FAULT_RUNS=$${RUNS:-20} pytest -s --timeout 3600 tests/faults

bench: .venv/ready ## measure speed against the alternatives (2 hours; BENCH=training for one)
	@python -m benchmarks $(BENCH)

screenshots: .venv/ready ## take the README's pictures of the last run (chromium)
	@python docs/screenshots.py

ui: .venv/ready ## open MLflow's pages on this machine (PORT=5000)
	@reconv ui --port $${PORT:-5000}

lock: .venv/ready ## choose the newest versions that pyproject.toml allows
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group dev --upgrade pyproject.toml --output-file requirements.lock
