# Two commands do everything, installation included: make demo, make test.
.PHONY: setup demo test lint soak bench docs lock clean
unexport PYTHONDONTWRITEBYTECODE  # the suite starts thousands of Pythons, which would compile all that they import anew
PYTHON ?= python3
UV = .venv/bin/uv
BIN = .venv/bin
WORKERS = $$(( $$(nproc) * 3 / 2 ))  # of the suite: many tests wait

setup: .venv/.ready

$(UV):
	@$(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet 'uv>=0.9,<1'

.venv/.ready: pyproject.toml uv.lock hatch_build.py $(wildcard native/*) | $(UV)
	@UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --quiet --locked --inexact --all-extras --no-extra clip --reinstall-package custodes
	@touch $@

demo: setup
	@rm -rf demo-run
	@$(BIN)/custodes demo --dir demo-run
	@echo && $(BIN)/python -m custodes.demo.tour --dir demo-run/gateway

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

test: lint
	@tests/postgres/install.sh
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup

soak: setup
	@tests/postgres/install.sh
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m soak

bench: setup
	@$(BIN)/python bench/run.py

docs: setup
	@$(BIN)/python docs/generate.py

lock: $(UV)
	@UV_PROJECT_ENVIRONMENT=.venv $(UV) lock

clean:
	rm -rf .venv .venv-* demo-run bench/work .pytest_cache .mypy_cache .ruff_cache
