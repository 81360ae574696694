# `make demo`, `make test`, `make soak` and `make bench` each do all their own set-up, in virtual environments of their own.

PYTHON ?= python3
TEST := .venv-test
DEMO := .venv-demo
BENCH := .venv-bench
SOURCES := pyproject.toml setup.py $(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -path '*/demo/*.*')

.PHONY: demo test lint test-compiled count test-pure soak bench clean

demo: $(DEMO)/installed
	$(DEMO)/bin/python -m gaesess demo $(ARGS)

test: lint test-compiled count test-pure
	$(TEST)/bin/coverage combine --quiet
	$(TEST)/bin/coverage report

lint: $(TEST)/ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

# Both twins are tested as they ship: the wheel with the extension, then the one that is built where no compiler is.
test-compiled: $(TEST)/ready
	rm -rf build/wheel build/lib* .coverage.*  # what setuptools left in lib of a module that is gone would be packed
	$(TEST)/bin/pip wheel --quiet --no-deps --wheel-dir build/wheel .
	! $(TEST)/bin/python -m zipfile --list build/wheel/*.whl | grep -E '\.(c|h|pyx|pxd) '
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	$(TEST)/bin/coverage run -m pytest

# Of the wheel that test-compiled leaves installed.
count:
	$(TEST)/bin/python -m bench.instructions $(ARGS)

test-pure: $(TEST)/ready
	rm -rf build/pure-wheel build/lib*
	CC=false GAESESS_REQUIRE_EXTENSION=0 $(TEST)/bin/pip wheel --quiet --no-deps --wheel-dir build/pure-wheel .
	test -f build/pure-wheel/gaesess-*-py3-none-any.whl
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps build/pure-wheel/*.whl
	GAESESS_PURE=1 $(TEST)/bin/coverage run -m pytest --ignore tests/engines  # the wire is the same for both

# Some five minutes of users, kills and outages; ARGS="--seconds 30 --writes 20" for one.
soak: $(TEST)/ready
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps .
	PYTHONPATH=tests $(TEST)/bin/python -m soak $(ARGS)

bench: $(BENCH)/installed
	PYTHONPATH=tests $(BENCH)/bin/python -m bench.report  # tests: how memcached is started

$(TEST)/ready: pyproject.toml
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	$(TEST)/bin/pip install --quiet --group test '.[all]'
	touch $@

$(DEMO)/installed: $(SOURCES)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet .
	touch $@

$(BENCH)/installed: $(SOURCES)
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	GAESESS_REQUIRE_EXTENSION=1 $(BENCH)/bin/pip install --quiet --group bench '.[all]'
	touch $@

clean:
	rm -rf $(TEST) $(DEMO) $(BENCH) build dist src/*.egg-info src/gaesess/*.so .coverage .coverage.*
