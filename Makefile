PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CONSTRAINTS ?= constraints.txt
RUNS ?= runs/notebooks
# pytest's other plugins are not used here, and cost seconds in every process
PLUGINS := --disable-plugin-autoload -p xdist

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all lint wheel notebooks soak fuzz bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv and install everything, at the versions of constraints.txt

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

train: setup  ## train OCR on context_scenes (a minute or two on a CPU; no download)
	$(BIN)/python src/train.py $(ARGS)

test: setup lint  ## lint and the quick tests
	$(BIN)/python -m pytest $(PLUGINS) -n 2 --dist worksteal -m 'not slow and not gpu' $(ARGS)

test-all: setup lint  ## all tests, the slow ones too
	$(BIN)/python -m pytest $(PLUGINS) -n 2 --dist worksteal $(ARGS)

lint: setup  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: setup  ## build the package into dist/, to be installed elsewhere with pip
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .

notebooks: setup  ## run the notebooks, write copies with pictures to docs/notebooks; RUNS=FOLDER keeps the networks
	RUNS=$(abspath $(RUNS)) $(BIN)/python notebooks/render.py docs/notebooks $(ARGS)

soak: setup  ## kill trainings and compare what a restart makes of them: ARGS="kills=500 variants=fp32,ranks out=FOLDER"
	$(BIN)/python tests/soak.py $(ARGS)

fuzz: setup  ## give wrong options, files and folders: ARGS="inputs=10000 commands=300 seed=0 out=FOLDER"
	$(BIN)/python -W ignore tests/fuzz.py $(ARGS)

bench: setup  ## measure what is claimed to be fast, and write the table of docs/performance.md
	$(BIN)/python benchmarks/table.py docs/performance.md

clean:  ## remove caches and the environment; runs and data stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache build dist src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
