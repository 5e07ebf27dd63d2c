# `make demo` and `make test` do all the set-up from a fresh clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# lmms-eval's own environment: it brings 1.3 GB of packages, which no other target needs.
LMMS       := .venv-lmms
LMMS_READY := $(LMMS)/.ready

.PHONY: demo test slow test-distributed test-lmms test-processors lint types check matrix matrix-newest breaks clean

demo: $(READY)
	$(BIN)/visionflow ask examples/scene.png "How many red objects are there?"

test: $(READY)
	$(BIN)/pytest -n 2 -m "not slow"

# All families of models, where `make test` takes one of each kind.
slow: $(READY) build/torchao
	PYTHONPATH=build/torchao $(BIN)/pytest -n 2 -m slow

# Beside the environment: where it is installed, every start of the command line reports the kernels that it lacks.
build/torchao: constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/torchao \
		$$(grep '^torchao==' constraints.txt)

# Tensor parallel: two processes on the CPU, each with half of the heads.
test-distributed: $(READY)
	$(BIN)/pytest tests/distributed

# The benchmarks' plug-in through lmms-eval's command line, on generated questions: no download.
test-lmms: $(LMMS_READY)
	$(LMMS)/bin/pytest tests/lmms

# `ask` and `eval` on every family's own processor, with all the packages that docs/processors.md names.
test-processors: $(LMMS_READY)
	$(LMMS)/bin/pip install --quiet --disable-pip-version-check --no-deps num2words==0.5.14 docopt==0.6.2 timm==1.0.31
	$(LMMS)/bin/pytest -m "" tests/cli/test_families.py

lint: $(READY)
	$(BIN)/ruff check src tests docs
	$(BIN)/ruff format --check src tests docs

types: $(READY)
	$(BIN)/mypy

check: lint types test

# Break the code on purpose and see each oracle fail.
breaks: $(READY)
	$(BIN)/python tests/breaks.py

# Every oracle on every family with every method; docs/families.md is made of it.
matrix: $(READY)
	$(BIN)/python -m tests.zoo.matrix

# The same on the newest transformers, for a weekly job: it fails where a class was added that nobody has looked at.
matrix-newest:
	test -d .venv-newest || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	.venv-newest/bin/pip install --quiet --disable-pip-version-check --upgrade transformers -e '.[dev]'
	.venv-newest/bin/pytest -q tests/zoo/test_oracles.py -k "every_class"
	.venv-newest/bin/python -m tests.zoo.matrix --no-write

# torch is installed first and by its exact pin, so that a CPU build found locally is taken.
$(READY): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

# torch and torchvision by exact pins and in one command with lmms-eval, or it would bring a torch built for CUDA; the
# torchvision that there is was built for CUDA, too, and takes a helper to be imported.
$(LMMS_READY): pyproject.toml constraints.txt tests/lmms/torchvision_on_cpu.py
	test -d $(LMMS) || $(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt \
		$$(grep '^torch==' constraints.txt) torchvision==0.28.0 -e '.[lmms]' pytest hypothesis
	cp tests/lmms/torchvision_on_cpu.py \
		$$($(LMMS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sitecustomize.py
	touch $(LMMS_READY)

clean:
	rm -rf $(VENV) $(LMMS) .venv-newest .pytest_cache .mypy_cache .ruff_cache .hypothesis
