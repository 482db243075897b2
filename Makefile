# `make` prints what there is. Each target sets up what it needs: a virtual environment in .venv, from requirements.lock.

MAKEFLAGS += --no-print-directory
.SUFFIXES:
.DEFAULT_GOAL := help

# Extra arguments of the tool behind a target: make demo ARGS=--postgres, make test ARGS="-k claim -n 0".
ARGS ?=
# The interpreter to build .venv with; empty: the first suitable one found.
PYTHON ?=
BIN := .venv/bin
STAMP := .venv/.installed
# What a demo needs is a part of that, and installed in a fraction of the time.
DEMO_STAMP := .venv/.installed-$(if $(filter --serve --postgres,$(ARGS)),all,demo)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The dashboard, as it was built last, and what it is built from. Where there is no npm, all else works without it.
DASHBOARD := src/fairlane/dashboard/index.html
SOURCES := $(shell find frontend -path frontend/node_modules -prune -o -type f ! -name schema.d.ts -print)
NPM := $(shell command -v npm)
MODULES := frontend/node_modules/.package-lock.json

.PHONY: demo
demo: $(DEMO_STAMP) $(if $(NPM),$(if $(filter --serve,$(ARGS)),$(DASHBOARD))) ## Run the demo; with PostgreSQL: make demo ARGS=--postgres
	@echo "Starting the demo"
	@$(BIN)/python -m examples.demo $(ARGS)

.PHONY: dashboard
dashboard: $(DASHBOARD) ## Build the dashboard, which fairlane serve serves

$(DASHBOARD): $(SOURCES) | $(MODULES)
	@echo "Building the dashboard"
	@cd frontend && npm run --silent build

$(MODULES): frontend/package-lock.json
	@$(if $(NPM),,echo "The dashboard is built with npm: install Node.js 20 or newer." >&2; exit 1)
	@echo "Installing what the dashboard is built with into frontend/node_modules"
	@cd frontend && npm ci --loglevel=error --no-update-notifier >/dev/null

.PHONY: test
test: $(STAMP) $(if $(NPM),$(MODULES)) ## Run the quick tests; some, quick or slow: make test ARGS="tests/store -k claim"
	@$(if $(NPM),$(if $(ARGS),,cd frontend && npm run --silent test))
	@$(BIN)/pytest -n 4 --dist worksteal $(ARGS)

.PHONY: test-all
test-all: ## Run all tests, the slow ones too; needs what make test-browser needs
	@FAIRLANE_TEST_DEPTH=long $(MAKE) test

# Rate and seed of the faults; another seed meets others.
FAULTS ?= 0.02:$(shell od -An -N2 -tu2 /dev/urandom | tr -d ' ')

.PHONY: test-faults
test-faults: $(STAMP) ## Run the tests while connections are lost: make test-faults FAULTS=0.02:7
	@FAULTS=$(FAULTS); echo "Faults: $$FAULTS; again: make test-faults FAULTS=$$FAULTS"; \
	FAIRLANE_TEST_FAULTS=$$FAULTS $(BIN)/pytest -n 3 --dist worksteal \
		$(or $(ARGS),tests/acceptance tests/tenancy tests/encryption tests/jobtypes tests/accounts tests/reads tests/engine)

# The oldest that pyproject.toml allows.
SQLALCHEMY := build/sqlalchemy-2.0.43

$(SQLALCHEMY): | $(STAMP)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $@ sqlalchemy==$(@:build/sqlalchemy-%=%)

.PHONY: test-sqlalchemy
test-sqlalchemy: $(STAMP) | $(SQLALCHEMY) ## Run tests with the oldest SQLAlchemy that Fairlane works with
	@PYTHONPATH=$(CURDIR)/$(SQLALCHEMY) $(BIN)/pytest -n 4 --dist worksteal \
		$(or $(ARGS),tests/store/test_borrow.py tests/store/test_migrations.py tests/tenancy tests/encryption tests/jobtypes tests/accounts tests/reads tests/engine/system \
		$(filter-out tests/engine/test_worker%,$(wildcard tests/engine/test_*.py)))

.PHONY: test-browser
test-browser: $(STAMP) $(DASHBOARD) ## Run the tests in a browser; needs Chromium (Debian: apt-get install chromium-headless-shell)
	@FAIRLANE_TEST_BROWSER=required $(BIN)/pytest -n 3 --dist worksteal $(or $(ARGS),tests/browser)

.PHONY: check
check: $(STAMP) $(if $(NPM),$(MODULES)) ## Check format, lint, types, import directions and the rules of the house
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest --quiet tests/test_house.py
	@$(if $(NPM),cd frontend && npm run --silent lint && npm run --silent typecheck)

.PHONY: format
format: $(STAMP) $(if $(NPM),$(MODULES)) ## Format the code and fix what ruff can fix
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix
	@$(if $(NPM),cd frontend && npm run --silent format)

.PHONY: docs
docs: $(STAMP) ## Build the documentation into build/site
	@$(BIN)/python -m docs.build
	@$(BIN)/zensical build --clean --strict

