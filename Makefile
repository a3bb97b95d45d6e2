# Every target runs on a fresh machine that has python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check lab clean
.DEFAULT_GOAL := demo

# The stamp makes a second call free: nothing is installed again until pyproject.toml changes.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab,test]'
	touch $@

demo: $(INSTALLED)  ## Run the quickstart notebook on the simulator; write it and say where.
	mkdir -p build
	cd build && ../$(BIN)/jupyter nbconvert --to notebook --execute ../notebooks/quickstart.ipynb \
		--output-dir . --output quickstart --log-level WARN
	@echo "Executed notebook: build/quickstart.ipynb"

test: $(INSTALLED)  ## Run all tests.
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## Lint, types, documentation.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(INSTALLED)  ## Open JupyterLab with the notebooks, which run on the simulator.
	$(BIN)/jupyter lab --notebook-dir notebooks

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
