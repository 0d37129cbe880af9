# Two commands on a fresh clone: `make run` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNTIME ?= process
ARGS   ?=

.PHONY: run test unit lint bench load clean doctor

run: $(VENV)/ready
	$(BIN)/squall run --runtime $(RUNTIME) $(ARGS)

test: $(VENV)/ready
	$(BIN)/python -m pytest $(ARGS)

unit: $(VENV)/ready
	$(BIN)/python -m pytest -m "not e2e" $(ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks $(ARGS)

# Five minutes of load with faults; ARGS=suites/load/one-minute.yaml for one.
load: $(VENV)/ready
	$(BIN)/squall run --runtime $(RUNTIME) $(or $(ARGS),suites/load/five-minutes.yaml)

doctor: $(VENV)/ready
	$(BIN)/squall doctor

$(VENV)/ready: pyproject.toml setup.py constraints.txt reference_impl/pop/_head.c
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[servers,dev]'
	touch $@

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache
