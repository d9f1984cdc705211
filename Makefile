# make up     the whole system, with docs/ indexed, until Ctrl-C
# make demo   the same, ending by itself after the answers
# make test   every test, against a real broker and a real store
#             (J=3 side by side, each with a broker and a store of its own; most of their time they wait)
# make bench  what docs/performance.md reports (B=NAME picks one of bench/)
# make chaos  10,000 calls, then 10,000 changes of objects, while every process is killed in turn (N=1000 for fewer);
#             fails when a promise is broken
#
# PORT=8001          another port for `make up`
# TORCH_INDEX=URL    take PyTorch from an index of CPU builds (PyPI's for Linux brings gigabytes of CUDA)
# PYTHON=python3.12  another Python

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PORT ?=
B ?= system
J ?= 3
N ?= 10000
TORCH_INDEX ?=
TORCH = torch==2.13.0

VENV = .venv
BIN = $(VENV)/bin
PACKAGES = functions runtime gateway triggers
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: install up demo test lint fmt bench chaos clean

install: $(VENV)/.installed

up: install
	@$(BIN)/tundish up $(if $(PORT),--port $(PORT)) --seed docs

demo: install
	@$(BIN)/tundish up --port 0 --demo

test: install
	@$(BIN)/python -m pytest -n $(J) --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests bench

fmt: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -P -m runtime.schema > runtime/functions.schema.json.new
	mv runtime/functions.schema.json.new runtime/functions.schema.json

bench: install
	$(BIN)/python -m bench.$(B)

chaos: install
	$(BIN)/python -m tests.chaos -n $(N)
	$(BIN)/python -m tests.chaos.buckets -n $(N)

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
