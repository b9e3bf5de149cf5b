# Needs only Python 3.11 or newer and make; everything else goes into .venv from the lock file.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
OUT ?= reports

.PHONY: install run test lint types imports lock clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: install
	$(BIN)/lossatlas run moons --out $(OUT)

test: lint types imports
	$(BIN)/pytest src tests

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: install
	$(BIN)/pyright

imports: install
	$(BIN)/lint-imports --no-cache

# The lock is what the present environment holds. torch is pinned exactly; see CONTRIBUTING.md before changing it.
lock:
	$(BIN)/python -m pip freeze --exclude-editable --all | grep -vE '^(pip|setuptools)==' | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf .venv dist
