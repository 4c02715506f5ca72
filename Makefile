# Each target does all its own set-up on a fresh machine: it needs Python 3.11 or later with venv, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two workers, one thread each: the suite fills two cores without threads fighting for them. A file stays with one, so
# that what its tests share is made once.
TEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help install demo test lint types check bench peft-study clean

help:  ## What each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

install: $(VENV)/.installed  ## Make the virtual environment

demo: install  ## The main job on embedded defaults: simulated ECGs, a table, a report
	$(BIN)/ecgtune demo

test: install  ## The whole test suite
	$(TEST)

lint: install  ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## Static types
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test  ## All that has to pass before a change lands

bench: install  ## Benchmarks beside the original's computation, into benchmarks/results/ and docs/; FIRST= see there
	$(BIN)/python benchmarks/read_csv.py
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/lora_layer.py
	$(BIN)/python benchmarks/oft_layer.py
	$(BIN)/python benchmarks/page_faults.py
	$(BIN)/python benchmarks/lora_epoch.py
	$(BIN)/python benchmarks/positional.py
	$(BIN)/python benchmarks/int8.py
	$(BIN)/python benchmarks/qkv.py
	$(BIN)/python benchmarks/torch_compile.py
	$(BIN)/python benchmarks/frozen_casts.py
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python benchmarks/plan.py --model full-size --windows 160 --epochs 2 --batch 16 --result benchmarks/results/plan_full_size.json
	$(BIN)/python benchmarks/max_memory.py
	$(BIN)/python benchmarks/records_cache.py --records 10000
	$(BIN)/python benchmarks/speed/bench.py $(if $(FIRST),--first-version $(FIRST))
	$(BIN)/python benchmarks/speed/methods.py
	$(BIN)/python benchmarks/speed/utilisation.py --batch 16 --windows 640
	$(BIN)/python benchmarks/speed/growth.py
	$(BIN)/python benchmarks/speed/page.py

peft-study: install  ## The study of docs/peft_study.md, where it stopped; WINDOWS= and RHYTHMS= are its files (days)
	$(BIN)/python benchmarks/peft_study/peft_study.py $(WINDOWS) $(RHYTHMS)
	$(BIN)/python benchmarks/peft_study/side_rates.py $(WINDOWS)
	$(BIN)/python benchmarks/peft_study/final_lengths.py $(WINDOWS)
	$(BIN)/python benchmarks/peft_study/few_label_lengths.py $(WINDOWS)
	$(BIN)/python benchmarks/peft_study/few_label_members.py $(WINDOWS)
	$(BIN)/python benchmarks/peft_study/few_label_parts.py $(WINDOWS)
	$(BIN)/python benchmarks/peft_study/number_formats.py $(WINDOWS)

clean:  ## Remove what the other targets made
	rm -rf $(VENV) runs dist build .pytest_cache .ruff_cache .hypothesis
