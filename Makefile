# Two commands: "make demo" shows the main job, "make test" passes all tests. Both start from nothing but
# Python 3.11 and gcc, and make their environment in .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
JOBS ?= 2
# Extra arguments for installing torch, e.g. "--index-url https://download.pytorch.org/whl/cpu" for the small wheel.
TORCH_PIP ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PACKAGES := sparse_dialect pipelines frontends runtime tools
# mypy names a module by its folder, and the checkout's may be no Python name: it looks through a link called espalier.
TYPING := $(VENV)/typing

# Some containers set it: then each of the hundreds of processes that tests start compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-prune test fast lint docs clean

demo: $(VENV)/.torch
	$(BIN)/python -m espalier.tools.demo

# Trains, prunes by ADMM to a latency target, compiles and compares: 5 minutes. Needs dataset-fashion-mnist (Debian).
demo-prune: $(VENV)/.prune
	$(BIN)/python -m espalier.tools.prune_demo

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal
	$(BIN)/lit -j $(JOBS) test

fast: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"
	$(BIN)/lit -j $(JOBS) test/dialect test/transforms test/pipelines

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	mkdir -p $(TYPING) && ln -sfn '$(CURDIR)' $(TYPING)/espalier
	MYPYPATH=$(TYPING) $(BIN)/mypy -m espalier.entry -m espalier.errors -m espalier.files -m espalier.passes $(PACKAGES:%=-p espalier.%)

# torch first: it is by far the largest, and the rest may change without fetching it again.
$(VENV)/.torch: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) tools/make_env.py $(VENV)
	$(PIP) $(TORCH_PIP) torch==2.13.0
	$(PIP) -e '.[torch]'
	touch $@

$(VENV)/.prune: $(VENV)/.torch
	$(PIP) -e '.[torch,prune]'
	touch $@

$(VENV)/.dev: $(VENV)/.torch
	$(PIP) -e '.[torch,prune,aot,peers,docs,dev]'
	$(PIP) -e '.[torch,hosts]' || echo 'hosts not installed: tests that need them are skipped' >&2
	touch $@

# The documentation's site, in out/site.
docs: $(VENV)/.dev
	$(BIN)/python -m mkdocs build

clean:
	rm -rf $(VENV) out build .pytest_cache .mypy_cache .ruff_cache .hypothesis
