# `make demo`, `make test`, `make docs`, `make soak`, `make bench`, `make fuzz` and `make sanitize` each do all their own
# set-up, in virtual environments of their own.

PYTHON ?= python3
TEST := .venv-test
DJANGO_42 := .venv-django-4.2
DJANGO_NEWEST := .venv-django-newest
DEMO := .venv-demo
DOCS := .venv-docs
BENCH := .venv-bench
FUZZ := .venv-fuzz
WHEELS := .venv-wheels
SANITIZE := .venv-sanitize
SECONDS ?= 60  # for each target of `make fuzz`
SOURCES := pyproject.toml setup.py $(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -path '*/demo/*.*')

.PHONY: demo test lint sdist test-compiled count pure-wheel test-pure test-django docs wheels soak bench fuzz sanitize clean

demo: $(DEMO)/installed
	$(DEMO)/bin/python -m gaesess demo $(ARGS)

test: lint test-compiled count test-pure test-django docs
	$(TEST)/bin/coverage combine --quiet
	$(TEST)/bin/coverage report

lint: $(TEST)/ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy
	$(TEST)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TEST)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(TEST)/bin/zizmor --quiet --offline .github

# What everything else is built of, as it ships.
sdist: $(TEST)/ready
	rm -rf build/sdist
	$(TEST)/bin/python -m build --sdist --quiet --outdir build/sdist .

