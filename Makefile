# Stockledger. `make run` on a fresh machine with Python 3.11 or newer is enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What `make test` hands on to pytest, for instance PYTEST_ARGS="-k settings".
PYTEST_ARGS ?=
# Test files side by side, each process with a database server of its own: one more than there are
# processors, since some tests wait. In the order of their folders: files with one test that takes
# long would come last else, when there is nothing left to do beside it.
WORKERS = $$($(BIN)/python -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# How often `make crash` kills the service or its database.
KILLS ?= 50
# Compiled modules are kept: tests and commands start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
CODE := api deploy ledger projections schemas tests

.DEFAULT_GOAL := help
.PHONY: help install run test check bench crash soak proof format lock clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make the environment in .venv (every other target does so first)

# The stamp is new when the lock or the project's metadata is not: a second make is instant.
$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1)."; \
		echo "Name one that is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' lacks its venv module; install it (Debian: apt install python3-venv)."; exit 1; }
	@echo "Making the environment in $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--only-binary :all: -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation -e .
	@touch $@

run: $(STAMP) ## Run the service with its own database; Ctrl-C stops it
	@exec $(BIN)/stockledger serve

test: check ## Check, then run every test that takes no longer than it must
	@$(BIN)/python -m pytest -m "not long" $(PARALLEL) $(PYTEST_ARGS)

check: $(STAMP) ## Lint, formatting, types, and which package may import which
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/pyright --threads 2
	@$(BIN)/lint-imports

format: $(STAMP) ## Put the code into its form
	@$(BIN)/ruff check --fix-only $(CODE)
	@$(BIN)/ruff format $(CODE)

bench: $(STAMP) ## Measure; the table goes to docs/reference/performance.md
	@$(BIN)/python -m tests.bench --write

crash: $(STAMP) ## Kill the service and its database under load, again and again (minutes)
	@$(BIN)/python -m tests.proof.crash --kills $(KILLS)

proof: $(STAMP) ## The long forms of the invariants' tests (minutes)
	@$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

soak: $(STAMP) ## The stateful machine at length
	@$(BIN)/python -m pytest -m long tests/proof/test_ledger_machine.py $(PYTEST_ARGS)

lock: $(STAMP) ## Pin the newest dependencies that pyproject.toml allows, with their hashes
	@for extra in "requirements.lock:--extra build" "requirements-dev.lock:--extra build --extra dev"; do \
		$(BIN)/uv pip compile pyproject.toml $${extra#*:} --output-file $${extra%%:*} --upgrade \
			--no-config --generate-hashes --universal --python-version 3.11 --quiet --no-header \
			--no-annotate --no-emit-index-url --no-emit-find-links || exit 1; \
	done

clean: ## Remove what was made, but not the data in .stockledger
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