.PHONY: bench
bench: $(STAMP) ## Measure Fairlane on SQLite and PostgreSQL; quickly: make bench ARGS=--quick
	@$(BIN)/python -m benchmarks --json benchmarks/results/fairlane-sqlite.json $(ARGS)
	@$(BIN)/python -m benchmarks --postgres --json benchmarks/results/fairlane-postgresql.json $(ARGS)
	@$(MAKE) bench-page

.PHONY: bench-deep
bench-deep: $(STAMP) ## Measure drains among a million jobs that wait, on PostgreSQL
	@$(BIN)/python -m benchmarks --postgres --only drain --only drain-behind --only drain-later --only drain-limited \
		--deep 1000000 --runs 1 --json benchmarks/results/fairlane-postgresql-deep.json $(ARGS)
	@$(MAKE) bench-page

.PHONY: bench-peers
bench-peers: $(STAMP) ## Measure Fairlane beside its peers; some: make bench-peers ARGS="--peers pgqueuer"
	@$(BIN)/python -m benchmarks.peers run $(ARGS)
	@$(MAKE) bench-page

.PHONY: bench-soak
bench-soak: $(STAMP) ## Run five million jobs through PostgreSQL, and see that speed and size stay
	@$(BIN)/python -m benchmarks.soak $(ARGS)
	@$(MAKE) bench-page

.PHONY: bench-realtime
bench-realtime: $(STAMP) ## Measure 1,000 sockets; on another database: make bench-realtime URL=postgresql://…
	@$(BIN)/python -m benchmarks.realtime --url $(or $(URL),sqlite:///build/realtime.db) $(ARGS)

.PHONY: bench-lists
bench-lists: $(STAMP) ## Ask a million jobs for each list and chart: make bench-lists URL=postgresql://…
	@$(BIN)/python -m benchmarks.lists --url $(or $(URL),$(error Name an empty PostgreSQL database: URL=postgresql://…)) $(ARGS)

.PHONY: bench-api
bench-api: $(STAMP) ## Measure what a flood of one costs the others of the REST API, and if time tells others' ids
	@$(BIN)/python -m benchmarks.api_flood $(ARGS)
	@$(BIN)/python -m benchmarks.api_alike $(ARGS)

.PHONY: bench-start
bench-start: $(STAMP) ## Measure how much processor time the command line takes to start
	@$(BIN)/python -m benchmarks.start

.PHONY: bench-page
bench-page: $(STAMP) ## Write docs/benchmarks.md and its charts from what was measured
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group bench
	@$(BIN)/python -m benchmarks.simulation
	@$(BIN)/python -m benchmarks.page

.PHONY: storm
storm: $(STAMP) ## Prove that no job is lost under kills and outages: a million jobs with make storm LONG=1
	@$(BIN)/python -m tests.storm $(if $(LONG),--long) $(ARGS)
	@$(MAKE) storm-page

.PHONY: storm-page
storm-page: $(STAMP) ## Write docs/reliability.md and its charts from what storms have found
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group bench
	@$(BIN)/python -m tests.storm.page

COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet

.PHONY: lock
lock: $(STAMP) ## Pin the newest dependencies that pyproject.toml allows
	@$(COMPILE) --extra all --group dev --group docs --upgrade --output-file requirements.lock
	@$(COMPILE) --extra all --group build --group demo --group server --constraint requirements.lock --output-file requirements-all.lock
	@$(COMPILE) --group build --group demo --constraint requirements.lock --output-file requirements-demo.lock
	@$(MAKE) $(STAMP)

.PHONY: clean
clean: ## Remove everything that make made: .venv, caches, builds, demo data
	rm -rf .venv .demo frontend/node_modules frontend/src/api/schema.d.ts src/fairlane/dashboard benchmarks/.cache build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything in a lock is checked by hash, the build backend too, so the package itself is built without isolation.
# Python compiles a module when it is first imported; to compile all of them takes longer than to install them.
define install
	@if test -x $(BIN)/pip; then install="$(BIN)/python -m pip install --disable-pip-version-check --no-compile"; \
	else install="$$(command -v uv || echo $(BIN)/uv) pip install --python $(BIN)/python"; fi; \
	$$install --quiet --require-hashes -r $< && \
	$$install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(STAMP): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing Fairlane and its tools into .venv"
	$(install)
	@touch .venv/.installed-all .venv/.installed-demo

.venv/.installed-%: requirements-%.lock pyproject.toml | $(BIN)/python
	@echo "Installing Fairlane and what the demo needs into .venv"
	$(install)

# A name on PATH may be an older Python, or a version manager's stub that runs nothing: ask each what it is.
$(BIN)/python:
	@echo "Making a virtual environment in .venv"
	@for python in $(or $(PYTHON),python3 python3.11 python3.12 python3.13 python3.14); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		if command -v uv >/dev/null; then uv venv --quiet --clear --python "$$python" .venv; \
		else "$$python" -m venv --clear .venv; fi && exit; \
		rm -rf .venv; exit 1; \
	done; \
	echo "Fairlane needs Python 3.11 or newer. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1