# Both twins are tested as they ship: the wheel with the extension, then the one that is built where no compiler is. What
# is the same in both is tested in one of them.
test-compiled: sdist
	rm -rf build/wheel
	$(TEST)/bin/pip wheel --quiet --no-deps --wheel-dir build/wheel build/sdist/*.tar.gz
	! $(TEST)/bin/python -m zipfile --list build/wheel/*.whl | grep -E '\.(c|h|pyx|pxd) '
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	$(TEST)/bin/python -m pytest --ignore tests/demo --ignore tests/stores --ignore tests/legacy/test_legacy_pickles.py  # test-pure has them

# Of the wheel that test-compiled leaves installed.
count:
	PYTHONPATH=tests $(TEST)/bin/python -m bench.instructions $(ARGS)  # tests: how valgrind is started

pure-wheel: sdist
	rm -rf build/pure-wheel
	CC=false GAESESS_REQUIRE_EXTENSION=0 $(TEST)/bin/pip wheel --quiet --no-deps --wheel-dir build/pure-wheel build/sdist/*.tar.gz
	test -f build/pure-wheel/gaesess-*-py3-none-any.whl

# Coverage is of this run: it cannot look into what is compiled, and costs a third of the time.
test-pure: pure-wheel
	rm -f .coverage.*
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps build/pure-wheel/*.whl
	GAESESS_PURE=1 $(TEST)/bin/coverage run -m pytest --ignore tests/docs --ignore tests/engines --ignore tests/examples  # test-compiled has them

# The oldest release of Django that is supported, and the newest, which may need a newer Python; the rest runs on a third.
test-django: $(DJANGO_42)/ready $(DJANGO_NEWEST)/ready
	for venv in $(DJANGO_42) $(DJANGO_NEWEST); do \
	  $$venv/bin/pip install --quiet --force-reinstall --no-deps build/pure-wheel/*.whl && \
	  GAESESS_PURE=1 $$venv/bin/python -m pytest tests/django_app || exit 1; done

docs: $(DOCS)/ready
	$(DOCS)/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs build/docs
	@echo 'written: build/docs/index.html'

# The wheels of every CPython on this machine, out of the sdist, each with what auditwheel says of it and the portable tests
# on what is installed, where no source is. And the tree makes the same wheel, byte for byte, as the sdist.
SAME_TIME := SOURCE_DATE_EPOCH=1700000000
PYTHONS ?= python3.10 python3.11 python3.12 python3.13 python3.14 python3.15
wheels: $(WHEELS)/ready sdist
	rm -rf build/wheels
	mkdir -p build/wheels/tests
	cp -r tests pyproject.toml build/wheels/tests
	for python in $(PYTHONS); do \
	  $$python -c '' 2>/dev/null || continue; \
	  GAESESS_REQUIRE_EXTENSION=1 $$python -m pip wheel --quiet --no-deps --wheel-dir build/wheels/$$python build/sdist/*.tar.gz && \
	  $(WHEELS)/bin/auditwheel show build/wheels/$$python/*.whl && \
	  $$python -m venv --clear build/wheels/venv && \
	  build/wheels/venv/bin/pip install --quiet --upgrade 'pip>=25.1' && \
	  build/wheels/venv/bin/pip install --quiet --group test-portable "$$(echo build/wheels/$$python/*.whl)[encrypt]" && \
	  (cd build/wheels/tests && GAESESS_REQUIRE_EXTENSION=1 ../venv/bin/python -m pytest --quiet @tests/portable.txt) || exit 1; \
	done
	$(SAME_TIME) $(WHEELS)/bin/pip wheel --quiet --no-deps --wheel-dir build/wheels/of-the-tree .
	$(SAME_TIME) $(WHEELS)/bin/pip wheel --quiet --no-deps --wheel-dir build/wheels/of-the-sdist build/sdist/*.tar.gz
	cmp build/wheels/of-the-tree/*.whl build/wheels/of-the-sdist/*.whl

# Some five minutes of users, kills and outages; ARGS="--seconds 30 --writes 20" for one.
soak: $(TEST)/ready
	$(TEST)/bin/pip install --quiet --force-reinstall --no-deps .
	PYTHONPATH=tests $(TEST)/bin/python -m soak $(ARGS)

bench: $(BENCH)/installed
	PYTHONPATH=tests $(BENCH)/bin/python -m bench.report  # tests: how memcached is started

# A minute for each target; SECONDS=600 for ten, ARGS=codec for one of them. It exits with an error for a finding.
fuzz: $(FUZZ)/installed
	$(FUZZ)/bin/python -m fuzz --seconds $(SECONDS) $(ARGS)

# The compiled modules under AddressSanitizer and UndefinedBehaviorSanitizer, in some four minutes. Left out are
# tests with browsers, with App Engine's development server and with emulators, which run other programs than ours and
# would have those preload libasan; and tests with greenlets, whose copies of the stack AddressSanitizer takes for errors.
# (--capture=sys: what the sanitizers say before they end the process is to be seen.)
SANITIZERS := -fsanitize=address,undefined
NOT_SANITIZED := demo/test_in_browser.py django_app/test_django_in_browser.py engines examples guarantees \
  stores/test_datastore.py stores/test_round_trips.py
sanitize: $(SANITIZE)/ready
	rm -rf build/sanitized build/lib*
	CFLAGS='$(SANITIZERS) -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g' LDFLAGS='$(SANITIZERS)' \
	  GAESESS_REQUIRE_EXTENSION=1 $(SANITIZE)/bin/pip wheel --quiet --no-deps --wheel-dir build/sanitized .
	rm -rf build/lib*  # lest another wheel be made of it
	$(SANITIZE)/bin/pip install --quiet --force-reinstall --no-deps build/sanitized/*.whl
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
	  ASAN_OPTIONS=detect_leaks=0 GAESESS_REQUIRE_EXTENSION=1 $(SANITIZE)/bin/python -m pytest --capture=sys \
    $(NOT_SANITIZED:%=--ignore=tests/%) -k 'not gevent and not greenlet' $(ARGS)

$(TEST)/ready $(SANITIZE)/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	$(@D)/bin/pip install --quiet --group test '.[all]'
	touch $@

$(WHEELS)/ready: pyproject.toml
	$(PYTHON) -m venv $(WHEELS)
	$(WHEELS)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	$(WHEELS)/bin/pip install --quiet --group wheels
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

# (Reinstalled when a docstring may have changed: the reference is made of them.)
$(DOCS)/ready: $(SOURCES)
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	GAESESS_PURE=1 $(DOCS)/bin/pip install --quiet --group docs '.[all]'
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

$(FUZZ)/installed: $(SOURCES)
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	GAESESS_REQUIRE_EXTENSION=1 $(FUZZ)/bin/pip install --quiet --group fuzz '.[encrypt]'
	touch $@

clean:
	rm -rf $(TEST) $(DJANGO_42) $(DJANGO_NEWEST) $(DEMO) $(DOCS) $(BENCH) $(FUZZ) $(SANITIZE) $(WHEELS) build dist src/*.egg-info \
	  src/gaesess/*.so .coverage .coverage.* fuzz/findings
