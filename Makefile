# The commands that people and CI use alike; `make` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help env run test lint types format bench faithful test-newest requirements clean

BIN := .venv/bin
CODE := $(wildcard benchmarks examples scripts src tests)
PYTHON ?= python3 python3.13 python3.12 python3.11 python3.14

# uv trusts the certificates that the system trusts, as pip does.
export UV_SYSTEM_CERTS := true

# Calls the set-up with the first interpreter in PYTHON that is new enough. When all is done already it only says so
# to itself, so every target that needs the environment asks for it.
define environment
@for python in $(PYTHON); do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		exec "$$python" scripts/environment.py $(1); \
	fi; \
done; \
echo "Python 3.11 or newer is needed; none of these is: $(PYTHON). Name one: make PYTHON=/path/to/python3" >&2; exit 1
endef

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 16

env: ## make the environment in .venv, or bring it up to date
	$(call environment,.venv)

run: env ## start everything: embedded MongoDB, chat service, playground on http://127.0.0.1:8880
	@exec $(BIN)/python -m chat_service

test: env ## run the whole suite; ARGS="-k name" for a part of it
	@exec $(BIN)/python -m pytest $(ARGS)

lint: env ## check style and formatting
	@$(BIN)/ruff check $(CODE)
	@# The same for readers on 3.13, less the rules that would have it written in syntax that 3.11 does not know.
	@$(BIN)/ruff check --target-version py313 --ignore UP $(CODE)
	@$(BIN)/ruff format --check $(CODE)

types: env ## check types, for the oldest and the newest Python
	@$(BIN)/python -m mypy --python-version 3.11 $(CODE)
	@$(BIN)/python -m mypy --python-version 3.13 $(CODE)

format: env ## rewrite the code in the house format
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

bench: env ## measure what a turn costs; ARGS="--only history" for a part of it
	@exec $(BIN)/python -m benchmarks.run $(ARGS)

faithful: env ## 10,000 generated messages through the codec
	@HYPOTHESIS_PROFILE=thorough exec $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/test_codec.py $(ARGS)

test-newest: ## run the lifecycle tests against the newest strands-agents
	$(call environment,.venv-newest)
	@.venv-newest/bin/uv pip install --quiet --python .venv-newest/bin/python --upgrade-package strands-agents strands-agents
	@.venv-newest/bin/uv pip freeze --quiet --python .venv-newest/bin/python | grep '^strands-agents=='
	@exec .venv-newest/bin/python -m pytest tests/test_lifecycle*.py $(ARGS)

requirements: env ## pin anew what pyproject.toml asks for; UPGRADE=--upgrade takes the newest of everything
	@echo uv | $(COMPILE) -o requirements/bootstrap.txt -
	@$(COMPILE) -o requirements/development.txt --all-extras pyproject.toml
	@$(COMPILE) -o requirements/service.txt --constraints requirements/development.txt \
		$(addprefix --extra ,$(DEPLOYED)) pyproject.toml

# What the container image installs: the service with every store and model, and no database server.
DEPLOYED = service postgres gunicorn telemetry anthropic ollama rag cohere

# One set of pins for every platform, checked by hash, and without the address of any package registry.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command "make requirements" $(UPGRADE)

clean: ## remove the environments and what the tools left
	@rm -rf .venv .venv-newest .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: contract
contract: env ## run the contract suite on this and the SDK's session managers; the table goes into docs
	@$(BIN)/python -m mongodb_session_manager.testing --write docs/contract-suite.md

.PHONY: faults
faults: env ## 200 kills of servers and applications under load, partitions, lost replies: what is lost? ARGS="--seed 7"
	@exec $(BIN)/python -m tests.storm $(ARGS)

.PHONY: doctor
doctor: env ## find what a crash left: MONGODB_URI=… DATABASE_NAME=… COLLECTION_NAME=… make doctor; REPAIR=1 mends it
	@exec $(BIN)/python -m mongodb_session_manager.doctor $(if $(filter-out 0,$(REPAIR)),--repair) $(ARGS)

.PHONY: audit
audit: env ## look for known vulnerabilities in what is pinned; needs a network; ARGS="--vulnerability-service osv"
	@exec $(BIN)/python scripts/audit.py $(ARGS)

.PHONY: load
load: env ## put the service under load, with and without sessions (ten minutes); ARGS="--quick" for a look
	@exec $(BIN)/python -m benchmarks.load $(ARGS)

.PHONY: evaluate
evaluate: env ## measure how well questions are answered from the documentation; ARGS="--questions mine.jsonl"
	@exec $(BIN)/python -m chat_service evaluate $(ARGS)

.PHONY: backend-fastapi-streaming frontend
backend-fastapi-streaming: env ## the back end on http://127.0.0.1:8880; in a second terminal: make frontend
	@exec $(BIN)/python -m chat_service

frontend: env ## the page alone on http://127.0.0.1:8881/chat.html, for that back end; ARGS="--service http://…"
	@exec $(BIN)/python -m chat_service frontend $(ARGS)

.PHONY: page
page: env ## measure the page in Chromium: first paint, a long conversation, a quick answer (three minutes)
	@exec $(BIN)/python -m benchmarks.page $(ARGS)

.PHONY: retrieval
retrieval: env ## measure how fast 10,000 chunks are taken in and found (two minutes); ARGS="--quick" for a look
	@exec $(BIN)/python -m benchmarks.retrieval $(ARGS)
