# The one command file: people and CI call only these targets. `make help` lists them.
# Newcomers need two: `make rehearsal` and `make test`; each does all the set-up itself.

# The machine's Python that makes .venv; name another with PYTHON=python3.12.
PYTHON ?= python3
# Regions of the lab, separated by commas; empty means every region of the estate.
REGIONS ?=
# Days of the week to rehearse, separated by commas; empty means all, and with a FAULT all up to its own.
DAYS ?=
# A fault to rehearse; whether it comes out as expected decides over the exit status (lab/README.md, Faults).
# Day 1: gate (a gate fails after the canary), ice (no spot capacity during the second step), spot-storm (spot nodes are
# interrupted and no spot is to be had), api-outage (an API server is away while the second step is written).
# Day 2: forecast-down (every predictor is gone). Day 3: etag (somebody else changes the distribution before a write).
# Day 4: oom (memory leaks after the canary while running pods are resized).
FAULT ?=
# 1 starts all days by one run of week14, 0 each by its own trigger; empty: 1 for the whole week without a FAULT.
WEEK ?=
# 1 undoes everything at the end through the rollback DAG, 0 leaves the changes standing; empty: 1, and 0 with a FAULT.
UNDO ?=
# 1 keeps the UI up until Ctrl-C, 0 tears everything down at once; empty keeps it on a terminal only.
KEEP ?=
# Where the rehearsal's Airflow keeps its records: sqlite, or postgresql (Debian's) with two schedulers; empty is sqlite.
DATABASE ?=
# A CSV traffic trace for the plant instead of the estate's daily shape.
TRACE ?=
# 0 leaves the levers' conformance out of `make test`, for a run of `make lever-conformance` beside it.
CONFORMANCE ?=
# One file of tests/browser; empty runs all.
ONLY ?=
# Built programs of another machine, a path or an address of what `make programs-archive` wrote, and its checksum when no
# .sha256 lies beside it; empty builds them.
LAB_PROGRAMS ?=
LAB_PROGRAMS_SHA256 ?=
# 1 keeps Go's build cache and modules when all programs are built; they take 8 GB.
AKIDB_KEEP_GO_CACHE ?=
# 1 makes `make -s plan` print its figures as one JSON object.
JSON ?=
export REGIONS DAYS FAULT UNDO KEEP TRACE DATABASE WEEK
export LAB_PROGRAMS LAB_PROGRAMS_SHA256 AKIDB_KEEP_GO_CACHE

BIN := .venv/bin
# Folders that exist today; a target must not fail because a later part of the project is missing.
SOURCES := $(wildcard dags include lab plugins models jetson_tasks tools tests benchmarks)

.DEFAULT_GOAL := help
.PHONY: help setup plan programs-archive rehearsal surge test browser test-faults ci-long lever-conformance conformance lab-up lab-down airflow lint format bench house docs requirements

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv, install the pinned packages, build the lab's programs (or LAB_PROGRAMS=); does nothing the second time
	@$(PYTHON) tools/setup.py

# Set-up goes to standard error: with JSON=1 standard output is the object alone. The lab's programs aren't needed.
plan: ## what the week would save, lever by lever, in both price books; needs no lab (with -s and JSON=1 one JSON object)
	@$(PYTHON) tools/setup.py --packages >&2
	@$(BIN)/python -m include.planner $(if $(filter 1,$(JSON)),--json)

programs-archive: setup ## pack the lab's programs into one file that LAB_PROGRAMS= installs on another machine
	@$(BIN)/python -m lab.machine.archive

rehearsal: setup ## the week on real clusters, its undo, scorecard, page (REGIONS=, DAYS=, FAULT=, UNDO=0|1, KEEP=0|1, TRACE=, DATABASE=, WEEK=0|1)
	@$(BIN)/python -m lab.rehearsal

test: setup ## unit, DAG and lab tests
	@$(BIN)/pytest $(wildcard tests/lab) tests/dags tests/unit -m "not faults and not long$(if $(filter 0,$(CONFORMANCE)), and not conformance)" -n 2

surge: setup ## a surge of traffic with and without the forecast, twelve times as fast; 45 minutes (SURGE=morning|burst, TRACE=file.csv)
	@$(BIN)/python -m lab.surge

browser: setup ## the UI and the page in real Chromium on a small live Airflow (ONLY=file; AKIDB_UI= looks at one that is up)
	@$(BIN)/pytest tests/browser$(if $(ONLY),/$(ONLY)) -n 0

test-faults: setup ## kill -9 and fault runs against the lab; takes long
	@$(BIN)/pytest $(wildcard tests/lab) -m faults

# Run it before an issue is resolved; what it measures goes into docs/measurements.md.
ci-long: setup ## what CI has no time for: the whole week in three regions, day 1 on PostgreSQL, the browser, each lever of day 4 in a lab, the image's packages, faults; hours
	@$(MAKE) --no-print-directory rehearsal REGIONS= DAYS= FAULT= KEEP=0 UNDO=1 WEEK=
	@AKIDB_SKIP_NOTHING=1 $(MAKE) --no-print-directory rehearsal REGIONS=ap-northeast-1 DAYS=1 FAULT= KEEP=0 UNDO=1 DATABASE=postgresql
	@AKIDB_SKIP_NOTHING=1 $(MAKE) --no-print-directory browser
	@AKIDB_SKIP_NOTHING=1 $(BIN)/pytest $(wildcard tests/lab) -m "long and not conformance"
	@$(MAKE) --no-print-directory test-faults

lever-conformance: setup ## every lever against every property of an undo, on fakes and on a real API server; writes .lab/conformance.json
	@$(BIN)/python -m tests.conformance.levers

conformance: setup ## a day of each cost source against the public FOCUS 1.2 rule set (needs a Python 3.12)
	@$(BIN)/python -m tests.conformance.run

lab-up: setup ## boot the lab alone (REGIONS=, TRACE=)
	@$(BIN)/python -m lab up

lab-down: setup ## stop a running lab and its Airflow, and remove what they left
	@$(BIN)/python -m lab.rehearsal.airflow down
	@$(BIN)/python -m lab down

airflow: setup ## Airflow with its UI against a running lab, until Ctrl-C
	@$(BIN)/python -m lab.rehearsal.airflow

lint: setup ## check style, Airflow rules, types and the dependency rule; changes nothing
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy include jetson_tasks lab models tools
	@$(BIN)/lint-imports

format: setup ## rewrite the sources in the style that lint checks
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

bench: setup ## publish what rehearsals and surges left in .lab/results, measure the rest; alone writes benchmarks/results/*.json
	@$(BIN)/python -m benchmarks.publish
	@$(PYTHON) tools/setup.py --measure
	@set -e; for file in $(wildcard benchmarks/bench_*.py); do echo "$$file"; $(BIN)/python -m benchmarks.$$(basename "$$file" .py); done

# Standard output is the figures alone, as one JSON object; all else goes to standard error.
house: ## the sources in figures: arrows, circles, lines, copies, time to parse; with -s one JSON object on stdout
	@$(PYTHON) tools/setup.py >&2
	@$(BIN)/python -m tools.house

docs: setup ## write docs/DAGs.md from the DAGs' docstrings, and the settings' reference from the forms
	@$(BIN)/python -m tools.docs

requirements: setup ## compile requirements*.in again, for every platform and with hashes
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		requirements-dev.in -o requirements-dev.txt
	@$(BIN)/uv pip compile --universal --python-version 3.12 --generate-hashes --no-emit-index-url \
		tests/conformance/requirements.in -o tests/conformance/requirements.txt
