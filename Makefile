# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help setup demo test test-all test-web check docs bench peers parity mmlu selection simulations clean

help:
	@echo "make demo      install, fetch the default model, run the refusal study, print the report's path"
	@echo "make test      install with the development extras, check, run the tests (under 25 minutes on two cores)"
	@echo "make test-all  the long tests on the real model as well"
	@echo "make test-web  the web demo in a headless Chromium (installs Playwright and, where there is none, apt's chromium)"
	@echo "make check     ruff, pyright, import-linter"
	@echo "make docs      build the documentation, warnings are errors"
	@echo "make bench     time steersman beside six other tools, each in an environment of its own (an hour or two)"
	@echo "make peers     compare directions with repeng's and steering-vectors', each in an environment of its own"
	@echo "make parity    compare exported files' logits with llama.cpp's and transformers 4.57's, each in an environment of its own"
	@echo "make mmlu      ask 2,000 MMLU questions, 0 and 5 shots, by steersman and by lm-evaluation-harness (hours)"
	@echo "make selection  measure rules of selection on judged sweeps, recommendations for eight concepts, rules for a site"
	@echo "make simulations  200 simulated studies: how often a null is called an effect, and an effect is found"
	@echo "make clean     remove what the above made, but not the model cache"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact version, so that no later requirement picks another build.
$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) -e '.[docs]'
	@touch $@

setup: $(VENV)/.dev

demo: $(VENV)/.core
	@$(BIN)/steersman run refusal --out runs/refusal-quick --force

test: $(VENV)/.dev check
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.dev check
	$(BIN)/python -m pytest

$(VENV)/.web: $(VENV)/.dev
	$(PIP) -e '.[web-tests]'
	@touch $@

# The tests with a browser, which skip themselves where there is none.
test-web: $(VENV)/.web
	@[ -n "$$CHROMIUM" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq chromium; } || \
		{ echo "expected Chromium; install it, or give its path as CHROMIUM=..." >&2; exit 1; }
	$(BIN)/python -m pytest -m web

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

bench: $(VENV)/.core
	$(BIN)/python benchmarks/speed/run.py --json .peers/speed.json --plot .peers/speed.png

peers: $(VENV)/.core
	$(BIN)/python benchmarks/peers/directions.py

parity: $(VENV)/.core
	$(BIN)/python benchmarks/parity/llama_cpp.py
	$(BIN)/python benchmarks/parity/transformers_457.py

# Needs the published sets in ../shared/data, or where STEERSMAN_DATA says.
mmlu: $(VENV)/.dev
	$(BIN)/python benchmarks/parity/mmlu.py --shots 0 5

# Needs the same sets; an hour or so.
selection: $(VENV)/.core
	$(BIN)/steersman bench selection --sweeps $${STEERSMAN_DATA:-../shared/data}/judged-sweeps/sweeps.jsonl
	$(BIN)/python benchmarks/recommendations.py
	$(BIN)/python benchmarks/site_rules.py

simulations: $(VENV)/.core
	$(BIN)/python benchmarks/simulated_studies.py

clean:
	rm -rf $(VENV) .peers runs docs/_build .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
