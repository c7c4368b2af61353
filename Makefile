# `make` lists what it can do. Everything runs from .venv, which the first command sets up (Python 3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help run test check bench gpu chaos fuzz reference pictures pages clean
.DEFAULT_GOAL := help

help: ## List the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(READY) ## Run the default experiment: finetune efficientnet_lite0 on digits
	$(BIN)/transfer-run

test: $(READY) ## Run the tests, a process a core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: $(READY) ## Lint, formatting, types, and that no import climbs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(READY) ## Measure the speed claims
	$(BIN)/python -m pytest -m bench tests/benchmarks -s

gpu: $(READY) ## Run the tests and benchmarks that need a GPU
	@$(BIN)/python -c "import sys, torch; torch.cuda.is_available() or sys.exit('make gpu: there is no CUDA device here')"
	$(BIN)/python -m pytest -m "gpu and not bench" tests
	$(BIN)/python -m pytest -m "gpu and bench" tests/benchmarks -s

chaos: $(READY) ## Kill it a hundred times and damage its files (15 minutes; needs strace)
	$(BIN)/python -m tests.chaos.campaign
	$(BIN)/python -m tests.chaos.campaign.damage

fuzz: $(READY) ## Give it 3,300 generated commands and option files, and train a hundred of them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses 2 --dist worksteal tests/command/test_generated.py

reference: $(READY) ## Write the reference in README.md from the comments in conf/
	$(BIN)/python -m transfer_cli.command.reference README.md

pictures: $(READY) ## Take the pictures of the README in outputs/pictures/ (needs chromium)
	$(BIN)/python -m tests.pictures

pages: $(READY) ## Open the pages in a browser, wide and narrow, light and dark (needs chromium)
	@$(BIN)/python -m tests.browser.opened
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser

clean: ## Remove the environment, caches and build products; outputs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
