# From a bare Python 3.11 or newer: `make demo` or `make test` does everything. Another Python: make demo PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
OUT ?= out/$(if $(filter scenes,$(MAKECMDGOALS)),scenes,demo)
PRODUCTS ?= 1200
SCENES ?= 4000
PLATES ?= 360
JOBS ?= 1
WORKERS ?= 2
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet -c constraints.txt

.PHONY: help demo test test-slow test-gpu bench bench-gpu postgres browser lint format scenes scenes-test clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       install and make four ranked ads of a product photo in $(OUT)"
	@echo "make test       install, then lint, types and the quick tests, floors included (WORKERS, 2 processes)"
	@echo "make test-slow  the slow tests too      make test-gpu  the tests that need CUDA"
	@echo "make postgres   install PostgreSQL for the tests, where that is possible (make test does it)"
	@echo "make browser    install Chromium for the tests, where that is possible (make test does it)"
	@echo "make lint       ruff and mypy only      make format    let ruff write the format"
	@echo "make scenes     render training scenes with Blender in $(OUT) (needs Python 3.11; PRODUCTS, SCENES, PLATES, JOBS)"
	@echo "make scenes-test  the renderer's tests, the slow one included"
	@echo "make bench      speed and memory beside the public code's way; make bench-gpu  the same of full-size random weights"
	@echo "make clean      remove $(VENV) and caches"

demo: $(VENV)/installed
	$(VENV)/bin/caig demo --out $(OUT)

test: lint postgres browser
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not gpu"

test-slow: $(VENV)/installed-dev postgres browser
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not gpu"

# The tests start a server and a browser of their own. Where these can't be installed (no apt, no root) they leave them out.
postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { $(call debian,postgresql); }

browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { $(call debian,chromium); }

define debian
command -v apt-get >/dev/null || exit 0; \
if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as="sudo -n"; else exit 0; fi; \
echo "installing $(1) for the tests"; \
get() { $$as apt-get install --yes --quiet --no-install-recommends $(1) >/dev/null; }; \
get || { $$as apt-get update --quiet >/dev/null && get; }
endef

test-gpu: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest -m gpu

bench: $(VENV)/installed
	for script in paint describe score pcpo; do $(VENV)/bin/python bench/$$script.py || exit 1; done

# Full-size architectures with random weights: nothing is fetched. Fits a GPU of 80 GB.
LARGE := --models llava-1.6-7b,qwen3-vl-4b
bench-gpu: $(VENV)/installed
	$(VENV)/bin/python bench/paint.py --models sd15,sdxl --sides 512,1024 --compile
	$(VENV)/bin/python bench/describe.py $(LARGE)
	$(VENV)/bin/python bench/score.py $(LARGE)
	$(VENV)/bin/python bench/pcpo.py $(LARGE) --batch 1 --checkpointing

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

scenes: scenes/.venv/installed
	scenes/.venv/bin/caig-scenes --products $(PRODUCTS) --scenes $(SCENES) --plates $(PLATES) --jobs $(JOBS) --out $(OUT)

scenes-test: scenes/.venv/installed
	cd scenes && .venv/bin/python -m pytest

clean:
	rm -rf $(VENV) scenes/.venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

# The package is installed in place (-e), so that the sources that run are the ones in this folder.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing caig and its dependencies into $(VENV) (the first time takes minutes)"
	$(INSTALL) -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing caig, its dependencies and the tools of its tests into $(VENV) (the first time takes minutes)"
	$(INSTALL) -e ".[dev]"
	@touch $(VENV)/installed $@

# The renderer has an environment of its own: bpy is GPL-3.0 and for Python 3.11 only.
scenes/.venv/installed: scenes/pyproject.toml
	@command -v python3.11 >/dev/null || { echo "the renderer needs python3.11 (bpy has no other wheels), none is on the PATH"; exit 1; }
	@echo "installing the renderer and Blender into scenes/.venv (the first time takes minutes)"
	python3.11 -m venv scenes/.venv
	scenes/.venv/bin/python -m pip --disable-pip-version-check install --quiet -e "scenes[dev]"
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "caig needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1). Run: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
