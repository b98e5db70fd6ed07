# `make demo` runs the whole retrain flow on the starter set; `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test install install-dev

demo: install
	$(BIN)/tenuto retrain

test: install-dev
	$(BIN)/python -m pytest

install: .venv/.installed
install-dev: .venv/.installed-dev

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.installed: .venv/bin/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable .
	touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	touch .venv/.installed $@
