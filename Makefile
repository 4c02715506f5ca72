# Each target does all its own set-up on a fresh machine: it needs Python 3.11 or later with venv, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two workers, one thread each: the suite fills two cores without threads fighting for them. A file stays with one, so
# that what its tests share is made once. tests/conftest.py puts the files that take longest first.
TEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

OLDEST := .venv-oldest
# A part of the suite that calls every dependency.
OLDEST_TESTS := tests/utils tests/config tests/io/test_window_cache.py tests/io/readers/test_formats.py \
	tests/methods/test_methods.py tests/training/test_loop.py tests/reporting/test_writing.py tests/cli/test_options.py \
	tests/deployment/test_export.py tests/deployment/test_attribution.py tests/workflows/test_explain.py \
	tests/models/openecg tests/workflows/test_serve.py tests/workflows/test_sweep.py tests/workflows/test_pretrain.py

.PHONY: audit dist oldest help install browser demo image test test-slow test-all fuzz lint types docs check web bench study figures clean

help:  ## What each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

install: $(VENV)/.installed  ## Make the virtual environment

browser:  ## Chromium for the tests of the page, where this user may install it; without it they are skipped
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	apt-get update -qq && apt-get install -y -qq chromium >/dev/null || \
	echo "Chromium cannot be installed here: the tests of the page in a browser are skipped"

demo: install  ## The main job on embedded defaults: simulated ECGs, a table, a report
	$(BIN)/ecgtune demo

image: demo browser  ## docs/images/report.png: the start of the demo's report
	$$(command -v chromium || command -v chromium-browser || command -v google-chrome) --headless --no-sandbox \
	--hide-scrollbars --window-size=1200,1925 --screenshot=docs/images/report.png file://$(CURDIR)/runs/demo/report.html

test: install browser  ## The tests but those marked slow
	$(TEST)

test-slow: install browser  ## The tests that are marked slow
	$(TEST) -m slow

test-all: test test-slow  ## The whole test suite

FUZZ_SECONDS ?= 600
fuzz: install  ## Change files at random: each reader for FUZZ_SECONDS=600 of processor time; FUZZ= names readers
	$(BIN)/python tests/hostile/fuzz.py $(FUZZ_SECONDS) $(FUZZ)

lint: install  ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## Static types
	$(BIN)/pyright --pythonpath $(BIN)/python

audit: install  ## Known vulnerabilities and licences of the installed packages, as far as a registry answers
	$(BIN)/python packaging/supply_chain.py

dist: install  ## Sdist and wheel, built twice and compared, and checked
	$(BIN)/python packaging/distributions.py

oldest:  ## Tests with the oldest allowed versions, in an environment of their own (not of torch: constraints.txt)
	$(PYTHON) -m venv $(OLDEST)
	mkdir -p build && $(PYTHON) packaging/oldest.py > build/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints.txt --requirement build/oldest.txt \
		torch pytest pytest-timeout hypothesis httpx pyedflib tomlkit scikit-learn pandas
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --editable .
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(OLDEST_TESTS)

docs: install  ## Documentation site, into docs/_build/html; runs the programs of the gallery
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

check: lint types docs audit test  ## All that has to pass before a change lands

web:  ## Build the page into the package (needs Node 20 or later)
	cd web && npm ci --no-audit --no-fund && node build.js

bench: install  ## Benchmarks of this machine, into benchmarks/results/ and docs/ (an hour)
	for script in micro startup reading int8 export browser memory plan speed/bench speed/methods speed/epoch speed/growth; do \
		$(BIN)/python benchmarks/$$script.py || exit 1; done

study: install  ## Studies: runs what is missing (days) where DATA= is the folder of windows; else tables alone
	$(BIN)/python studies/run.py studies/peft/*.toml studies/pretraining/*.toml $(if $(DATA),--data $(DATA))

figures: install  ## Tables and figures of the studies, again from their stored rows
	$(BIN)/python studies/run.py studies/peft/*.toml studies/pretraining/*.toml studies/encoders/*.toml

clean:  ## Remove what the other targets made
	rm -rf $(VENV) web/node_modules runs dist build .pytest_cache .ruff_cache .hypothesis
