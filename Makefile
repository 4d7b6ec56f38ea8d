# `make run` and `make test` need Python 3.11 to 3.13 with venv and pip; everything else comes from the lock files.
PYTHON ?= python3
VARIANT ?= cpu
# Each variant has an environment of its own: in one, both TensorFlows would overwrite each other's files.
VENV ?= .venv$(if $(filter gpu,$(VARIANT)),-gpu)
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
export KEDRO_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export UV_SYSTEM_CERTS := 1

.PHONY: help run test lint install install-dev repro model-push model-pull image viz viz-build docs lock bench clean

help:            ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/bin/uv: requirements/bootstrap.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14) and "karyoseg needs Python 3.11 to 3.13; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.runtime-$(VARIANT): requirements/$(VARIANT).txt pyproject.toml | $(VENV)/bin/uv
	$(UV) --require-hashes -r requirements/$(VARIANT).txt
	$(UV) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/uv
	$(if $(filter gpu,$(VARIANT)),$(error the development tools come with TensorFlow for CPUs: set VARIANT=cpu))
	$(UV) --require-hashes -r requirements/dev.txt
	$(UV) --no-deps --editable .
	@touch $@ $(VENV)/.runtime-cpu

install: $(VENV)/.runtime-$(VARIANT)      ## install what runs need (VARIANT=gpu for NVIDIA GPUs, in .venv-gpu)
install-dev: $(VENV)/.dev      ## also install linters, tests and docs

run: install                   ## run the whole workflow on the embedded sample
	$(BIN)/kedro run

test: install-dev lint         ## linters and the whole test suite
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

lint: install-dev              ## formatting, style, types, docstrings, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_docstrings.py

# a remark of kedro-viz to its own developers
viz viz-build: QUIET := PYTHONWARNINGS="ignore:ORJSONResponse is deprecated"

viz: install                   ## look at the pipelines in the browser
	$(QUIET) $(BIN)/kedro viz run

viz-build: install             ## the same as a static web site in build/
	$(QUIET) $(BIN)/kedro viz build --include-previews

image:                         ## build the container image karyoseg:$VARIANT (cpu, gpu or notebook)
	scripts/build_image.sh $(VARIANT)

repro: install                 ## bring the versioned result of the embedded sample up to date (dvc)
	PATH="$(abspath $(BIN)):$$PATH" dvc repro

model-push: install            ## release a model: make model-push MODEL=stardist VERSION=1.0
	$(BIN)/kedro model push "$(MODEL)" --version "$(VERSION)"

model-pull: install            ## fetch a model: make model-pull MODEL=stardist [REV=1.0]
	$(BIN)/kedro model pull "$(MODEL)" $(if $(REV),--rev "$(REV)")

docs: install-dev              ## build the documentation into site/
	$(BIN)/python scripts/write_parameter_reference.py
	$(BIN)/mkdocs build --strict

bench: install-dev             ## compare with plain stardist calls; BENCH="--quick" passes options
	$(BIN)/python -m benchmarks $(BENCH)

lock: $(VENV)/bin/uv           ## write the lock files anew
	for variant in cpu gpu; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
	  --generate-hashes --no-header --extra $$variant --extra track --extra int8 --extra cluster pyproject.toml -o requirements/$$variant.txt \
	  || exit 1; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header \
	  --extra cpu --extra dev -c requirements/cpu.txt pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header \
	  --group notebook -c requirements/cpu.txt -o requirements/notebook.txt
	echo uv | $(BIN)/uv pip compile --quiet --universal --no-emit-index-url --generate-hashes --no-header - \
	  -o requirements/bootstrap.txt

clean:                         ## remove what runs have made; keeps downloads and models
	rm -rf data/02_intermediate/* data/03_primary/* data/05_model_input/* data/07_model_output/* data/08_reporting/*
