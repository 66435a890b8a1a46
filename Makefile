# cdr-harvester: everything that a newcomer, a contributor and CI type.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
SEED ?=
KEEP ?=
SOAK_SECONDS ?= 600
CRASH_POINTS ?= 0
CRASH_KILLS ?= 500
PAIRS ?= 11
MOMENT ?=
COUNT ?= 10
PLACES ?= harvester
IDS ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_COMPILE := .venv-lock/bin/pip-compile --quiet --generate-hashes --no-emit-index-url \
	--no-emit-trusted-host --no-emit-find-links --no-emit-options --strip-extras --allow-unsafe \
	--build-deps-for editable --upgrade
# Many tests wait more than they work: two workers more than there are cores.
JOBS ?= $(shell echo $$(($$(nproc) + 2)))
# A seed makes hypothesis and the crash tests repeat themselves.
PYTEST = SEED=$(SEED) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal \
	$(if $(SEED),--hypothesis-seed=$(SEED)) $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo install dist test long any-day mutants crash lean scale soak readers audit licences check lint arrows types lowest lock clean venv \
	bench bench-full bench-micro screens docs
.DELETE_ON_ERROR:

##@ See it

demo: $(VENV)/runtime ## Demo run: 10,000 made-up calls from a simulator with faults, into ./demo-out
	@$(BIN)/harvester demo -c configs/demo.toml --out demo-out

screens: $(VENV)/runtime ## Pictures of a run and a report into docs/screens, by tmux and headless Chromium
	@$(BIN)/python -m bench screens

install: $(VENV)/runtime ## Only what the harvester itself needs, into .venv: .venv/bin/harvester
	@$(BIN)/harvester --version

##@ Work on it

test: $(VENV)/dev ## Run the tests (PYTEST_ARGS="-k pace -x", SEED=7)
	@$(PYTEST)

any-day: $(VENV)/dev ## The tests at ten moments, under libfaketime: does a date matter? (MOMENT=leap-day)
	@SEED=$(SEED) $(BIN)/python -m tests.any_day $(MOMENT:%=--moment %) \
		-n $(JOBS) --dist worksteal $(PYTEST_ARGS)

mutants: $(VENV)/dev ## Can the tests fail? Small faults, drawn by SEED, put into a copy (COUNT=10, PLACES=harvester/state)
	@$(BIN)/python -m tests.mutants $(if $(SEED),--seed $(SEED)) --count $(COUNT) \
		$(if $(filter-out auto,$(JOBS)),--jobs $(JOBS)) $(PLACES)

long: $(VENV)/dev ## The tests that take long over sockets: the vendor's list, workers, whole nights; eight minutes
	@$(PYTEST) tests/long

soak: $(VENV)/dev ## A long rehearsal: moods of the vendor, and how soon the rate is back (SOAK_SECONDS=600)
	@SOAK_SECONDS=$(SOAK_SECONDS) SEED=$(SEED) $(BIN)/python -m pytest $(PYTEST_ARGS) -s -m soak tests/soak

# Harvests that are killed wait more than they work: twice the cores.
crash lean: JOBS = 4
crash: $(VENV)/dev ## Proof by crash, whole: half an hour (CRASH_POINTS=3 of each kind, CRASH_KILLS=40)
	@CRASH_POINTS=$(CRASH_POINTS) CRASH_KILLS=$(CRASH_KILLS) $(PYTEST) -rA -m crash

scale: ## Workers here, and on a Ray cluster where Ray installs: killed, stopped, cut off; ten minutes
	@$(MAKE) --no-print-directory .venv-ray/stamp || { \
		echo "make scale: SKIPPED. Ray does not install here: nothing is known of it."; exit 0; }; \
		.venv-ray/bin/python -m pytest -n 2 -rs $(PYTEST_ARGS) tests/long/test_workers.py tests/cluster

lean: $(VENV)/dev ## Harvests, faults, security and crashes over the lean transport and TLS
	@TEST_TRANSPORT=lean TEST_TLS=1 CRASH_POINTS=$(CRASH_POINTS) CRASH_KILLS=$(CRASH_KILLS) $(PYTEST) \
		tests/long/test_harvest_*.py tests/security \
		tests/crash/test_crash.py tests/crash/test_by_pages.py

check: lint types test ## What CI runs: lint, types, tests

lint: $(VENV)/dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

arrows: $(VENV)/dev ## Write which package imports which into tests/architecture.toml: look at what is new
	@$(BIN)/python -m tests.arrows

types: $(VENV)/dev ## mypy --strict over package and tests
	@$(BIN)/mypy

lowest: ## Run the tests once against the lowest versions that pyproject.toml allows
	@rm -rf .venv-lowest
	@$(PYTHON) -m venv .venv-lowest
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		-c requirements-lowest.txt -e '.[dev]'
	@.venv-lowest/bin/python -m pytest $(PYTEST_ARGS)
	@$(if $(KEEP),true,rm -rf .venv-lowest)

