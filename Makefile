# Thin: every target is one line that calls the command line or pytest. `make env` is what all need.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export OMP_NUM_THREADS := 1

.PHONY: help env demo test lab build lint attack bench clean

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

env: .venv/ready ## the virtual environment, from pyproject.toml

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23.1"
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

demo: env ## grade five sample submissions through nbgrader and show the feedback
	dlcourse demo

test: env ## the test suite
	python -m pytest tests -n 2 --dist worksteal

lab: env ## the self-study notebooks in JupyterLab
	jupyter lab notebooks

build: env ## chapters/ to source/, release/ and notebooks/
	dlcourse build

lint: env ## ruff
	ruff check . && ruff format --check autograder utils tests

attack: env ## hostile submissions against this grader and against stock nbgrader
	dlcourse attack --stock

bench: env ## throughput against stock nbgrader
	dlcourse bench grading -n 20

clean: ## what grading and testing left behind
	rm -rf .build submitted autograded feedback gradebook.db
