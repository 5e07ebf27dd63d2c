# `make demo` and `make test` do all the set-up from a fresh clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint types check breaks clean

demo: $(READY)
	$(BIN)/visionflow ask examples/scene.png "How many red objects are there?"

test: $(READY)
	$(BIN)/pytest -n 2

lint: $(READY)
	$(BIN)/ruff check src tests docs
	$(BIN)/ruff format --check src tests docs

types: $(READY)
	$(BIN)/mypy

check: lint types test

# Break the code on purpose and see each oracle fail.
breaks: $(READY)
	$(BIN)/python tests/breaks.py

# torch is installed first and by its exact pin, so that a CPU build found locally is taken.
$(READY): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
