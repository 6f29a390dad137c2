PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
# One more than the cores of a small machine: the tests of SLURM and of servers wait more than they compute.
WORKERS ?= 3

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

define NEXT_STEPS

The table and the plot are in results/quickstart. What to do next:
  $(BIN)/pebench ui                    browse the runs in MLflow
  $(BIN)/pebench show seqpe            read what an encoding is and which options it has
  $(BIN)/pebench check my_encoding.py  see whether an encoding of yours is sound
  $(BIN)/pebench submit sweeps/quickstart.yaml --cluster slurm --partition PARTITION
                                       do the same on a SLURM cluster
endef
export NEXT_STEPS

.DEFAULT_GOAL := help
.PHONY: help install quickstart test bench lint format typecheck clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make the environment in .venv (PYTHON=python3.12 and CONSTRAINTS=FILE choose others)

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable '.[dev]'
	touch $@

quickstart: install ## Compare seven encodings on the CPU, minutes on two cores
	$(BIN)/pebench submit sweeps/quickstart.yaml --cluster local --max-parallel 2
	$(BIN)/pebench status quickstart --watch --summary
	$(BIN)/pebench sync
	$(BIN)/pebench leaderboard quickstart
	@echo "$$NEXT_STEPS"

test: lint typecheck ## Check the style, the types and everything else
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

bench: install ## Measure speed and memory on this machine, everything as a ratio; minutes to an hour
	$(BIN)/pebench bench

lint: install ## Check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: install ## Mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typecheck: install ## Check the types
	mkdir -p build/typing/pebench
	ln -sfn ../../../encodings build/typing/pebench/encodings
	ln -sfn ../../../tasks build/typing/pebench/tasks
	$(BIN)/mypy

clean: ## Remove the environment and every cache, but no runs and no results
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
