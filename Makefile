# Every command one needs; `make` alone shows them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Setting up is a matter of seconds and happens by itself; the stamp remembers what it was made from.
$(VENV)/.stamp: pyproject.toml requirements.lock deploy/setup
	@deploy/setup "$(PYTHON)" "$(VENV)"
	@touch $@

.PHONY: setup
setup: $(VENV)/.stamp ## Make the environment (.venv) and install what is missing

.PHONY: check
check: setup ## Static checks: format, lint, types, imports, conventions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/conventions

.PHONY: format
format: setup ## Rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What hardly waits: on all processors. The rest, whose clusters lease by the clock, has them alone.
COMPUTING := $(addprefix tests/,conventions golden planted properties simulation unit)

.PHONY: test
test: setup ## All tests: unit, properties, simulation, integration, end to end
	$(BIN)/python -m pytest -q -n auto $(COMPUTING)
	$(BIN)/python -m pytest -q $(addprefix --ignore=,$(COMPUTING))

.PHONY: test-compose
test-compose: setup ## docker-compose.yml on a real engine: broken and watched (root; needs or installs Docker)
	$(BIN)/python -m tests.compose

.PHONY: unit
unit: setup ## The fast tests only
	$(BIN)/python -m pytest -q -n auto tests/unit tests/properties tests/golden

.PHONY: simulate
simulate: setup ## All cores together under seeded faults: SEEDS=1000 FROM=0 REPLAY=seed
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --from $(or $(FROM),0) $(if $(REPLAY),--replay $(REPLAY))

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
.PHONY: image
image: ## Build the container image of all our programs (needs Docker)
	docker build --tag equipoise:$(VERSION) --build-arg VERSION=$(VERSION) --file deploy/Dockerfile .
	@docker image inspect --format '{{index .RepoTags 0}}: {{.Size}} bytes, with its base' equipoise:$(VERSION)

.PHONY: demo
demo: setup ## Break a real cluster on this machine and watch it cope, until Ctrl-C (ONCE=1 make demo: and end)
	@$(BIN)/equipoise sandbox --drill kill-instance --drill kill-balancer --drill cut-node $(if $(ONCE),--once)

.PHONY: bench
bench: setup ## Measure what failures cost, and write docs/benchmarks.md (half an hour)
	$(BIN)/python -m benchmarks

.PHONY: bench-compose
bench-compose: setup ## Measure the drills on the cluster of docker-compose.yml (COUNT=20)
	$(BIN)/python -m tests.compose --measure $(or $(COUNT),20)

.PHONY: bench-peers
bench-peers: setup ## Others on the same faults, round by round: COUNT=20 MINUTES=90 MORE=--continue
	@$(BIN)/python -c 'import envoy' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --constraint requirements.lock --editable '.[peers]' || true
	$(BIN)/python -m benchmarks.peers --count $(or $(COUNT),20) $(if $(MINUTES),--minutes $(MINUTES)) $(MORE)

.PHONY: bench-growth
bench-growth: setup ## Measure how cost grows with nodes, services and clusters (a quarter of an hour)
	$(BIN)/python -m benchmarks --only growth

.PHONY: golden
golden: setup ## Record a golden file for every new type of message
	$(BIN)/python -m tests.golden

.PHONY: docs
docs: setup ## Write the documents that are made from the code
	$(BIN)/python -m shared.settings
	$(BIN)/python -m services.cli.reference
	$(BIN)/python -m tests.metrics

.PHONY: check-alerts
check-alerts: ## Let promtool (Debian: prometheus) read and play the alert rules
	promtool check rules deploy/prometheus/alerts.yaml
	promtool test rules tests/metrics/alerts.test.yaml
	cd deploy/prometheus && promtool check config --syntax-only prometheus.yaml