readers: $(VENV)/dev .venv-readers/stamp ## What docs/reading.md says of each reader: Polars, pandas, Spark, PostgreSQL …
	@$(BIN)/python -m tests.support.readers .venv-readers/bin/python

##@ Measure it

bench: $(VENV)/runtime .venv-bench/peers ## Ours beside bare aiohttp and two peers (PAIRS=11, IDS=2000 to try it); half an hour
	@PAIRS=$(PAIRS) IDS=$(IDS) $(BIN)/python -m bench usual

bench-full: $(VENV)/runtime .venv-bench/peers ## And every peer that installs, latency, rates, lists, memory; hours
	@for peer in $$(grep -v '^#' bench/peers/more.txt); do \
		.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check "$$peer" || \
		echo "SKIPPED: $$peer does not install here."; done
	@PAIRS=$(PAIRS) IDS=$(IDS) $(BIN)/python -m bench full

bench-micro: $(VENV)/dev ## What each stage costs, without a network
	@$(BIN)/python -m pytest -o addopts= --import-mode=importlib -p no:xdist bench/micro $(PYTEST_ARGS)

##@ Keep it

audit: ## Known weaknesses of the pinned dependencies (uses the PyPI or OSV service)
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && \
		.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	@.venv-audit/bin/pip-audit --version
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.txt || { \
		echo "make audit: FAILED. Either weaknesses are listed above, or the service could not be" \
		"asked from here: then nothing is known, and it has to be run where it can." >&2; exit 1; }

licences: $(VENV)/runtime ## Licences of the pinned dependencies; fails on GPL, AGPL and unknown ones
	@$(BIN)/python tests/security/licences.py requirements.txt

venv: $(VENV)/dev ## Make the environment in .venv and nothing else

# The pages are copied, as Zensical wants them below its configuration; docs/mkdocs.yml says more.
docs: .venv-docs/stamp ## Build the pages of docs/ as a site that works offline: .docs/site/index.html
	@rm -rf .docs && mkdir .docs && cp -R docs .docs/docs && mv .docs/docs/mkdocs.yml .docs/
	@.venv-docs/bin/zensical build --strict --config-file .docs/mkdocs.yml
	@! grep -rnE '<(script|link|img|iframe|source)[^>]*[ "]https?:|url\(.?https?:' --include='*.html' --include='*.css' \
		.docs/site || { echo "make docs: FAILED. A page would fetch what is named above." >&2; exit 1; }
	@echo "Written: .docs/site/index.html"

# The wheel is tried where nothing of this checkout is in sight; its requirements come from PyPI.
dist: $(VENV)/dev ## Build sdist and wheel into dist/, look into them, install the wheel and try it (IDS=500)
	@$(BIN)/python -m tests.dist dist $(if $(IDS),--ids $(IDS))

lock: ## Make requirements.txt, requirements-dev.txt and docs/requirements.txt again
	@test -d .venv-lock || $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check pip-tools
	@CUSTOM_COMPILE_COMMAND="make lock" $(PIP_COMPILE) -o requirements.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(PIP_COMPILE) --extra dev -o requirements-dev.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(filter-out --build-deps-for editable,$(PIP_COMPILE)) \
		-o docs/requirements.txt docs/requirements.in
	@$(if $(KEEP),true,rm -rf .venv-lock)

clean: ## Remove environments, caches and ./demo-out (KEEP=1 keeps demo-out)
	rm -rf .venv .venv-lowest .venv-lock .venv-audit .venv-bench .venv-docs .venv-readers .venv-ray dist .docs .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
	$(if $(KEEP),,rm -rf demo-out)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## This text
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Stamps: an environment is made again when the pins change, and only then.

$(VENV)/runtime: requirements.txt pyproject.toml
	@echo "Making the environment in $(VENV) (once; a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --require-hashes -r requirements.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: requirements-dev.txt pyproject.toml | $(VENV)/runtime
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@

# The site's generator, apart from what the harvester runs with.
.venv-docs/stamp: docs/requirements.txt
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Readers of the data, apart from what the harvester runs with; not pinned, as a reader of the page has them.
.venv-readers/stamp: tests/readers.txt
	@test -x .venv-readers/bin/python || $(PYTHON) -m venv .venv-readers
	@.venv-readers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Ray, apart from what the harvester runs with; and uvloop, which Ray installs where it finds it.
.venv-ray/stamp: pyproject.toml
	@test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	@.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check \
		-e '.[dev,ray]' uvloop
	@touch $@

# The packages of the peers: not pinned, and never among our own dependencies.
.venv-bench/peers: bench/peers/requirements.txt
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
