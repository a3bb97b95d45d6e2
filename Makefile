# All targets need only make and python3 (3.11 or newer, with venv).
PYTHON ?= python3
VENV := .venv
RUN := $(CURDIR)/$(VENV)/bin/python
INSTALLED := $(VENV)/.installed

# You can move the folder after the first `make`: tools run as modules, and kernels find the package
# through this path.
export PYTHONPATH := $(CURDIR)
# Without bytecode files each kernel and server would start three to five times more slowly.
unexport PYTHONDONTWRITEBYTECODE

# Variables that keep your journal, IPython profile and Jupyter settings out of a command.
isolated = RUNAPI_MAGIC_HOME=$(1) IPYTHONDIR=$(1)/ipython JUPYTER_CONFIG_DIR=$(1)/jupyter/config \
	JUPYTER_DATA_DIR=$(1)/jupyter/data JUPYTER_RUNTIME_DIR=$(1)/jupyter/runtime
EXECUTE := -m nbconvert --to notebook --execute --inplace --log-level ERROR \
	--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=300

.PHONY: demo test test-without-browser test-fast test-lowest test-wheel matrix check docs lab \
	notebooks screenshots accessibility bench kill-test clean
.DEFAULT_GOAL := demo

# uv is ten times faster than pip. If it fails, pip installs the same, because it reads your own pip
# settings. A new environment may have a pip that is too old for --group.
PIP := -m pip install --quiet --disable-pip-version-check
TESTED := --editable '.[lab]' --group test
install = $(1) $(PIP) 'uv>=0.7' && $(1) -m uv pip install --quiet --python $(1) $(2) \
	|| { $(1) $(PIP) 'pip>=25.1' && $(1) $(PIP) $(2); }

# Because of this file, nothing is installed again until pyproject.toml changes.
$(INSTALLED): pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(call install,$(RUN),$(TESTED) --group check)
	touch $@

# The lowest versions run on the oldest Python, if the machine has it.
LOWEST := build/lowest
$(LOWEST)/.installed: pyproject.toml tests/lowest.txt
	rm -rf $(LOWEST)
	$(or $(shell command -v python3.11),$(PYTHON)) -m venv $(LOWEST)
	$(call install,$(LOWEST)/bin/python,--constraint tests/lowest.txt $(TESTED))
	touch $@

demo: $(INSTALLED)  ## Run the quickstart notebook on the simulator and print its path.
	rm -rf build/home build/gpt-images
	mkdir -p build/home
	cp notebooks/quickstart.ipynb build/
	$(call isolated,$(CURDIR)/build/home) $(RUN) $(EXECUTE) build/quickstart.ipynb
	@echo "Executed notebook: build/quickstart.ipynb (images: build/gpt-images)"

# Files run in their own order. By default xdist runs files with few tests last, which can be slow.
SPREAD := --numprocesses=auto --dist=loadfile --no-loadscope-reorder
test: test-without-browser  ## Run all tests.
	$(RUN) -m pytest $(SPREAD) tests/browser

test-without-browser: $(INSTALLED)  ## Run all tests except the browser tests.
	$(RUN) -m pytest $(SPREAD) --ignore=tests/browser

# The tests of the rooms, without kernels, browsers and servers, and of the list of modules.
FAST := $(addprefix tests/,batch core display engine http journal media notebook simulator typing \
	widgets test_imports.py docs/test_architecture.py)
test-fast: $(INSTALLED)  ## Run the quick tests.
	$(RUN) -m pytest --quiet $(SPREAD) -m "not kernel and not server" $(FAST)

test-lowest: $(LOWEST)/.installed  ## Run version-dependent tests on the lowest versions.
	$(LOWEST)/bin/python -m pytest -m versions --numprocesses=auto --dist=loadfile tests/kernel

matrix: $(INSTALLED)  ## Test many versions on each Python on the PATH; write docs/matrix.md.
	$(call install,$(RUN),--group matrix)
	rm -rf build/matrix
	$(RUN) -m nox

test-wheel: $(INSTALLED)  ## Run the quickstart with the wheel in a clean environment.
	rm -rf build/wheel
	mkdir -p build/wheel/home
	$(RUN) -m build --no-isolation --outdir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	$(call install,$(CURDIR)/build/wheel/venv/bin/python,build/wheel/*.whl ipykernel nbconvert)
	cp notebooks/quickstart.ipynb build/wheel/
	cd build/wheel && env --unset=PYTHONPATH $(call isolated,$(CURDIR)/build/wheel/home) \
		venv/bin/python $(EXECUTE) quickstart.ipynb
	cd build/wheel && env --unset=PYTHONPATH venv/bin/python -c 'import runapi_magic as package; \
		print("The quickstart ran with", package.__version__, "from", package.__file__)'

docs: $(INSTALLED)  ## Write docs/reference.md and docs/faults.md from the code.
	$(RUN) -m tests.docs.reference
	$(RUN) -m tests.faults.document

check: $(INSTALLED)  ## Check lint, format, imports, types, spelling, saved notebooks and pages.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
	$(RUN) -m mypy
	$(RUN) -m pyright --pythonpath $(RUN) --warnings
	$(RUN) -m codespell_lib
	$(RUN) -m nbstripout --verify --keep-output --keep-count --keep-id notebooks/*.ipynb
	$(RUN) -m pytest --quiet tests/docs/test_reference.py tests/faults/test_document.py

lab: $(INSTALLED)  ## Open the notebooks in JupyterLab; they run on the simulator.
	mkdir -p build/lab
	$(call isolated,$(CURDIR)/build/lab) $(RUN) -m jupyterlab --notebook-dir notebooks

notebooks: $(INSTALLED)  ## Run the notebooks again and save them with their images.
	rm -rf build/notebooks
	mkdir -p build/notebooks/home
	cp notebooks/*.ipynb build/notebooks/
	$(call isolated,$(CURDIR)/build/notebooks/home) $(RUN) $(EXECUTE) build/notebooks/*.ipynb
	cp build/notebooks/*.ipynb notebooks/

screenshots: $(INSTALLED)  ## Take the screenshots in docs/images again.
	$(RUN) -m tests.browser.screenshots

accessibility: $(INSTALLED)  ## Check everything with axe-core; write docs/accessibility.md.
	$(RUN) -m tests.browser.accessibility

bench: $(INSTALLED)  ## Run the benchmarks; results are ratios within one run.
	$(RUN) -m tests.bench

N ?= 20
kill-test: $(INSTALLED)  ## Kill a kernel at N random moments and resume: make kill-test N=200.
	$(RUN) -m tests.recovery.kill $(N)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
