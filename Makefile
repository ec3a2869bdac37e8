# What one does with this repository. `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PORT ?= 8080
# Empty: `make test` counts no branches, and takes two thirds of the time.
COVERAGE ?= --cov --cov-report=term:skip-covered
# How many tests run at once; each worker has a PostgreSQL of its own.
WORKERS ?= auto
DATA_DIR ?= .canari
# The first of these that is Python 3.11 or 3.12 makes the virtual environment.
PYTHON ?= python3.11 python3.12 python3 python

# The first of these that works builds images; it is told BUILD_OPTIONS ("--network host", say).
ENGINE ?= $(shell for engine in docker podman buildah; do "$$engine" info >/dev/null 2>&1 && echo "$$engine" && break; done)
IMAGES ?= runtime platform trainer lineage
# Goes before the images' names: "example.org/team" makes example.org/team/canari/runtime:VERSION.
REGISTRY ?=
IMAGE = $(if $(REGISTRY),$(REGISTRY)/)canari/$(1):$(VERSION)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

BIN := .venv/bin
UV := $(BIN)/uv --quiet
COMPILE := $(UV) pip compile --universal --python-version 3.11 --all-extras --group lineage --no-header --no-annotate pyproject.toml

.PHONY: help
help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  After the first of these, everything else is done with .venv/bin/canari (try --help)."

.PHONY: install
install: .venv/.installed ## Make .venv, with everything in it that requirements.lock names

.venv/.installed: pyproject.toml requirements.lock | $(BIN)/uv
	@echo "Installing Canari into .venv ..."
	@$(UV) pip install --python $(BIN)/python --constraint requirements.lock --editable '.[serve,train,platform,laptop,s3,dev]'
	@touch $@

$(BIN)/uv:
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then \
	    "$$python" -m venv .venv; \
	    $(BIN)/python -m pip install --quiet --constraint requirements.lock uv; \
	    exit; \
	  fi; \
	done; \
	echo "Canari needs Python 3.11 or 3.12, and none of these is one: $(PYTHON)." >&2; \
	echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	exit 1

.PHONY: lock
lock: | $(BIN)/uv ## Bring requirements.lock in step with pyproject.toml (UPGRADE=1: newest versions)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --output-file requirements.lock

.PHONY: run
run: install ## Run the platform on http://127.0.0.1:8080 (PORT=8080 DATA_DIR=.canari); Ctrl-C ends it
	@exec $(BIN)/canari up --port $(PORT) --data-dir $(DATA_DIR)

.PHONY: test
test: install ## Unit, integration and browser tests, with branch coverage of canari/
	@select=(); \
	if [[ "$${CANARI_REQUIRE_BROWSER:-}" != 1 ]] && ! command -v "$${CANARI_CHROMIUM:-chromium}" chromium-browser google-chrome >/dev/null; then \
	  echo "!!! No Chromium was found: the BROWSER TESTS ARE LEFT OUT."; \
	  echo "!!! Install one (Debian, Ubuntu: apt-get install chromium), or name it in CANARI_CHROMIUM."; \
	  select=(-m "not browser"); \
	fi; \
	$(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile $(COVERAGE) "$${select[@]}" tests/unit tests/integration tests/browser

.PHONY: test-chart
test-chart: install ## Tests of the Helm chart; no cluster is needed
	@for program in helm kubeconform promtool prometheus; do \
	  command -v $$program >/dev/null || { echo "These tests need $$program on the path." >&2; exit 1; }; \
	done
	@$(BIN)/pytest tests/chart

.PHONY: test-cluster
test-cluster: install test-chart ## Tests on the cluster of KUBECONFIG: its nodes hold the images of `make images`
	@command -v kubectl >/dev/null || { echo "These tests need kubectl on the path." >&2; exit 1; }
	@kubectl version >/dev/null || { echo "No cluster answers: set KUBECONFIG to one that may be tested on." >&2; exit 1; }
	@kubectl wait --for=condition=Accepted gatewayclass/eg --timeout=10s >/dev/null || \
	  { echo "The cluster has no GatewayClass 'eg': install Envoy Gateway (docs/how-to/install-on-kubernetes.md)." >&2; exit 1; }
	@$(BIN)/pytest --timeout=900 tests/cluster
	@$(BIN)/pytest --capture=no --timeout=3600 tests/acceptance/test_cluster*.py tests/acceptance/test_loop_cluster.py

.PHONY: test-previous
test-previous: install ## The release before this one, its code and its tests, on today's schema
	@tests/previous.sh

.PHONY: lint
lint: install ## Style, types, import contracts, and whether the lock is in step
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cp requirements.lock .venv/lock.expected
	@$(COMPILE) --output-file .venv/lock.expected >/dev/null
	@diff -u requirements.lock .venv/lock.expected || { echo "requirements.lock is behind pyproject.toml: run 'make lock'" >&2; exit 1; }

.PHONY: images
images: ## Build the images (IMAGES="runtime platform" REGISTRY=example.org ENGINE=docker, podman or buildah)
	@$(if $(ENGINE),,$(error none of docker, podman and buildah works here: start or install one, or name it in ENGINE))
	@for target in $(IMAGES); do \
	  tag=$(call IMAGE,$$target); \
	  echo "Building $$tag with $(ENGINE) ..."; \
	  $(ENGINE) build $(BUILD_OPTIONS) $(if $(filter buildah,$(ENGINE)),--layers) --build-arg VERSION=$(VERSION) \
	    --target "$$target" --tag "$$tag" .; \
	done

.PHONY: image-names
image-names: ## Say what `make images` calls the images
	@for target in $(IMAGES); do echo "$(call IMAGE,$$target)"; done

.PHONY: manifests
manifests: install ## Write what follows from the chart and the specification: CRD, schema of values, README, k8s/canari.yaml
	@command -v helm >/dev/null || { echo "This needs helm on the path." >&2; exit 1; }
	@$(BIN)/python -m canari.crd
	@$(BIN)/python helm/generate.py

.PHONY: dashboards
dashboards: install ## Write Grafana's dashboards from the code in monitoring/dashboards
	@$(BIN)/python -m monitoring.dashboards

.PHONY: docs
docs: install ## Write the reference pages that follow from the code
	@$(BIN)/python -m canari.reference docs/reference

.PHONY: bench
bench: install ## Compare Canari with simpler servers on this machine (ARGS="--rounds 5 --seconds 8")
	@$(BIN)/canari bench serve $(ARGS)

.PHONY: acceptance
acceptance: install ## What a release must show, each figure printed (NAME=laptop, judge, cluster or loop)
	@$(if $(NAME),,$(error say which: make acceptance NAME=laptop))
	@$(BIN)/pytest --capture=no --timeout=3600 tests/acceptance/test_$(NAME)*.py

.PHONY: clean
clean: ## Remove what these commands made; the data folder stays
	@rm -rf .venv .coverage* htmlcov dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache
	@find bentos canari services tests -name __pycache__ -type d -prune -exec rm -rf {} +
