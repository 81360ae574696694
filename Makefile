# `make demo`, `make test`, `make soak` and `make bench` each do all their own set-up, in virtual environments of their own.

PYTHON ?= python3
TEST := .venv-test
DJANGO_42 := .venv-django-4.2
DJANGO_NEWEST := .venv-django-newest
DEMO := .venv-demo
BENCH := .venv-bench
SOURCES := pyproject.toml setup.py $(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -path '*/demo/*.*')

.PHONY: demo test lint test-compiled count pure-wheel test-pure test-django soak bench clean

demo: $(DEMO)/installed
	$(DEMO)/bin/python -m gaesess demo $(ARGS)

test: lint test-compiled count test-pure test-django
	$(TEST)/bin/coverage combine --quiet
	$(TEST)/bin/coverage report

lint: $(TEST)/ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

# Both twins are tested as they ship: the wheel with the extension, then the one that is built where no compiler is.
# (build/lib: what setuptools left there of a module that is gone would be packed.)
test-compiled: $(TEST)/ready
	rm -rf build/wheel build/lib*
	$(TEST)/bin/pip wheel --quiet --no-deps --wheel-dir build/wheel .
	! $(TEST)/bin/python -m zipfile --list build/wheel/*.whl | grep -E '\.(c|h|pyx|pxd) '
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	$(TEST)/bin/python -m pytest

# Of the wheel that test-compiled leaves installed.
count:
	$(TEST)/bin/python -m bench.instructions $(ARGS)

pure-wheel: $(TEST)/ready
	rm -rf build/pure-wheel build/lib*
	CC=false GAESESS_REQUIRE_EXTENSION=0 $(TEST)/bin/pip wheel --quiet --no-deps --wheel-dir build/pure-wheel .
	test -f build/pure-wheel/gaesess-*-py3-none-any.whl

# Coverage is of this run: it cannot look into what is compiled, and costs a third of the time.
test-pure: pure-wheel
	rm -f .coverage.*
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps build/pure-wheel/*.whl
	GAESESS_PURE=1 $(TEST)/bin/coverage run -m pytest --ignore tests/engines --ignore tests/examples  # the same for both

# The oldest release of Django that is supported, and the newest, which may need a newer Python; the rest runs on a third.
test-django: $(DJANGO_42)/ready $(DJANGO_NEWEST)/ready
	for venv in $(DJANGO_42) $(DJANGO_NEWEST); do \
	  $$venv/bin/pip install --quiet --force-reinstall --no-deps build/pure-wheel/*.whl && \
	  GAESESS_PURE=1 $$venv/bin/python -m pytest tests/django_app || exit 1; done

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

$(DJANGO_42)/ready: pyproject.toml | pure-wheel
	$(PYTHON) -m venv $(DJANGO_42)
	$(DJANGO_42)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	$(DJANGO_42)/bin/pip install --quiet --group test-django 'Django~=4.2.0' build/pure-wheel/*.whl
	touch $@

$(DJANGO_NEWEST)/ready: pyproject.toml | pure-wheel
	for python in python3.14 python3.13 python3.12 $(PYTHON); do \
	  $$python -c '' 2>/dev/null && $$python -m venv $(DJANGO_NEWEST) && break; done
	$(DJANGO_NEWEST)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	$(DJANGO_NEWEST)/bin/pip install --quiet --group test-django --upgrade Django build/pure-wheel/*.whl
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
	rm -rf $(TEST) $(DJANGO_42) $(DJANGO_NEWEST) $(DEMO) $(BENCH) build dist src/*.egg-info src/gaesess/*.so .coverage .coverage.*
