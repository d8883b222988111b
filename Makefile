# Every target is one line that calls scripts/, where the work is.

.PHONY: help install run test test-long soak lint check mutants compile test-compiled bench cache-tests compose-test clean lock up

help:  ## What there is
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

install:  ## .venv with everything that requirements-dev.lock names
	@scripts/install

run: install  ## The demonstration: five backends, the balancer on https://localhost:8443 (PORT=, DEMO_PORT=)
	@.venv/bin/python scripts/run.py

test: install  ## Everything that can be tested here (ARGS="-k health")
	@scripts/test $(ARGS)

lint: install  ## ruff, mypy --strict, import-linter, generated files
	@scripts/lint

check: install  ## What must hold before a change goes in: lint, the domain's coverage, test
	@scripts/check

test-long: install  ## What takes longer than one wants to wait each time (CASES=1000000)
	@scripts/test-long $(ARGS)

mutants: install  ## Small mistakes in app/domain and app/edge, and whether the tests notice (ARGS="app/domain/bucket.py --show")
	@.venv/bin/python scripts/mutants.py $(ARGS)

soak: install  ## Everything at once with faults, for 30 minutes (MINUTES=10)
	@scripts/soak $(ARGS)

compile:  ## .run/compiled: the same with its hot path compiled, for which it takes gcc and Python.h (PYTHON=)
	@scripts/compile $(ARGS)

test-compiled:  ## The tests against that (ARGS="tests/edge")
	@scripts/test-compiled $(ARGS)

bench: install  ## CPU a request beside nginx, HAProxy and a naive proxy (ARGS="--rounds 5")
	@.venv/bin/python -m scripts.bench $(ARGS)

cache-tests: install  ## The public suite of HTTP caches against l7lb; needs node and npm (ARGS="--id vary-match")
	@.venv/bin/python -m scripts.cache_tests $(ARGS)

compose-test:  ## Two balancers, Redis and backends in containers, by podman, and what may happen to them
	@scripts/compose-test

lock:  ## New pins in the lock files (ARGS=--upgrade)
	@scripts/lock $(ARGS)

up:  ## The demonstration in containers
	@docker compose up --build

clean:  ## Take away what all the above made
	@scripts/clean
