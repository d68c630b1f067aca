# `make` alone says what there is. Every target fetches the Rust toolchain it needs, or says what to install.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo broker test test-containers test-compose fixtures soak fuzz mutants contracts schemas bench bench-kafka bench-latency bench-micro bench-ids fmt lint

RUN := .ci/toolchain
CARGO := $(RUN) cargo

# Options of `ledgerflow demo`, such as ARGS="--events 50000 --seed 7".
ARGS ?=
# Which tests, such as TESTS=posting (all of them without it).
TESTS ?=
# How long `make soak` goes on, at least.
MINUTES ?= 10
# What each lap of `make soak` does: kills of the real process at each fault point, seeds of the simulation.
ROUNDS ?= 10
SEEDS ?= 2000
# How long processes are killed in each run of the histories, at least; there are `ROUNDS` of them on each log.
HISTORY_SECONDS ?= 120
# Which fuzz targets, and how long each is run in `make soak`.
TARGETS ?=
FUZZ_MINUTES ?= 5
# What `make mutants` changes of all that it could: FILES="posting/src/room.rs schemas/src/money.rs", SHARD=3/64. A lap of
# soak takes one part of so many, chosen at random.
FILES ?=
SHARD ?=
SHARDS ?= 64
# Which suites `make soak` runs (all of them without it).
SUITES ?=
# Which micro-benchmarks, such as BENCH=posting (all of them without it).
BENCH ?=
# Size of `make bench`.
EVENTS ?= 2000000
ACCOUNTS ?= 1000000
# Of `make bench-kafka`: partitions of the internal topics; events a second, for latency in place of throughput.
PARTITIONS ?= 8
RATE ?=
# Ids of `make bench-ids`.
IDS ?= 2000000

help: ## Say what there is
	@echo 'ledgerflow: events in, double-entry journal, balances, days and reconciled bills out.'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | column -t -s'|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1  \2/p' Makefile

demo: ## Build, run a day of a payment company, show what came out (ARGS="--events 50000")
	@$(CARGO) build --locked --profile fast -p ledgerflow
	@target=$${CARGO_TARGET_DIR:-target}; "$$target/fast/ledgerflow" demo $(ARGS)

broker: ## Run a Kafka broker for trying things out, on localhost:9092 until Ctrl-C
	@.ci/native; tests/kafka/local

test: ## Run all tests (TESTS=name for some)
	@.ci/native; mkdir -p target/ci; result=0; \
	$(CARGO) test --locked --profile fast --workspace --no-fail-fast -- $(TESTS) 2>&1 | tee target/ci/test.log \
		|| result=$$?; \
	.ci/summary target/ci/test.log || result=1; exit $$result

# Tests that talk to Kafka or Redis.
ON_SERVERS := kafka:: kafka_counts:: kafka_demo:: kafka_doctor:: kafka_faults:: kafka_http:: kafka_late_end:: kafka_log:: kafka_pipeline:: kafka_rights:: consumers:: doctor:: metrics:: mirror:: traces::on_kafka

test-containers: ## Run the tests on Kafka and Redis with both in containers (TESTS=mirror:: for some)
	@mkdir -p target/ci; result=0; \
	LEDGERFLOW_TEST_BACKEND=docker $(CARGO) test --locked --profile fast --workspace --no-fail-fast --test it \
		--features ledgerflow-tests/containers -- $(or $(TESTS),$(ON_SERVERS)) 2>&1 | tee target/ci/containers.log \
		|| result=$$?; \
	.ci/summary target/ci/containers.log || result=1; exit $$result

# TEST_COMPOSE_FILES names further compose files, such as one with another network.
test-compose: ## Bring up the stack of compose/kafka.yml on a container engine, lose a container, check the books
	@TEST_COMPOSE=1 $(CARGO) test --locked --profile fast --workspace -- compose_stack:: --nocapture

# Tests of the modules `simulation`, `losses` and `poison` read SEED and SEEDS, those of `kill`, `kafka` and `power_cuts` SEED and
# ROUNDS, those of `histories` these two and HISTORY_SECONDS, those of `kafka_late_end`, `kafka_faults`, `kafka_rights`,
# `kafka_cluster` and `mirror` ROUNDS; without them they do little, and always the same.
# A failure prints the line that does it again. SUITES="simulation:: fuzz" for some of them.
soak: ## Simulate, kill, check what clients saw, fill a disk, fail a broker's network, fuzz, mutate, with new seeds; write down what was shown (MINUTES=10)
	@.ci/native
	@SEEDS=$(SEEDS) ROUNDS=$(ROUNDS) HISTORY_SECONDS=$(HISTORY_SECONDS) FUZZ_MINUTES=$(FUZZ_MINUTES) SHARDS=$(SHARDS) .ci/soak $(MINUTES) $(SUITES)

