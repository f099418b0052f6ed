# Two commands do all the set-up themselves: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test test-all test-covered test-journeys test-rest lint test-lowest dist clean

# Python compiles what it imports, once; to compile all that is installed would take half as long again. Images of containers often tell it
# to keep nothing: then every command would compile Keras and Optuna anew, and take twice as long.
unexport PYTHONDONTWRITEBYTECODE

# The range is that of setup.cfg. What another Python has begun would keep that one, so that it is cleared.
CHECK = import sys; version = "%d.%d" % sys.version_info[:2]; (3, 11) <= sys.version_info[:2] < (3, 14) or sys.exit( \
	"Python 3.11 to 3.13 is needed; got " + version + ". Name one: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12")

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c '$(CHECK)'
	@test "$$($(BIN)/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)" || clear=--clear; $(PYTHON) -m venv $$clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[cmaes,cpu,dev,jax,medical,mlflow,mysql,notebook,parquet,postgresql,ray,submitit,tuner]'
	touch $@

# A real study in a folder of its own. Run it twice, and the second time finds the study done and only shows it. What a person may have
# edited there meanwhile is kept.
demo: $(INSTALLED)
	mkdir -p demo
	test -e demo/quickstart.toml || { cp studies/quickstart.toml demo/quickstart.toml.part && mv demo/quickstart.toml.part demo/quickstart.toml; }
	@cmp -s studies/quickstart.toml demo/quickstart.toml || echo 'demo/quickstart.toml is kept as it is; studies/quickstart.toml differs.'
	cd demo && ../$(BIN)/search launch quickstart.toml
	@echo
	cd demo && ../$(BIN)/search status quickstart.toml --by noise_intensity
	@echo
	cd demo && ../$(BIN)/search report quickstart.toml -o report.html
	@test ! -e demo/best.toml || echo 'demo/best.toml is kept as it is; remove it to have it written anew.'
	test -e demo/best.toml || (cd demo && ../$(BIN)/search export quickstart.toml -o best.toml)
	@echo
	@echo 'The images are generated: this shows how a search goes, and nothing about real scans. Open demo/report.html.'
	@echo 'Next, in the folder demo:'
	@echo '  ../$(BIN)/search dashboard quickstart.toml                 every trial in the browser'
	@echo '  ../$(BIN)/tumorcls train --config best.toml                train the best config'
	@echo '  ../$(BIN)/tumorcls evaluate model.keras --html test.html   measure it, clean and under noise'

# With fewer arenas, what one thread frees another can use. As many processes as cores: threads of theirs would wait for one another.
THREADS = MALLOC_ARENA_MAX=2 OMP_NUM_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_NUM_INTRAOP_THREADS=1
PYTEST = $(THREADS) $(BIN)/python -m pytest --durations 15

# What needs no server and no network: minutes. Two processes, of which each collects its own: one all that runs networks, and one the
# rest (tests/conftest.py). They do not have the same number of tests, so that a percentage would mean nothing.
QUICK = --numprocesses 2 --dist each --max-worker-restart 0 --override-ini console_output_style=classic \
	-m 'not slow and not server' --timeout 300
SLOW = -m 'slow or server'
# Four processes on two cores, since many of these tests wait. The order of the files: those with few tests, which would be last, are long.
REST = --numprocesses 4 --dist loadfile --no-loadscope-reorder
# Whole studies, from the file to what is made of them, and the README from first to last: one after another they take as long as the quick
# tests with their coverage.
JOURNEYS = tests/test_end_to_end.py tests/test_figures.py tests/test_notebook.py tests/test_readme.py

test: $(INSTALLED)
	$(PYTEST) $(QUICK)

# Beside the quick tests, of whose two processes one is done long before the other, the journeys; then what remains.
test-all:
	$(MAKE) --jobs 2 test-covered test-journeys
	$(MAKE) test-rest

# The quick tests with their coverage, which takes a third more time.
test-covered: $(INSTALLED)
	$(PYTEST) $(QUICK) --cov search --cov tumorcls --cov-report term:skip-covered --cov-fail-under 88

test-journeys: $(INSTALLED)
	$(PYTEST) $(SLOW) $(JOURNEYS)

# Servers, Ray, kills and faults by the dozen, real images.
test-rest: $(INSTALLED)
	$(PYTEST) $(SLOW) $(REST) $(JOURNEYS:%=--ignore %)

# The same with the lowest versions that setup.cfg allows, in an environment of their own: each >= of what users install becomes ==.
# TESTS names some of them: make test-lowest TESTS=tests/search
LOWEST := .venv-lowest
TESTS =

$(LOWEST)/constraints.txt: setup.cfg
	mkdir -p $(LOWEST)
	sed -n -e '/^notebook =/q' -e 's/^[[:space:]]*\([a-z0-9-]*\)\(\[[a-z-]*]\)\{0,1\}>=\([0-9.]*\).*/\1==\3/p' setup.cfg > $@

$(LOWEST)/installed: $(LOWEST)/constraints.txt pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint $(LOWEST)/constraints.txt --editable '.[cmaes,cpu,jax,medical,mlflow,mysql,parquet,postgresql,submitit,test,tuner]'
	touch $@

test-lowest: $(LOWEST)/installed
	$(THREADS) $(LOWEST)/bin/python -m pytest $(QUICK) $(TESTS)

# What is published: an sdist, and the wheel that is built from it. Tests of what files must be there run where the sdist is unpacked.
dist: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dist]'
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	mkdir dist/unpacked && tar -xzf dist/*.tar.gz -C dist/unpacked --strip-components 1
	cd dist/unpacked && $(THREADS) ../../$(BIN)/python -m pytest -m 'not slow and not server' -p no:cacheprovider $(OF_FILES)
	rm -r dist/unpacked

# What reads pages, studies, templates and files of earlier versions.
OF_FILES = tests/test_architecture.py tests/test_makefile.py tests/test_readme.py tests/test_toml_files.py tests/search/test_docs.py tests/tumorcls/config tests/tumorcls/test_before.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

clean:
	rm -rf $(VENV) $(LOWEST) demo build dist *.egg-info
