# The two commands of the README are `make demo` and `make test`. Everything lives in .venv, .aftersales and the cache.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
BENCHED := .venv/.benched
BENCH_JOBS := delivery stages delay growth views

SEED ?= 7
DATA ?= ../shared/data
JSON ?= .aftersales/bench/$(shell date -u +%Y-%m-%dT%H%M%S).json

.PHONY: help install demo test lint simulation chaos chaos-long check-data data-given bench $(BENCH_JOBS:%=bench-%) lock clean

help:  ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

$(INSTALLED): requirements.lock requirements-uv.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

install: $(INSTALLED)  ## Install everything into .venv

demo: $(INSTALLED)  ## Run the whole pipeline on a simulated market (SECONDS=60 ends by itself and checks)
	@$(BIN)/aftersales demo --seed $(SEED) $(if $(filter command line environment,$(origin SECONDS)),--seconds $(SECONDS))

lint: $(INSTALLED)  ## Lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## Run everything that must pass
	$(BIN)/pytest

simulation: $(INSTALLED)  ## The pipeline over a simulated Kafka, faults at every step (SEED=7 one round again, or SECONDS=60)
	@$(BIN)/python -m tests.simulation $(if $(filter command line environment,$(origin SEED)),--seed $(SEED)) $(if $(filter command line environment,$(origin SECONDS)),--seconds $(SECONDS))

chaos: $(INSTALLED)  ## Kill, freeze, cut, poison; then compare with the fold of the sources (SEED=7 or ROUNDS=100, SECONDS=60)
	@$(BIN)/python -m tests.chaos $(if $(filter command line environment,$(origin SEED)),--seed $(SEED),--rounds $(or $(ROUNDS),1)) $(if $(filter command line environment,$(origin SECONDS)),--seconds $(SECONDS))

chaos-long: $(INSTALLED)  ## Long faults, sleepers, full disks, whole data sets in every order: about an hour
	$(BIN)/pytest -m long -o timeout=7200 -rs -s

check-data: data-given $(INSTALLED)  ## Import real data sets whole, compare every figure with the reference (DATA=folder)
	$(BIN)/python -m tests.data.reference_check "$(DATA)"

data-given:
	@test -f "$(DATA)/reference.json" || { echo "$(DATA) holds no reference.json: say where the data sets are, make check-data DATA=folder" >&2; exit 2; }

$(BENCHED): $(INSTALLED) requirements-bench.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-bench.lock
	@touch $@

bench: $(BENCHED)  ## Measure everything, about 45 min (one job: make bench-delay; QUICK=1; JSON=file)
	$(BIN)/python -m tests.bench all $(if $(QUICK),--quick) --json "$(JSON)"

$(BENCH_JOBS:%=bench-%): bench-%: $(BENCHED)
	$(BIN)/python -m tests.bench $* $(if $(QUICK),--quick) --json "$(JSON)"

lock: $(INSTALLED)  ## Renew the lock files
	$(BIN)/uv pip compile pyproject.toml --extra test --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra test --extra bench -c requirements.lock --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements-bench.lock
	echo 'uv==0.13.9' | $(BIN)/uv pip compile - --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements-uv.lock

clean:  ## Remove what was installed; data of the embedded stack stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
