# Every target runs on a machine that has python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
VENV := .venv
RUN := $(CURDIR)/$(VENV)/bin/python
INSTALLED := $(VENV)/.installed

# A folder that was moved after `make` first ran still works: tools run as modules, and kernels find
# the package here.
export PYTHONPATH := $(CURDIR)
# Else each kernel and server compiles what it imports: it starts three to five times as slowly.
unexport PYTHONDONTWRITEBYTECODE

# Nothing of the user's is read or written: no journal, no IPython profile, no Jupyter settings.
apart = RUNAPI_MAGIC_HOME=$(1) IPYTHONDIR=$(1)/ipython JUPYTER_CONFIG_DIR=$(1)/jupyter/config \
	JUPYTER_DATA_DIR=$(1)/jupyter/data JUPYTER_RUNTIME_DIR=$(1)/jupyter/runtime
EXECUTE := -m nbconvert --to notebook --execute --inplace --log-level ERROR \
	--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=300

.PHONY: demo test test-without-browser test-fast test-lowest test-wheel matrix check docs lab \
	notebooks screenshots accessibility bench kill-test clean
.DEFAULT_GOAL := demo

# uv takes a tenth of pip's time. Where it fails, pip installs the same: it knows the user's own
# settings. A new environment has the pip of its Python, which may be too old for --group.
PIP := -m pip install --quiet --disable-pip-version-check
TESTED := --editable '.[lab]' --group test
install = $(1) $(PIP) 'uv>=0.7' && $(1) -m uv pip install --quiet --python $(1) $(2) \
	|| { $(1) $(PIP) 'pip>=25.1' && $(1) $(PIP) $(2); }

# The stamp makes a second call free: nothing is installed again until pyproject.toml changes.
$(INSTALLED): pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(call install,$(RUN),$(TESTED) --group check)
	touch $@

# The lowest versions are for the oldest Python, where that is at hand.
LOWEST := build/lowest
$(LOWEST)/.installed: pyproject.toml tests/lowest.txt
	rm -rf $(LOWEST)
	$(or $(shell command -v python3.11),$(PYTHON)) -m venv $(LOWEST)
	$(call install,$(LOWEST)/bin/python,--constraint tests/lowest.txt $(TESTED))
	touch $@

demo: $(INSTALLED)  ## Run the quickstart notebook on the simulator; write it and say where.
	rm -rf build/home build/gpt-images
	mkdir -p build/home
	cp notebooks/quickstart.ipynb build/
	$(call apart,$(CURDIR)/build/home) $(RUN) $(EXECUTE) build/quickstart.ipynb
	@echo "Executed notebook: build/quickstart.ipynb (its pictures: build/gpt-images)"

# Files in their own order: xdist would leave those of few and slow tests to the end.
SPREAD := --numprocesses=auto --dist=loadfile --no-loadscope-reorder
test: test-without-browser  ## Run all tests.
	$(RUN) -m pytest $(SPREAD) tests/browser

test-without-browser: $(INSTALLED)  ## Run all tests but those that drive a browser.
	$(RUN) -m pytest $(SPREAD) --ignore=tests/browser

# The rooms' own tests, without kernels, browsers and servers; and the list of modules.
FAST := $(addprefix tests/,batch core display engine http journal media notebook simulator typing \
	widgets test_imports.py docs/test_architecture.py)
test-fast: $(INSTALLED)  ## Run the quick tests.
	$(RUN) -m pytest --quiet $(SPREAD) -m "not kernel and not server" $(FAST)

test-lowest: $(LOWEST)/.installed  ## Run what depends on versions on the lowest supported ones.
	$(LOWEST)/bin/python -m pytest -m versions --numprocesses=auto --dist=loadfile tests/kernel

matrix: $(INSTALLED)  ## Run it on many versions, on each Python on the PATH; write docs/matrix.md.
	$(call install,$(RUN),--group matrix)
	rm -rf build/matrix
	$(RUN) -m nox

test-wheel: $(INSTALLED)  ## Install the built wheel into a clean environment; run the quickstart there.
	rm -rf build/wheel
	mkdir -p build/wheel/home
	$(RUN) -m build --no-isolation --outdir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	$(call install,$(CURDIR)/build/wheel/venv/bin/python,build/wheel/*.whl ipykernel nbconvert)
	cp notebooks/quickstart.ipynb build/wheel/
	cd build/wheel && env --unset=PYTHONPATH $(call apart,$(CURDIR)/build/wheel/home) \
		venv/bin/python $(EXECUTE) quickstart.ipynb
	cd build/wheel && env --unset=PYTHONPATH venv/bin/python -c 'import runapi_magic as made; \
		print("The quickstart ran with", made.__version__, "from", made.__file__)'

docs: $(INSTALLED)  ## Write the pages that are made from the code.
	$(RUN) -m tests.docs.reference
	$(RUN) -m tests.faults.document

check: $(INSTALLED)  ## Lint, format, types, spelling, saved notebooks, pages.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
	$(RUN) -m mypy
	$(RUN) -m pyright --pythonpath $(RUN) --warnings
	$(RUN) -m codespell_lib
	$(RUN) -m nbstripout --verify --keep-output --keep-count --keep-id notebooks/*.ipynb
	$(RUN) -m pytest --quiet tests/docs/test_reference.py tests/faults/test_document.py

lab: $(INSTALLED)  ## Open JupyterLab with the notebooks, which run on the simulator.
	mkdir -p build/lab
	$(call apart,$(CURDIR)/build/lab) $(RUN) -m jupyterlab --notebook-dir notebooks

notebooks: $(INSTALLED)  ## Run the notebooks afresh and save them with their pictures.
	rm -rf build/notebooks
	mkdir -p build/notebooks/home
	cp notebooks/*.ipynb build/notebooks/
	$(call apart,$(CURDIR)/build/notebooks/home) $(RUN) $(EXECUTE) build/notebooks/*.ipynb
	cp build/notebooks/*.ipynb notebooks/

screenshots: $(INSTALLED)  ## Draw the pictures of notebooks in docs/images anew.
	$(RUN) -m tests.browser.screenshots

accessibility: $(INSTALLED)  ## Look at everything with axe-core; write docs/accessibility.md.
	$(RUN) -m tests.browser.accessibility

bench: $(INSTALLED)  ## Measure, as ratios in one run.
	$(RUN) -m tests.bench

N ?= 20
kill-test: $(INSTALLED)  ## Kill a kernel at N random moments, resume, count: make kill-test N=200.
	$(RUN) -m tests.recovery.kill $(N)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
