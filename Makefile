# Everything here only calls a small script; run the scripts by hand to see or change what they do.
#   make run PORT=4434 ADMIN=localhost:8081      other addresses
#   make test SUITE="unit mem"                   some suites only (see tests/support/run.py)
#   make interop CLIENTS="chromium aioquic"      some clients only (see tests/interop/run.py)
#   make bench BENCH="--quick --only echo"       a part of it; --path: 1 GB over 50 ms with loss

PORT  ?= 4433
ADMIN ?= localhost:8080
PAGE  ?= 8000
SUITE ?=
BENCH ?=
CLIENTS ?=

# Debian's own, which sees the modules that Debian's packages bring.
python = /usr/bin/python3
setup = bash tests/support/setup.sh
build = bash tests/support/build.sh

examples = example-redis example-postgresql example-terminal

.DEFAULT_GOAL := help
.PHONY: help run $(examples) build test soak chaos interop services examples bench newest lint docs format clean

help: ## show this
	@echo 'Sluice, a reverse proxy for WebTransport'
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 27

run: ## install what is needed, build, and start the demo (Ctrl-C ends it)
	@$(setup) build
	@$(build) build
	@exec $(python) tests/support/demo.py --port $(PORT) --admin $(ADMIN)

example-redis: ## a page that talks to Redis, through a bridge (Ctrl-C ends it; PAGE=8000: its port)
example-postgresql: ## a page that asks PostgreSQL
example-terminal: ## a terminal in a page: a shell of yours
$(examples):
	@$(setup) $@
	@$(build) build
	@exec $(python) examples/run.py $(@:example-%=%) --port $(PORT) --page $(PAGE)

build: ## install what is needed and build into build/
	@$(setup) build
	@$(build) build

test: ## run every test once (under 15 minutes)
	@$(setup) test
	@$(python) tests/support/run.py $(SUITE)

soak: ## the long loops: many seeds and repeats, sanitizers, fuzzing, the container image
	@$(setup) soak
	@$(python) tests/support/run.py --soak $(SUITE)

chaos: ## reloads, drains, killed applications and balancing under load, at full length
	@$(setup) test
	@ROUNDS=$${ROUNDS:-50} $(python) tests/support/run.py chaos

interop: ## run other people's WebTransport clients against Sluice: who can do what
	@$(setup) interop
	@$(build) build
	@sh tests/wire/setup.sh build/wire
	@build/wire/venv/bin/python tests/interop/run.py $(CLIENTS)

services: ## real services behind Sluice: Redis, PostgreSQL, OpenSSH, mosquitto, nginx, HAProxy, DNS
	@$(setup) services
	@$(python) tests/support/run.py services

examples: ## test the examples in both browsers
	@$(setup) examples
	@$(python) tests/support/run.py examples

bench: ## measure Sluice against the front alone (a few minutes; close other programs)
	@$(setup) bench
	@CI= TARGETS="proxy/sluice bench" $(build) build-bench --buildtype=release
	@$(python) tests/bench/bench.py $(BENCH)

newest: ## build and test with the newest libraries that Debian has, in a chroot (root)
	@$(setup) newest
	@bash tests/support/newest.sh $(SUITE)

lint: ## check the architecture and the formatting
	@$(setup) lint
	@$(python) tests/lint/lint.py

docs: ## write the reference of the configuration anew
	@$(setup) test
	@TARGETS=tests/support/config_docs $(build) build
	@$(python) tests/unit/test_config_docs.py --write build/tests/support/config_docs

format: ## format the C code
	@$(setup) lint
	@git ls-files '*.c' '*.h' | xargs -r clang-format -i

clean: ## remove what was built
	rm -rf build build-* tests/wire/node_modules .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
