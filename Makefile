# Each target does all its own set-up, in a virtual environment of its own, .venv-NAME.
PYTHON ?= python3
SECONDS ?= 60  # for each target of `make fuzz`, and each module of `make mutation`
SOURCES := pyproject.toml setup.py $(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.h' -o -path '*/demo/*.*')
TEST := .venv-test/bin
REINSTALL := pip install --quiet --force-reinstall --no-deps
WHEEL := pip wheel --quiet --no-deps --wheel-dir
.NOTPARALLEL:
.PHONY: demo test lint sdist test-compiled count pure-wheel test-pure test-django docs wheels model soak mutation bench fuzz sanitize clean

demo: .venv-demo/ready
	.venv-demo/bin/python -m gaesess demo $(ARGS)
test: lint test-compiled count test-pure test-django docs
	$(TEST)/coverage combine --quiet
	$(TEST)/coverage report
lint: .venv-test/ready
	$(TEST)/ruff check .
	$(TEST)/ruff format --check .
	$(TEST)/mypy
	$(TEST)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TEST)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(TEST)/zizmor --quiet --offline .github
# Both twins are tested as they ship: the wheel with the extension, then the one that is built where no compiler is, both
# out of the sdist. What is the same in both is tested in one of them.
sdist: .venv-test/ready
	rm -rf build/sdist
	$(TEST)/python -m build --sdist --quiet --outdir build/sdist .
test-compiled: sdist
	rm -rf build/wheel
	$(TEST)/$(WHEEL) build/wheel build/sdist/*.tar.gz
	! $(TEST)/python -m zipfile --list build/wheel/*.whl | grep -E '\.(c|h|pyx) '
	$(TEST)/$(REINSTALL) build/wheel/*.whl
	$(TEST)/python -m pytest --ignore tests/demo --ignore tests/model --ignore tests/stores --ignore tests/legacy/test_legacy_pickles.py
count:  # of the wheel that test-compiled leaves installed
	PYTHONPATH=tests $(TEST)/python -m bench.instructions $(ARGS)  # tests: how valgrind is started
pure-wheel: sdist
	rm -rf build/pure-wheel
	CC=false GAESESS_REQUIRE_EXTENSION=0 $(TEST)/$(WHEEL) build/pure-wheel build/sdist/*.tar.gz
	test -f build/pure-wheel/gaesess-*-py3-none-any.whl
test-pure: pure-wheel  # with coverage, which cannot look into what is compiled, and costs a third of the time
	rm -f .coverage.*
	$(TEST)/$(REINSTALL) build/pure-wheel/*.whl
	GAESESS_PURE=1 $(TEST)/coverage run -m pytest --ignore tests/docs --ignore tests/engines --ignore tests/examples --ignore tests/model
	GAESESS_PURE=1 $(TEST)/python -m pytest tests/model  # which coverage would slow down
test-django: .venv-django-4.2/ready .venv-django-newest/ready pure-wheel
	for venv in .venv-django-4.2 .venv-django-newest; do $$venv/bin/$(REINSTALL) build/pure-wheel/*.whl && \
	  GAESESS_PURE=1 $$venv/bin/python -m pytest tests/django_app || exit 1; done
docs: .venv-docs/ready
	.venv-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs build/docs
	@echo 'written: build/docs/index.html'
wheels: .venv-wheels/ready sdist
	bash .ci/wheels
model: .venv-test/ready  # ten minutes, ARGS="--seconds 3600" for an hour; then faults of earlier versions must be found
	PYTHONPATH=src:tests GAESESS_PURE=1 $(TEST)/python -m model $(ARGS)
	PYTHONPATH=src:tests GAESESS_PURE=1 $(TEST)/python -m model.mutants
soak: .venv-test/ready  # some five minutes of users, kills and outages; STORE=redis, postgres: `python -m soak --help` has all
	$(TEST)/$(REINSTALL) .
	PYTHONPATH=tests $(TEST)/python -m soak $(STORE) $(ARGS)  # ARGS="--seconds 30 --writes 20" for half a minute
mutation: .venv-test/ready  # MODULE=users.py for one of them, SECONDS=600 for more mutants, JOBS=1 for one at a time
	PYTHONPATH=src:tests GAESESS_PURE=1 $(TEST)/python -m mutation $(MODULE) --seconds $(SECONDS) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)
bench: .venv-bench/ready
	PYTHONPATH=tests .venv-bench/bin/python -m bench.report  # tests: how memcached is started
fuzz: .venv-fuzz/ready  # SECONDS=600 for ten minutes each, ARGS=values for one of them; a finding is an error
	.venv-fuzz/bin/python -m fuzz --seconds $(SECONDS) $(ARGS)
sanitize: .venv-sanitize/ready sdist
	bash .ci/sanitize $(ARGS)
# What is in each environment, unless it is its dependency group and gaesess with all extras.
HAS_demo := '.[redis,postgres]'  # what its --store may name
HAS_django-4.2 := --group test-django 'Django~=4.2.0'
HAS_django-newest := --group test-django --upgrade Django
HAS_sanitize := --group test '.[all]'
HAS_wheels := --group wheels
.venv-bench/ready .venv-fuzz/ready: export GAESESS_REQUIRE_EXTENSION = 1
.venv-test/ready .venv-sanitize/ready .venv-docs/ready: export GAESESS_PURE = 1  # what is tested is installed later
.venv-demo/ready .venv-docs/ready .venv-bench/ready .venv-fuzz/ready: $(SOURCES)  # so that they have what is there now
# And what makes it, if not $(PYTHON): the newest Django may need a newer one than the rest.
FROM_django-newest = $(shell for it in python3.14 python3.13 python3.12; do $$it -c 'import ensurepip' 2>&- && echo $$it && break; done)
.venv-%/ready: pyproject.toml
	$(or $(FROM_$*),$(PYTHON)) -m venv $(@D)
	$(@D)/bin/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	$(@D)/bin/pip install --quiet $(or $(HAS_$*),--group $* '.[all]')
	touch $@
clean:
	rm -rf .venv-* build dist src/*.egg-info src/gaesess/*.so .coverage .coverage.* fuzz/findings
