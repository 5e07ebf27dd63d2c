# `make demo` and `make test` do all the set-up from a fresh clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# lmms-eval's own environment: it brings 1.3 GB of packages, which no other target needs.
LMMS       := .venv-lmms
LMMS_READY := $(LMMS)/.ready

# vLLM's as well: it pins other versions of torch and transformers.
VLLM       := .venv-vllm
VLLM_READY := $(VLLM)/.ready

# For pages and the app in a real browser, beside what the tests have: Debian's chromium (apt install chromium), not a download.
BROWSER       := .venv-browser
BROWSER_READY := $(BROWSER)/.ready

# For documents, releases and commit hooks: nothing here needs torch.
TOOLS       := .venv-tools
TOOLS_READY := $(TOOLS)/.ready

# A release is tried out in an environment with nothing else.
DIST := .venv-dist

.PHONY: demo test slow oracles test-distributed test-lmms test-vllm test-processors test-triton look look-pictures lint \
	types check matrix matrix-newest newest lock breaks results house operations probes gpu docs dist hooks clean

demo: $(READY)
	$(BIN)/visionflow ask examples/scene.png "How many red objects are there?"

test: $(READY)
	$(BIN)/pytest -n 2 -m "not slow"

# All families of models, where `make test` takes one of each kind.
slow: $(READY) build/torchao
	PYTHONPATH=build/torchao $(BIN)/pytest -n 2 -m slow

# Beside the environment: where it is installed, every start of the command line reports the kernels that it lacks.
build/torchao: locks/torchao.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/torchao -r locks/torchao.txt

# The exactness tests with the kernels of other processors: those for no vectors at all, and those for AVX2.
oracles: $(READY)
	for kernels in default avx2; do \
		ATEN_CPU_CAPABILITY=$$kernels ONEDNN_MAX_CPU_ISA=AVX2 \
			$(BIN)/pytest -n 2 -m "not slow" tests/engine tests/flow tests/methods tests/legacy || exit 1; \
	done

# The fused kernels in Triton's interpreter, and compiled for a GPU that is not here.
test-triton: $(READY) build/triton
	PYTHONPATH=build/triton TRITON_INTERPRET=1 $(BIN)/pytest tests/core/test_contribution_kernel.py

# Beside the environment, as users of torch for the CPU have none.
build/triton: locks/vllm.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/triton \
		$$(grep '^triton==' locks/vllm.txt)

# Tensor parallel: two processes on the CPU, each with half of the heads.
test-distributed: $(READY)
	$(BIN)/pytest tests/distributed

# The benchmarks' plug-in through lmms-eval's command line, on generated questions: no download.
test-lmms: $(LMMS_READY)
	$(LMMS)/bin/pytest tests/lmms

# vLLM on the CPU against transformers: token for token, on tiny models of its real classes.
test-vllm: $(VLLM_READY)
	OMP_NUM_THREADS=1 $(VLLM)/bin/pytest tests/vllm

# `ask` and `eval` on every family's own processor, with all the packages that docs/processors.md names; and videos.
test-processors: $(LMMS_READY)
	$(LMMS)/bin/pytest -m "" tests/cli/test_families.py tests/cli/test_look.py tests/loading/test_videos.py

# The pages of `visionflow look` and the app in Chromium: every control, accessibility, screenshots in build/look.
look: $(BROWSER_READY)
	$(BROWSER)/bin/pytest tests/browser tests/app

# The pictures of these in docs/, made anew with the embedded model as it is: look at each before it is committed.
look-pictures: $(BROWSER_READY)
	OMP_NUM_THREADS=1 $(BROWSER)/bin/python -m tests.browser.pictures

lint: $(READY)
	$(BIN)/ruff check src tests docs examples
	$(BIN)/ruff format --check src tests docs examples

types: $(READY)
	$(BIN)/mypy

check: lint types test

# Break the code on purpose and see each oracle fail.
breaks: $(READY)
	$(BIN)/python tests/breaks.py

# Every table and figure of docs/results and docs/study, but for speed; what is in build/results is not run again.
results: $(READY)
	$(BIN)/python docs/results/runs.py --out build/results
	$(BIN)/python docs/study/lenses.py --limit 134 --captions 60 --out build/results/lenses
	$(BIN)/python docs/results/pages.py --runs build/results

# The documents as a site in build/site, with a reference made of the docstrings; a dead link fails it.
DOCUMENTS := '*.md' 'docs/*' 'examples/*' LICENSE
docs: $(TOOLS_READY)
	rm -rf build/documents build/site
	mkdir -p build/documents
	git ls-files --cached --others --exclude-standard -- $(DOCUMENTS) | xargs cp --parents --target-directory build/documents
	NO_MKDOCS_2_WARNING=1 $(TOOLS)/bin/mkdocs build --quiet
	@echo "open build/site/index.html, or: $(TOOLS)/bin/python -m http.server --directory build/site"

