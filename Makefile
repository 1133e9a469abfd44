# Songlo's front door. `make help` lists the targets; CI calls the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-dev
INSTALLED_DEMO := $(VENV)/.installed-demo
CODE := contract gateway collector fleet simulator songlo firmware_config dashboards bench tests
# Tests that wait for paced lines, timeouts and clocks and compute next to nothing: several at once
# keep no processor busy, and what keeps it busy would make them late. So they run by themselves.
PACED := $(addprefix tests/,api/test_api_auth.py commissioning compose/test_broker_access.py \
  gateway_delivery/test_uplink.py gateway_iec gateway_lines multi_drop \
  simulator/test_simulator_rtu.py)

.DEFAULT_GOAL := help
.PHONY: help demo test soak soak-short simulate check audit bench deb format clean

help: ## list what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED_DEMO) ## run the whole system on a simulated station; console on http://127.0.0.1:8000
	$(BIN)/songlo demo $(DEMO)

test: $(INSTALLED) ## install what the tests need (as root, on Debian) and run all of them
	scripts/test-dependencies
ifdef TESTS
	$(BIN)/pytest $(TESTS)
else
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(PACED)) tests
	$(BIN)/pytest -n 4 $(PACED)
endif

soak: $(INSTALLED) ## the long tests that `make test` leaves out; three quarters of an hour on two cores
	scripts/test-dependencies
	@echo "This takes about three quarters of an hour; docs/reliability.md has the parts." >&2
	$(BIN)/pytest -m soak -s $(if $(TESTS),$(TESTS),tests/soak)

soak-short: $(INSTALLED) ## each of them, with fewer kills and a smaller storm; under half an hour
	scripts/test-dependencies
	SONGLO_KILL_CYCLES=100 SONGLO_POWER_CUTS=30 \
	  $(BIN)/pytest -m soak -s -k "not five" tests/soak

simulate: $(INSTALLED) ## SEEDS=n: that many simulated fleets under faults; SEED=n: one of them again
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) \
	  $(if $(FIRST),--first $(FIRST)) $(if $(BUG),--bug $(BUG)) $(if $(REPORT),--report $(REPORT))

check: $(INSTALLED) ## lint, format, types, architecture, licences; needs no network
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python scripts/check-dependencies

audit: $(INSTALLED) ## ask OSV for known vulnerabilities of what is pinned; exit 3 (make: Error 3) if it could not look
	$(BIN)/python scripts/audit-dependencies

bench: $(INSTALLED) ## measure; one JSON object per figure on standard output
	@scripts/test-dependencies >&2
	@$(BIN)/python -m bench $(BENCH)

deb: $(VENV)/bin/python ## make the gateway's Debian packages, for amd64 and arm64, in dist/
	@$(BIN)/python scripts/make-deb $(DEB)

format: $(INSTALLED) ## rewrite the code in the project's format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## remove the environment and everything generated
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist var

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Songlo needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv is missing. On Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(INSTALLED_DEMO): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(INSTALLED): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(INSTALLED_DEMO)
