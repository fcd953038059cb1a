# Everything from Python 3.11+ and pip: `make search` and `make test` create $(VENV), install and run.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.installed-dev
EXTENDED := $(VENV)/.installed-extras
MAY_SKIP ?= gpu
DATA_NAME ?= cifar10

.PHONY: search test test-everything test-old-instructions lint format clean

search: $(INSTALLED)
	@$(VENV)/bin/python main.py search $(DATA_NAME)

# One thread a process: more threads than cores wait for each other
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal -rs

# Without the extras: at its end pytest lists what it leaves out
test: $(DEVELOPED)
	$(PYTEST)

# With the extras, and nothing left out but tests with the marks $(MAY_SKIP)
test-everything: $(EXTENDED)
	$(PYTEST) --may-skip $(MAY_SKIP) --durations 20

# The comparisons of numbers, as a processor without AVX computes them
test-old-instructions: $(DEVELOPED)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(VENV)/bin/python -m pytest -m numeric

lint: $(DEVELOPED)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(DEVELOPED)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV)

$(INSTALLED): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(DEVELOPED): $(INSTALLED) requirements-dev.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(EXTENDED): $(DEVELOPED) requirements-extras.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-extras.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps xautodl
	@touch $@