# Source distribution and wheel as PyPI would take them; the demo runs from the wheel alone.
dist: $(TOOLS_READY)
	rm -rf dist $(DIST)
	$(TOOLS)/bin/python -m build --no-isolation
	$(TOOLS)/bin/twine check --strict dist/*
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' locks/main.txt)
	$(DIST)/bin/pip install --quiet --disable-pip-version-check -c locks/main.txt dist/*.whl
	cd $(DIST) && PYTHONPATH= bin/visionflow ask $(CURDIR)/examples/scene.png "How many red objects are there?"

# Lint and types before each commit.
hooks: $(READY) $(TOOLS_READY)
	$(TOOLS)/bin/pre-commit install

# How large core, methods and the engine are, and what one pass takes; AT="805db82 here" puts checkouts side by side.
house: $(READY)
	$(BIN)/python -m tests.house.figures $(AT)

operations: $(READY)
	$(BIN)/python -m tests.house.operations $(AT)

# What looks at attention would cost on a GPU, by count and arithmetic.
probes: $(READY)
	$(BIN)/python -m tests.house.probes

# On a machine with a GPU, in an environment of its own with torch and transformers: PYTHON=python3 make gpu CHECKS=--quick
gpu:
	mkdir -p build
	PYTHONPATH=src $(PYTHON) -m tests.gpu --json build/gpu.json $(CHECKS)

# Every oracle on every family with every method; docs/families.md is made of it.
matrix: $(READY)
	$(BIN)/python -m tests.zoo.matrix

# The same on the newest transformers, for a weekly job: it fails where a class was added that nobody has looked at.
matrix-newest:
	test -d .venv-newest || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' locks/main.txt)
	.venv-newest/bin/pip install --quiet --disable-pip-version-check --upgrade transformers -e '.[dev]'
	.venv-newest/bin/pytest -q tests/zoo/test_oracles.py -k "every_class"
	.venv-newest/bin/python -m tests.zoo.matrix --no-write

# Everything else as new as the ranges of pyproject.toml allow, in new environments: what changed, and what broke.
newest:
	PYTHON=$(PYTHON) .ci/newest

# Every package of every environment by its exact version: the newest that the ranges and locks/*.in allow. No address,
# and torch without the mark of its build, so that any machine takes its own; what torch built for CUDA brings is left out.
LOCK    := .venv-lock
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(LOCK)/bin/pip-compile --quiet --upgrade --strip-extras --allow-unsafe \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
lock:
	test -d $(LOCK) || $(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	$(COMPILE) --extra lmms -o locks/lmms.txt pyproject.toml locks/lmms.in
	$(COMPILE) --extra dev -c locks/torch.in -o locks/main.txt pyproject.toml
	$(COMPILE) -o locks/torchao.txt locks/torchao.in
	$(COMPILE) -o locks/tools.txt locks/tools.in
	$(COMPILE) -o locks/vllm.txt locks/vllm.in
	$(COMPILE) -o locks/browser.txt locks/browser.in
	sed -i -E -e '/^(visionflow @|nvidia-|cuda-|torchaudio==|torchcodec==|#|$$)/d' -e 's/^(torch==[0-9.]+)\+.*/\1/' locks/*.txt
	sed -i -e '/^triton==/d' $(filter-out locks/vllm.txt,$(wildcard locks/*.txt))
	for lock in locks/*.txt; do LC_ALL=C sort -u -o $$lock $$lock; done

# torch is installed first and by its exact pin, so that a CPU build found locally is taken.
$(READY): pyproject.toml locks/main.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' locks/main.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check -r locks/main.txt -e '.[dev]'
	touch $(READY)

# The torchvision that there is was built for CUDA, and takes a helper to be imported beside a torch for the CPU.
$(LMMS_READY): pyproject.toml locks/lmms.txt tests/lmms/torchvision_on_cpu.py
	test -d $(LMMS) || $(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' locks/lmms.txt)
	$(LMMS)/bin/pip install --quiet --disable-pip-version-check -r locks/lmms.txt -e '.[lmms]'
	cp tests/lmms/torchvision_on_cpu.py \
		$$($(LMMS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sitecustomize.py
	touch $(LMMS_READY)

# The second model runner needs Triton, whose interpreter runs on the CPU. The lock has no torchaudio and torchcodec, which
# come built for CUDA and fail beside a torch for the CPU; torchvision, as for lmms-eval, takes a helper.
$(VLLM_READY): pyproject.toml locks/vllm.txt tests/lmms/torchvision_on_cpu.py
	test -d $(VLLM) || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' locks/vllm.txt)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps -r locks/vllm.txt -e .
	cp tests/lmms/torchvision_on_cpu.py \
		$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sitecustomize.py
	touch $(VLLM_READY)

$(BROWSER_READY): pyproject.toml locks/main.txt locks/browser.txt
	test -d $(BROWSER) || $(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' locks/main.txt)
	$(BROWSER)/bin/pip install --quiet --disable-pip-version-check -r locks/main.txt -r locks/browser.txt -e '.[dev,app]'
	touch $(BROWSER_READY)

$(TOOLS_READY): locks/tools.txt
	test -d $(TOOLS) || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r locks/tools.txt
	touch $(TOOLS_READY)

clean:
	rm -rf $(VENV) $(LMMS) $(VLLM) $(BROWSER) $(TOOLS) $(DIST) $(LOCK) .venv-newest .venv-newest-lmms build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
