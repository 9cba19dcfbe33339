PYTHON ?= python3
ARGS ?=
IN := .venv/bin/
GPU_TESTS := $(addprefix tests/test_,$(addsuffix .py,ptx simulator torch_cuda company phases plans counting gpu_check))
PIP := $(IN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help test test-gpu gpu-env demo lint types check bench bench-all robustness paper bench-env clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 \t/p' $(MAKEFILE_LIST)

test: .venv/installed  ## run the tests; ARGS="-m slow" for the slow ones
	$(IN)python -m pytest -n 2 --dist loadfile $(ARGS)

test-gpu: gpu-env  ## check the GPU's code without a GPU: simulator, PTX, machine code
	$(IN)python -m pytest -n 2 --dist loadgroup -m "simulated or not slow" $(GPU_TESTS) $(ARGS)

demo: .venv/installed  ## learn Sudoku from examples; ARGS go to the demo
	$(IN)python -m benchmarks.paper.sudoku $(ARGS)

lint: .venv/installed  ## check style and format
	$(IN)ruff check
	$(IN)ruff format --check

types: .venv/installed  ## check types
	$(IN)pyright

bench: bench-env  ## compare speed with the peers, in under five minutes
	$(IN)python -m benchmarks.run --quick $(ARGS)

bench-all: bench-env  ## the same with all peers, workloads and sizes: an hour
	$(IN)python -m benchmarks.run $(ARGS)

robustness: bench-env  ## run all solvers over ../shared/data; ARGS="--quick" for a trial
	$(IN)python -m benchmarks.robustness $(ARGS)

paper: bench-env  ## the paper's experiments in their quick form, five minutes; ARGS="--only ..."
	$(IN)python -m benchmarks.paper --quick $(ARGS)

check: lint types test  ## all of the above

bench-env: .venv/installed  ## add the peers that benchmarks compare with
	@echo "Installing the peers of the benchmarks ..."
	@$(PIP) --no-build-isolation -e '.[bench]'
	@$(PIP) --no-deps qpth  # it declares numpy<2, but runs on numpy 2

gpu-env: .venv/installed  ## add what compiles for GPUs
	@$(PIP) --no-build-isolation -e '.[cuda]'

# Made anew when the requirements change. Torch goes first, by itself, so that the pinned build is
# the one that every later range finds installed.
.venv/installed: pyproject.toml constraints.txt
	@echo "Creating .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear .venv
	@echo "Installing torch ..."
	@$(PIP) torch
	@echo "Installing qpcore and its tools ..."
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

clean:  ## remove the environment, caches and build products
	rm -rf .venv dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
