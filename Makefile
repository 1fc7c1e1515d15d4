# The lab's commands. Each sets up what it needs: on a fresh clone `make demo` and `make test` are enough.

PYTHON ?= python3
TRAIN_CONFIG ?= train
RUN ?=
QUANT ?= Q5_K_M
WORKERS ?= 2
CHATGPT ?= data/chatgpt
TO ?= prompt_completion

BIN := .venv/bin
OF_RUN := $(if $(RUN),--run $(RUN))
# Tiny models are up to five times slower when several threads wait for a busy core.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help venv install convert prepare train eval eval-baseline compare merge gguf publish-hf demo doctor check static format test test-quick test-gpu clean

help: ## Say what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

venv: .venv/.made ## Make .venv

.venv/.made:
	@PYTHON=$(PYTHON) scripts/make-venv.sh

install: .venv/.installed ## Install Luthier and its tools into .venv (TORCH_INDEX=URL for another build of torch)

.venv/.installed: .venv/.made pyproject.toml constraints.txt scripts/install.sh
	@scripts/install.sh

convert: install ## Convert a ChatGPT export (CHATGPT=FILE, data/chatgpt; TO=messages) to data/chatgpt.jsonl
	@if [ "$(CHATGPT)" = data/chatgpt ] && [ ! -e data/chatgpt ]; then \
	  echo "There is no ChatGPT export in data/chatgpt, so there is nothing to convert."; \
	  echo "Put the zip that ChatGPT sent you (Settings, Data controls, Export) there, or name it:"; \
	  echo "  make convert CHATGPT=FILE"; \
	  echo "Without an export, go on: make train uses the rows that are in data."; \
	else \
	  $(BIN)/luthier data convert "$(CHATGPT)" --to $(TO) --out data/chatgpt.jsonl --overwrite; \
	fi

prepare: install ## Prepare the tokens of the recipe TRAIN_CONFIG (train)
	$(BIN)/luthier prepare $(TRAIN_CONFIG)

train: install ## Train in a new run (TRAIN_CONFIG=train: the recipe in configs)
	$(BIN)/luthier train $(TRAIN_CONFIG)

eval: install ## Judge the newest finished run (or RUN=DIR) on the held-out rows
	$(BIN)/luthier eval eval $(OF_RUN)

eval-baseline: install ## Judge its base model on the same rows
	$(BIN)/luthier eval eval_baseline $(OF_RUN)

compare: install ## Compare the two, paired row by row (RUN=DIR)
	$(BIN)/luthier compare $(RUN)

merge: install ## Merge the adapter into its base, with proof (RUN=DIR)
	$(BIN)/luthier merge $(OF_RUN)

gguf: install ## Write the merged model as a GGUF file, with proof (QUANT=Q5_K_M, RUN=DIR); fetches llama.cpp once
	@$(BIN)/luthier env make gguf
	$(BIN)/luthier export gguf --quant $(QUANT) $(OF_RUN)

publish-hf: export HF_REPO_ID := $(HF_REPO_ID)
publish-hf: install ## Publish the newest run (or RUN=DIR) on the Hugging Face hub, private (reads HF_TOKEN, HF_REPO_ID)
	@$(BIN)/luthier publish $(OF_RUN) --repo "$$HF_REPO_ID" --yes

demo: install ## The whole line on the embedded base: train, judge, compare
	$(BIN)/luthier demo

doctor: install ## Say what this machine has and lacks
	$(BIN)/luthier doctor

check: static test-quick ## Style, types, layers and the quick tests

static: install ## Style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Put the code in the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install ## Every test that this machine can run
	$(PYTEST)

test-quick: install ## The tests that take little time, in under a minute and a half
	$(PYTEST) -m "not slow and not oracle and not whole and not gpu"

test-gpu: install ## The tests that need a CUDA device
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m gpu

clean: ## Remove caches and build leftovers; runs, prepared tokens and .venv stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
