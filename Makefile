# One command each: `make run` starts the default run, `make test` proves the repository, `make check` is the pre-commit loop.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# On Linux without an NVIDIA GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu saves several GB.
TORCH_INDEX ?=
# The suite starts thousands of processes: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run demo test thorough e2e check fix docs clean

run: $(VENV)/.run
	$(BIN)/vibeserve run

demo: $(VENV)/.run
	$(BIN)/vibeserve demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not thorough and not serial and not cli_real"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check vibeserve_tui backends tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

# What test leaves out for the sake of its fifteen minutes: the same laws, with more trials and more variants.
thorough: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "thorough and not serial and not cli_real"
	$(BIN)/python benchmarks/reliability.py

# Whole runs, one of them with a killed engine: each takes five to fifteen minutes on a quiet machine, and wants one.
# E2E=tests/e2e/test_default_run.py plays just that one.
E2E ?= tests
e2e: $(VENV)/.dev
	$(BIN)/python -m pytest -m serial $(E2E)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check vibeserve_tui backends tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not serial"

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format vibeserve_tui backends tests benchmarks

docs: $(VENV)/.run
	$(BIN)/python docs/generate.py

$(VENV)/.base:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	touch $@

$(VENV)/.run: $(VENV)/.base pyproject.toml constraints.txt
	$(PIP) -e ".[cpu]"
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e ".[cpu,dev]"
	touch $@

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