# A tool that is not there (exit code 3) is told and left out; everything else counts.
skipped = if [ $$result -eq 3 ]; then echo "$(1): skipped, it takes $(2)"; else exit $$result; fi

fuzz: ## Fuzz what posting decides (MINUTES=10 TARGETS=decide_bytes)
	@result=0; .ci/fuzz $(MINUTES) $(TARGETS) || result=$$?; $(call skipped,fuzz,a C++ compiler)

mutants: ## Change the ledger's core place by place: its tests notice (FILES=posting/src/room.rs SHARD=0/64)
	@result=0; $(RUN) .ci/mutants $(FILES) $(if $(SHARD),--shard $(SHARD)) || result=$$?; \
		$(call skipped,mutants,cargo install cargo-mutants --locked)

contracts: ## Hold the contracts against tools of others: AsyncAPI's parser, Schemathesis (EXAMPLES=100)
	@$(CARGO) build --locked --profile fast -p ledgerflow
	@result=0; tests/contracts/asyncapi || result=$$?; $(call skipped,contracts: asyncapi,Node.js with npm)
	@target=$${CARGO_TARGET_DIR:-target}; result=0; \
	tests/contracts/schemathesis "$$target/fast/ledgerflow" $(EXAMPLES) || result=$$?; \
	$(call skipped,contracts: schemathesis,Python with venv)

schemas: ## Write everything that is generated: protobuf code, references
	@UPDATE=1 $(CARGO) test --profile fast --workspace -- is_current

fixtures: ## Keep what this version writes, once, when a format has changed (tests/fixtures/formats)
	@FIXTURES=1 $(CARGO) test --locked --profile fast -p ledgerflow --test it -- formats::make:: --nocapture

bench: ## Measure the whole pipeline (EVENTS=2000000 ACCOUNTS=1000000)
	@$(CARGO) build --locked --release -p ledgerflow
	@target=$${CARGO_TARGET_DIR:-target}; rm -rf "$$target/bench-data"; \
		"$$target/release/ledgerflow" bench pipeline --log embedded --dir "$$target/bench-data" \
		--events $(EVENTS) --accounts $(ACCOUNTS) --duplicates 5 --json

bench-kafka: ## The same on Kafka, beside a broker of its own (EVENTS=2000000 ACCOUNTS=1000000 PARTITIONS=8 RATE=50000)
	@.ci/native
	@$(CARGO) build --locked --release -p ledgerflow --features kafka
	@target=$${CARGO_TARGET_DIR:-target}; rm -rf "$$target/bench-data"; \
		tests/kafka/with-broker "$$target/release/ledgerflow" bench pipeline --log kafka --dir "$$target/bench-data" \
		$(if $(RATE),--rate $(RATE) --seconds 15,--events $(EVENTS)) --accounts $(ACCOUNTS) --partitions $(PARTITIONS) \
		--duplicates 5 --json

# The committed files are of one machine: commit them together, with its name in BENCHMARKS.md.
bench-latency: ## Measure latency at rising rates on both logs, and draw docs/benchmarks/latency.svg
	@.ci/native
	@$(CARGO) build --locked --release -p ledgerflow --features kafka
	@mkdir -p docs/benchmarks; target=$${CARGO_TARGET_DIR:-target}; binary="$$target/release/ledgerflow"; \
		tests/bench/latency embedded "$$binary" "$$target/bench-data" 10000 20000 40000 60000 80000 100000 120000 140000 \
			> "$$target/latency-embedded.jsonl" && \
		tests/kafka/with-broker tests/bench/latency kafka "$$binary" "$$target/bench-data" 5000 10000 20000 30000 40000 50000 \
			> "$$target/latency-kafka.jsonl" && \
		cp "$$target"/latency-*.jsonl docs/benchmarks/ && \
		"$$binary" bench plot docs/benchmarks/latency-*.jsonl > docs/benchmarks/latency.svg

bench-micro: ## Measure decode, decide and encode alone (BENCH=posting for some)
	@$(CARGO) bench --locked --workspace --bench micro -- $(BENCH)

bench-ids: ## Measure ids of events at scale (IDS=100000000, which takes 7 GB of disk; IDS_DIR=where)
	@IDS=$(IDS) $(CARGO) bench --locked -p ledgerflow-posting --bench ids

fmt: ## Format
	@$(CARGO) fmt --all

lint: ## Lint; warnings are errors
	@.ci/native
	@$(CARGO) clippy --locked --profile fast --workspace --all-targets -- -D warnings
	@# The program as `make demo` builds it: without Kafka.
	@$(CARGO) clippy --locked --profile fast -p ledgerflow -- -D warnings
