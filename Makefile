# `make help` lists the targets. All of them use .venv, made from requirements.lock when it is missing or old.
PYTHON ?= python3
JOBS ?= 6
ARGS ?=
DIR ?=
BENCH ?= ../shared/bench
SCENARIOS ?= S1,S2,S3,S4,S5
WHAT ?= costs
DURATION ?= 2h
OLDEST ?= /usr/lib/postgresql/15/bin

BIN := .venv/bin
STAMP := .venv/installed

# Thousands of processes import the same modules: where none may be kept compiled, each compiles them anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest scale chaos soak check lint types format bench measure examples docs reference wheel lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## real work on real input, PostgreSQL included; DIR=path for another directory
	$(BIN)/python examples/index_directory.py "$(DIR)"

test: $(STAMP) ## the suite, six processes at a time (most tests wait); JOBS=n, ARGS="-k word"
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

# The same on any version of it: what only prints, the pages of docs/, processes, threads and other programs around
# the worker, what is gathered and told in Python alone, the server of the wheel, and adapters that send what the others
# send. `make test-oldest SAME=` runs these there, too.
SAME = --ignore-glob='*/test_cli_*.py' --ignore-glob='*/test_docs_*.py' --ignore-glob='*/test_mistakes_*.py' \
	$(addprefix --ignore=tests/crash/test_, another_database.py fleet.py other_languages.py processes.py stopping.py) \
	$(addprefix --ignore=tests/service/test_, archive_parquet.py driver_sqlalchemy.py driver_django.py driver_psycopg.py embedded.py \
		forks.py health.py metrics.py pgbouncer.py secrets.py sync_client.py tracing.py) \
	$(addprefix --ignore=tests/story/test_, around_tasks.py batches.py captured_logs.py django.py embedding.py examples.py \
		process_programs.py readme.py testing.py testing_schedules.py)

test-oldest: $(STAMP) ## what needs a database, on the oldest PostgreSQL supported; OLDEST=path/bin
	@if [ -x $(OLDEST)/postgres ]; then \
		OPENQUEUE_TEST_PG_BIN=$(OLDEST) $(BIN)/python -m pytest -n $(JOBS) -m database $(SAME) $(ARGS); \
	else echo "MISSING: not tested on PostgreSQL 15: no programs in $(OLDEST) (apt-get install postgresql-15)"; fi

check: lint types docs test test-oldest examples wheel ## the whole gate
	@command -v docker >/dev/null && docker info >/dev/null 2>&1 && echo "the image is built by: docker build ." \
		|| echo "MISSING: the image was not built: no engine (its Dockerfile was checked by tests/rules)"

scale: $(STAMP) ## scenarios at full size, one after the other: minutes, and some GB of disk
	$(BIN)/python -m pytest -m scale --timeout 1800 $(ARGS)

chaos: $(STAMP) ## everything is killed that can be, for ten minutes; ARGS="--seed 7 --only network"
	$(BIN)/python -m tests.chaos --duration 10m $(ARGS)

soak: $(STAMP) ## the same for DURATION=2h
	$(BIN)/python -m tests.chaos --duration $(DURATION) $(ARGS)

lint: $(STAMP) ## format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

format: $(STAMP) ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## the peers' benchmark; BENCH=path to it, SCENARIOS=S1,S3, ARGS="--peers raw,openqueue"
	@test -f $(BENCH)/bench.py || { echo "There is no benchmark at $(BENCH): give its place with BENCH=path"; exit 1; }
	BENCH_ADAPTER_DIR=$(CURDIR)/tests/bench/peer BENCH_OUT=$${BENCH_OUT:-$(CURDIR)/build/bench} \
		PYTHONPATH=$(CURDIR) $(BIN)/python $(BENCH)/bench.py --quick --scenarios $(SCENARIOS) $(or $(ARGS),--peers raw,openqueue)

measure: $(STAMP) ## one of WHAT=memory|sleeping|queues|payloads|processes|history|costs|control|schedules|finding; ARGS="--json"
	@case "$(WHAT)" in memory|sleeping|queues|payloads|processes|history|costs|control|schedules|finding) ;; \
		*) echo "WHAT=$(WHAT): give one of memory, sleeping, queues, payloads, processes, history, costs, control, schedules, finding"; exit 2;; esac
	$(BIN)/python -m tests.bench.$(WHAT) $(ARGS)

examples: $(STAMP) ## the large example, on this project's own files (the numbered ones are part of the suite)
	$(BIN)/python examples/index_directory.py openqueue

docs: $(STAMP) ## the site, in build/docs; a link that leads nowhere fails
	$(BIN)/zensical build --strict --config-file .zensical.toml

reference: $(STAMP) ## write docs/reference anew, from the code
	$(BIN)/python -m tests.support.reference

wheel: $(STAMP) ## build the wheel and use it in an empty directory
	$(BIN)/python -m tests.support.wheel

lock: $(STAMP) ## resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock

clean: ## remove what was made, except a development database
	rm -rf .venv .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "openqueue needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "making .venv (half a minute) …"
	@rm -f $@
	@$(PYTHON) -m venv --upgrade-deps .venv >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@
