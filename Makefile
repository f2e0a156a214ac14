# A thin face over meson: every target installs what is missing, builds, and does one thing.

BUILD     ?= build
SANITIZED ?= build-sanitized

SOAK_MINUTES ?= 60

.PHONY: all demo check check-sanitized soak run lint tidy format fuzz bench-relay bench-speculation install clean
.DEFAULT_GOAL := all

$(BUILD)/build.ninja:
	@.ci/install
	meson setup $(BUILD) --werror

$(SANITIZED)/build.ninja:
	@.ci/install
	meson setup $(SANITIZED) -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1

all: $(BUILD)/build.ninja
	@meson compile -C $(BUILD)

# Play a caller's call with and without speculation: make demo [CALL=orders-1] [ALL=1]
demo: $(BUILD)/build.ninja
	@meson compile -C $(BUILD)
	@python3 tests/demo/demo.py --build $(BUILD) $(if $(CALL),--call $(CALL)) $(if $(ALL),--all)

# All tests that need no special machine; the last line counts them.
check: $(BUILD)/build.ninja
	@meson compile -C $(BUILD)
	@.ci/test $(BUILD)

# The same tests, built with AddressSanitizer and UndefinedBehaviorSanitizer; lints look at sources only and run once, and
# the ten thousand conversations by chance run as shipped (some hundreds of them are among the unit tests).
# Warnings are errors in the shipped build: with sanitizers gcc warns of paths that their own checks make.
check-sanitized: $(SANITIZED)/build.ninja
	@meson compile -C $(SANITIZED)
	@.ci/test $(SANITIZED) --no-suite lint --no-suite chance --timeout-multiplier 4

# As many simulated calls as SOAK_MINUTES allow, the seeds drawn from the time, 200 calls in which the daemon is killed and
# worse, and all dialogues with and without speculation: make soak [SOAK_MINUTES=60] [DATA=../shared/data] [EQUALITY=--resume]
soak: $(BUILD)/build.ninja
	@meson compile -C $(BUILD)
	@$(BUILD)/tests/sim/sim --minutes $(SOAK_MINUTES)
	@python3 tests/chaos/chaos.py $(BUILD) . 200
	@python3 tests/equality/equality.py --build $(BUILD) --data $(or $(DATA),../shared/data) $(EQUALITY)

# The gateway in the foreground.
run: $(BUILD)/build.ninja
	@meson compile -C $(BUILD)
	$(BUILD)/daemon/backchanneld --config conf/backchannel.toml

lint: $(BUILD)/build.ninja
	@.ci/test $(BUILD) --suite lint

# clang-tidy with its analyzer: some minutes.
tidy: $(BUILD)/build.ninja
	@tests/lint/tidy.py . clang-tidy $(BUILD)

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

# 60 seconds of each fuzz target.
fuzz:
	@.ci/install
	@[ -f build-fuzz/build.ninja ] || CC=clang CXX=clang++ meson setup build-fuzz -Dfuzz=true -Db_lundef=false
	@meson compile -C build-fuzz
	@tests/fuzz/run.sh build-fuzz

# What forwarding a message costs beside other proxies: make bench-relay [QUICK=1] [BENCH="--rounds 9 ..."]
bench-relay: $(BUILD)/build.ninja
	@.ci/install .ci/bench-packages.txt
	@meson compile -C $(BUILD) backchanneld relaybench splice
	@python3 tests/bench/relay.py --build $(BUILD) $(if $(QUICK),--quick) $(BENCH)

# How much sooner a caller hears the answer: make bench-speculation [DATA=dir] [QUICK=1] [RESUME=1] [PROFILE=gpt-realtime]
#   [TOOLS=fast|typical|slow|uniform] [RULE=clause|word] [MODE=strict,...] [SEEDS=5] [SESSIONS=256] [SCALE=1] [GRID=1]
#   [PROVIDER=wss://... KEY=env:... MODEL=...] [EXPLAIN=dialogue:turn] [BENCH="--pause-rate 0.1 ..."]
bench-speculation: $(BUILD)/build.ninja
	@meson compile -C $(BUILD) backchanneld simprovider toolserver caller
	@python3 tests/bench/speculation/speculation.py --build $(BUILD) $(if $(DATA),--data $(DATA)) \
		$(if $(PROFILE),--profile $(PROFILE)) $(if $(TOOLS),--tools $(TOOLS)) $(if $(RULE),--rule $(RULE)) \
		$(if $(MODE),--mode "$(MODE)") $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SESSIONS),--sessions $(SESSIONS)) \
		$(if $(QUICK),--quick) $(if $(GRID),--grid) $(if $(RESUME),--resume) $(if $(SCALE),--scale $(SCALE)) \
		$(if $(PROVIDER),--provider "$(PROVIDER)" --key "$(KEY)" $(if $(MODEL),--model $(MODEL))) \
		$(if $(EXPLAIN),--explain $(EXPLAIN)) $(BENCH)

install: all
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(SANITIZED) build-fuzz
