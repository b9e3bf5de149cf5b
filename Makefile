# Needs only Python 3.11 or newer and make; everything else goes into .venv from the lock file.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
LOWEST := .venv-lowest/bin
OUT ?= reports

.PHONY: install run test test-slow lowest docs pictures wheel bench lint types imports lock clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: install
	$(BIN)/lossatlas run moons --out $(OUT)

test: lint types imports docs
	OMP_NUM_THREADS=1 $(BIN)/pytest src tests --numprocesses 2 --dist loadfile -m "not slow"

# What takes half a minute and more: studies that are killed, written to a full disk, drawn in every format.
test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/pytest tests --numprocesses 2 -m slow

# The lowest versions that the ranges of pyproject.toml allow. Only torch is that of requirements.lock, as another is
# several GB. Left out are the tests of frameworks that ask for newer packages than ours (transformers: safetensors 0.8);
# the warning that is no error is of matplotlib 3.8, about its own use of numpy.
lowest: .venv-lowest/installed
	! $(LOWEST)/python -m pip check | grep -vE '^(No broken requirements|backpack-for-pytorch .* torchvision,)'
	rm -rf dist/lowest
	$(LOWEST)/lossatlas check
	$(LOWEST)/lossatlas run smoke --out dist/lowest/smoke
	$(LOWEST)/lossatlas probe examples/digits_problem.py:problem --out dist/lowest/digits
	OMP_NUM_THREADS=1 $(LOWEST)/pytest src tests --numprocesses 2 --dist loadfile -m "not slow" \
		-k "not huggingface and not lightning" --ignore-glob "*/training/*huggingface.py" --ignore-glob "*/training/*lightning.py" \
		-W "ignore:Conversion of an array with ndim > 0:DeprecationWarning"

.venv-lowest/installed: requirements-lowest.lock pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-lowest.lock
	$(LOWEST)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# The site, in dist/site; strict about links. What can be said of a probe by its declaration is written by docs/build.py.
# `make pictures` draws its pictures again, from the examples.
docs: install
	$(BIN)/python docs/build.py
	$(BIN)/zensical build --strict --clean --config-file dist/zensical.toml

pictures: install
	$(BIN)/python docs/pictures.py

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: install
	$(BIN)/pyright

imports: install
	$(BIN)/lint-imports --no-cache

# Beside the other tools, which go into an environment of their own on top of ours; takes hours, and goes on if stopped.
# What is to be measured: make bench BENCH="--only surface" or BENCH=--quick.
bench: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.run $(BENCH)

.venv-bench/installed: .venv/installed benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> "$$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lossatlas.pth"
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement benchmarks/requirements.txt
	touch $@

# The wheel in an empty environment, with the versions of the lock: the library works without the study's packages.
wheel: install
	rm -rf dist/wheel dist/empty
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist/wheel .
	$(PYTHON) -m venv dist/empty
	dist/empty/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock dist/wheel/*.whl
	cd dist && empty/bin/lossatlas check
	cd dist && empty/bin/python -c "import importlib.util as u; assert not any(map(u.find_spec, ['sklearn', 'pydantic', 'typst']))"

# The lock is what the present environment holds, whole: it is installed without looking for more (backpack, which
# curvlinops wants, asks for a torchvision that it does not import and that fits no CPU build of torch).
# torch is pinned exactly; see CONTRIBUTING.md before changing it.
lock:
	$(BIN)/python -m pip freeze --exclude-editable --all | grep -vE '^pip==' | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf .venv .venv-lowest dist
