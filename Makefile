# make run     set everything up and serve the default model on 127.0.0.1:8437
# make test    the same for the tests
# make lint    formatting, lint and types
# make lint-js lint and types of the page's scripts (needs Node 20)
# make bench   the benchmarks
# make vsix          the extension for VS Code, as a package (needs Node 20)
# make test-vscode   that package in a real VS Code, with a real model (installs code-server into build/)
#
# PYTHON=python3.13 picks the interpreter; ARGS="--port 9000" is passed on to pellucid or pytest.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin
VSCODE := editors/vscode
JS := tools/js
MODELS := qwen2.5-coder-0.5b-instruct smollm2-135m-instruct
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test lint lint-js bench vsix test-vscode clean

run: $(VENV)/installed
	@$(BIN)/pellucid serve $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/pellucid models pull $(MODELS)
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lint-js: $(JS)/node_modules/.package-lock.json
	@cd $(JS) && npm run --silent check

bench: $(VENV)/installed-dev
	$(BIN)/pellucid models pull $(MODELS)
	$(BIN)/python tests/benchmarks/against_transformers.py $(ARGS)

vsix: $(VSCODE)/node_modules/.package-lock.json
	@cd $(VSCODE) && rm -f *.vsix && npm run --silent package
	@ls $(CURDIR)/$(VSCODE)/*.vsix

test-vscode: vsix $(VENV)/installed-dev
	$(BIN)/pellucid models pull $(firstword $(MODELS))
	tests/editors/vscode/run.sh

clean:
	rm -rf $(VENV)

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null || { echo "The JavaScript tools need Node 20 or newer: install it from https://nodejs.org." >&2; exit 1; }
	@cd $* && npm ci --no-audit --no-fund
	@touch $@

# A stamp is newer than pyproject.toml when what that asks for is installed, so a second start asks no network.
$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "Installing Pellucid and what it needs into $(VENV); the first time this takes a few minutes."
	@$(PIP) install --editable '.[all]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing Pellucid with its tools for development into $(VENV); the first time this takes a few minutes."
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/installed

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Pellucid needs Python 3.11 or newer: install it, or name it with make PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: install its venv package (Debian: apt-get install python3-venv)." >&2; exit 1; }
