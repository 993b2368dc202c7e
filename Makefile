# Two commands do everything on a fresh machine with Python 3.10+: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUESTION ?= A farmer has 3 fields with 12 cows each. He sells 9 cows. How many cows are left?

.PHONY: demo test test-llamacpp test-optimum test-tasks test-npu test-server lint bench setup setup-dev clean

setup: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --editable .
	touch $@

setup-dev: $(VENV)/.installed-dev
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -qq --editable '.[hub]' $$($(BIN)/python tools/dev_requirements.py)
	touch $@

demo: setup
	$(BIN)/edgetts ask "$(QUESTION) Think step by step and end with 'The answer is X'." --samples 5 --deadline 20 --show-samples

test: setup-dev
	$(BIN)/python -m pytest

# llama-cpp-python is built from source, which takes minutes and a compiler: in an environment of its own.
test-llamacpp: .venv-llamacpp/.installed
	.venv-llamacpp/bin/python -m pytest tests/test_llamacpp*.py tests/test_to_gguf*.py tests/test_cli_export_gguf.py tests/test_loading.py tests/test_drafter_search.py
.venv-llamacpp/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-llamacpp
	.venv-llamacpp/bin/python -m pip install -qq --editable '.[llamacpp]'
	.venv-llamacpp/bin/python -m pip install -qq $$(.venv-llamacpp/bin/python tools/dev_requirements.py)
	touch $@

# optimum needs older libraries than edgetts[hub], and a torch: a build for CPUs, where one is at hand, has this name.
TORCH ?= torch==2.13.0
test-optimum: .venv-optimum/.installed
	.venv-optimum/bin/python -m pytest tests/test_optimum.py
.venv-optimum/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-optimum
	.venv-optimum/bin/python -m pip install -qq '$(TORCH)'
	.venv-optimum/bin/python -m pip install -qq --editable '.[optimum]' $$(.venv-optimum/bin/python tools/dev_requirements.py)
	.venv-optimum/bin/python -c 'from edgetts.export.optimum.process import need_optimum as need; need()'
	touch $@

# reasoning-gym brings a dozen packages, one of which may be built from source.
test-tasks: .venv-tasks/.installed
	.venv-tasks/bin/python -m pytest tests/test_evaluation_tasks.py tests/test_evaluation.py tests/test_cli_eval.py
.venv-tasks/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-tasks
	.venv-tasks/bin/python -m pip install -qq --editable '.[tasks]'
	.venv-tasks/bin/python -m pip install -qq $$(.venv-tasks/bin/python tools/dev_requirements.py)
	touch $@

# onnxruntime-qnn carries Qualcomm's compiler and its emulator, a quarter of a gigabyte, and wants Python 3.11.
test-npu: .venv-npu/.installed
	.venv-npu/bin/python -m pytest tests/test_npu*.py tests/test_static*.py tests/test_cli_npu.py tests/test_cli_doctor.py
.venv-npu/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-npu
	.venv-npu/bin/python -m pip install -qq --editable '.[npu]'
	.venv-npu/bin/python -m pip install -qq $$(.venv-npu/bin/python tools/dev_requirements.py)
	.venv-npu/bin/python -c 'import onnxruntime_qnn'
	touch $@

# The server's own schema drives a fuzz of it; schemathesis brings two dozen packages.
test-server: .venv-server/.installed
	EDGETTS_FUZZ_EXAMPLES=100 .venv-server/bin/python -m pytest tests/test_server*.py
.venv-server/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-server
	.venv-server/bin/python -m pip install -qq --editable '.[server,structure,search]' 'schemathesis>=4.32'
	.venv-server/bin/python -m pip install -qq $$(.venv-server/bin/python tools/dev_requirements.py)
	touch $@

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_types.py

bench: setup-dev
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/prefill.py

clean:
	rm -rf $(VENV) .venv-llamacpp .venv-optimum .venv-tasks .venv-npu .venv-server build dist *.egg-info
