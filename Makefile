# make up     the whole system, with docs/ indexed, until Ctrl-C
# make demo   the same, ending by itself after the answers
# make test   every test, against a real broker and a real store
#             (J=4 side by side, each with a broker and a store of its own; most of their time they wait)
# make bench  what docs/performance.md reports (B=NAME picks one of bench/; B=dispatch installs the other queues first)
# make bench-quick  a little of it, in about a minute
# make chaos  10,000 calls, then 10,000 changes of objects, while every process is killed in turn (N=1000 for fewer),
#             then moves of an index killed before every step; fails when a promise is broken
# make audit  published vulnerabilities of the pinned packages (asks PyPI; fails where that cannot be asked)
# make docs   the documentation as a site, in build/site
#
# PORT=8001          another port for `make up`
# TORCH_INDEX=URL    take PyTorch from an index of CPU builds (PyPI's for Linux brings gigabytes of CUDA)
# PYTHON=python3.12  another Python

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PORT ?=
B ?= system
J ?= 4
N ?= 10000
TORCH_INDEX ?=
TORCH = torch==2.13.0

VENV = .venv
BIN = $(VENV)/bin
PACKAGES = functions runtime gateway triggers
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: install up demo test lint fmt bench bench-quick bench-peers chaos docs audit clean

install: $(VENV)/.installed

up: install
	@$(BIN)/tundish up $(if $(PORT),--port $(PORT)) --seed docs

demo: install
	@$(BIN)/tundish up --port 0 --demo

test: install
	@$(BIN)/python -m pytest -n $(J) --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests bench
	$(BIN)/bandit -q -ll -c pyproject.toml -r $(PACKAGES)

fmt: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -P -m runtime.config.schema > runtime/functions.schema.json.new
	mv runtime/functions.schema.json.new runtime/functions.schema.json

bench: install $(if $(filter dispatch start,$(B)),bench-peers)
	$(BIN)/python -m bench.$(B)

bench-quick: install bench-peers
	@$(BIN)/python -m bench.quick

# The other queues have an environment each: some of them want another redis-py than we do. One that cannot be had is
# left out here, and told to be missing by the benchmark.
bench-peers: $(patsubst bench/peers/%.txt,$(VENV)/peers/%/.installed,$(wildcard bench/peers/*.txt))

chaos: install
	$(BIN)/python -m tests.chaos -n $(N)
	$(BIN)/python -m tests.chaos.buckets -n $(N)
	TUNDISH_TEST_EVERY=1 $(BIN)/python -m pytest tests/test_qdrant_killed.py

audit: install
	@$(PIP) -c constraints.txt -e '.[audit]'
	$(BIN)/pip-audit --strict --disable-pip --no-deps -r constraints.txt

docs: install
	@$(BIN)/mkdocs build --strict

# The state folder .tundish stays: it holds your documents. Remove it by hand if you mean to.
clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@test -n "$(PYTHON)" || { \
		echo "Tundish needs Python 3.11 or newer, found $$(python3 --version 2>&1). Install one, or name it: make up PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Tundish needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments (ensurepip is missing). On Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# PyTorch by itself: only this one package may come from another index.
$(VENV)/.torch: $(VENV)/.made
	@echo "Installing PyTorch$(if $(TORCH_INDEX), from $(TORCH_INDEX),: on Linux this may bring gigabytes of CUDA; make TORCH_INDEX=URL takes a CPU build) …"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX) --no-deps) -c constraints.txt $(TORCH)
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "Installing the other dependencies …"
	@$(PIP) -c constraints.txt -e '.[test,lint]'
	@touch $@

$(VENV)/peers/%/.installed: bench/peers/%.txt | $(VENV)/.made
	@echo "Installing $* for the benchmarks …"
	@$(BIN)/python -m venv $(VENV)/peers/$*
	@$(VENV)/peers/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< && touch $@ || \
		echo "$* cannot be had." >&2
