# Portrait: two commands matter, `make run` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell sed -n 's/^uv==\([0-9.]*\).*/uv==\1/p' requirements.lock)
READY  := $(VENV)/.ready

# Python keeps what it compiles: without that every process compiles anew all that it imports, half of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run dev test check prove lock clean env
help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	@echo "Preparing the environment in $(VENV) (about 7 GB; minutes on the first run) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --require-hashes --quiet requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

env: $(READY) ## the environment, locked with hashes

run: $(READY) ## the main job on the shop of PORTRAIT_SHOP (default: the embedded Complete Journey)
	@$(BIN)/portrait run

dev: $(READY) ## the Dagster UI, daemon and sensors on http://127.0.0.1:3000
	@$(BIN)/portrait dev

test: $(READY) ## all tests
	@$(BIN)/python -m pytest

check: $(READY) ## style, types, import rule, tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest

prove: $(READY) ## the long proofs; writes dated evidence under docs/evidence/
	@$(BIN)/python -m pytest -m prove

lock: ## rewrite requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile --universal --generate-hashes --extra dev --no-emit-index-url --no-header --quiet --upgrade -o requirements.lock pyproject.toml

clean: ## remove what runs produced (not the environment)
	@rm -rf var
