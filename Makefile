# The five commands a newcomer needs are `make run | test | check | bench | help`; all of them make the environment first.
# PYTHON picks the interpreter (3.11.5 or newer); everything lands in .venv and in HDX_HOME (default var/).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM := .venv-vllm
SUPPLY := .venv-supply

.DEFAULT_GOAL := help
.PHONY: run test test-contract test-vllm check mutants bench bench-quick bench-growth bench-parts bench-quality bench-retrieval bench-vllm bench-promotion bench-families bench-definitions bench-readings bench-watching bench-drift bench-machines install help openapi install-locked lock vulnerabilities

run: install  ## Start everything on this machine and stay in the foreground; Ctrl-C stops it
	@$(BIN)/hdx run

test: install  ## Run the whole test pyramid that needs no special hardware
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-contract: install  ## Draw 20,000 cases from the served OpenAPI, as every role, a key and nobody, and 10,000 requests between two tenants
	@CASES=20000 $(BIN)/python -m pytest tests/contract/test_schemathesis.py
	@REQUESTS=10000 $(BIN)/python -m pytest tests/service/test_two_tenants.py

test-vllm: $(VLLM)/.installed  ## Run the graph with a language model in it: vLLM on the CPU, a model trained for it; an environment of its own
	@$(VLLM)/bin/python -m pytest tests/vllm

check: install  ## Format, lint, strict types, import contracts, declared libraries, unit tests; a minute or two
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry .
	@$(BIN)/deptry . --optional-dependencies-dev-groups dev,mutants --extend-exclude tests/ --extend-exclude benchmarks/
	@$(BIN)/python -m pytest -n 2 tests/unit

mutants: $(VENV)/.mutants  ## Change decisions in the code and count the changes that tests notice; a quarter of an hour
	@rm -rf mutants
	@$(BIN)/python -P tests/mutants.py

bench: install  ## Measure HDX beside other servers on the same job; needs wrk, takes half an hour
	@$(BIN)/python -m benchmarks.speed

bench-quick: install  ## Measure HDX beside one plain uvicorn process; needs wrk, three minutes from the second time on
	@$(BIN)/python -m benchmarks.speed --quick

bench-growth: install  ## Measure how cost grows with replicas, systems, tenants, families and passages; needs wrk
	@$(BIN)/python -m benchmarks.growth

bench-retrieval: install  ## Measure search and answer on collections left out, beside every promised figure
	@$(BIN)/python -m benchmarks.retrieval

bench-vllm: $(VLLM)/.installed  ## Measure the graph's language model beside vLLM's own server; here on the CPU, docs/retrieval.md has the GPU
	@$(VLLM)/bin/python -m benchmarks.language_model prepare build/vllm
	@$(VLLM)/bin/python -m benchmarks.language_model measure build/vllm

bench-promotion: install  ## Move good and bad versions under load, and kill the registry meanwhile
	@$(BIN)/python -m benchmarks.promotion

bench-families: install  ## Measure a thousand models of single tenants, cold and warm, beside the shared ones
	@$(BIN)/python -m benchmarks.families

bench-definitions: install  ## Measure a thousand families of tenants' own, and one that changes while it is judged; six minutes
	@$(BIN)/python -m benchmarks.definitions

bench-readings: install  ## Measure how many readings a second are kept, what a plot costs, and that kills lose none; ARGS=--rows=400000
	@$(BIN)/python -m benchmarks.readings $(ARGS)

bench-watching: install  ## Measure how many windows a second are judged from readings, beside live systems and detects; six minutes
	@$(BIN)/python -m benchmarks.watching $(ARGS)

bench-drift: install  ## Measure how soon drift is found, how often wrongly and at what cost; needs the recordings
	@$(BIN)/python -m benchmarks.drift

bench-machines: install  ## Commission and judge machines that no model has seen, beside every demand; half an hour, ARGS=--quick two minutes
	@$(BIN)/python -m benchmarks.machines $(ARGS)

bench-parts: install  ## Measure detect and ask against the service's own empty route
	@$(BIN)/python -m benchmarks.detect

bench-quality: install  ## Measure detection on data left out, beside every promised figure; needs the recordings
	@$(BIN)/python -m benchmarks.quality

openapi: install  ## Rewrite the snapshot of the HTTP contract after a wanted change
	@$(BIN)/python -m tests.contract.snapshot

install: $(STAMP)  ## Make only the environment

# Torch goes first: an installer that offers a CPU build takes it, and nothing after pulls another.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || { echo "HDX needs Python 3.11.5 or newer; set PYTHON="; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.mutants: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[dev,mutants]'
	@touch $@

# vLLM wants other versions than the service is tested with, and of what it brings along the pictures and sounds are not read.
$(VLLM)/.installed: tests/vllm/requirements.txt
	@$(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python -m pip install --quiet --progress-bar on -c constraints.txt torch
	@$(VLLM)/bin/python -m pip install --quiet --progress-bar on -r tests/vllm/requirements.txt -e '.[dev]'
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# By the lock, each file by its digest and none that would have to be built; torch last, whose build differs by machine.
install-locked: supply/requirements.lock supply/requirements-dev.lock  ## Make the environment of files whose digests are in the lock, torch aside
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --require-hashes --no-deps --only-binary :all: $(addprefix -r ,$^)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $(STAMP)

lock: install $(SUPPLY)/.installed  ## Write the locks anew after a change of pyproject.toml or constraints.txt
	@$(BIN)/python -m supply.lock $(SUPPLY)/bin/uv
	@$(SUPPLY)/bin/python -m supply.validate

vulnerabilities: install $(SUPPLY)/.installed  ## Ask the registry what is known against the locked libraries
	@$(BIN)/python -m supply.vulnerabilities $(SUPPLY)/bin/pip-audit

$(SUPPLY)/.installed: supply/tools.txt
	@$(PYTHON) -m venv $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar on -r supply/tools.txt
	@touch $@

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
