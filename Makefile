# Run `make` for a list of the targets.

.PHONY: help
help:
	@echo "make demo              rotate secrets on a real control plane while applications log in; about a minute once built"
	@echo "make fmt               format the code"
	@echo "make test              check formatting and lints, build the documentation, run all tests, make torture for three minutes and a small make bench"
	@echo "make test-consumers    test examples/consumers in Go, Node, Python and Rust"
	@echo "make e2e               install the chart and run applications in real Pods on a kubelet; needs root, ten minutes"
	@echo "make torture           inject faults during rotations and count failed logins; ten minutes"
	@echo "make model             run the model check with wider bounds than make test does; minutes"
	@echo "make fuzz              run each fuzz target for a minute; see fuzz/README.md"
	@echo "make bench-micro       measure the time of a decision, of schedules and of rendering a Secret"
	@echo "make bench             measure time, memory, CPU and requests with up to 10,000 resources; about 25 minutes"
	@echo "make bench-storm       measure 10,000 rotations that are due within a minute, under a rate limit"
	@echo "make bench-noise       measure the memory that Secrets and Pods of others cost the operator"
	@echo "make bench-failover    measure how long no replica acts after the leader is killed or stopped"
	@echo "make crds              generate crds/ from the Rust types"
	@echo "make reasons           generate docs/reasons.md from the enum of reasons"
	@echo "make large-installations  calculate docs/performance/large-installations.md from the results of make bench"
	@echo "make manifests         generate the chart's values.yaml and README, and deploy/"
	@echo "make deny              check the licenses, sources and TLS stacks of the linked crates"

# Runs the operator on a real control plane with a simulated Auth0, while applications log in.
#
#   make demo                    about a minute once built
#   make demo KEEP=1             keep everything running after the summary, until Ctrl-C
#   make demo ARGS='--seed 7'    see `make demo ARGS=--help`
.PHONY: demo
demo:
	@sh testing/scenarios/preflight.sh
	cargo build --locked -p auth0-rotator -p scenarios --bin auth0-rotator --bin demo
	@"$${CARGO_TARGET_DIR:-target}/debug/demo" $(if $(KEEP),--keep) $(ARGS)

# Kills and stops the operator, restarts the API server, makes Auth0 fail and tampers with objects,
# while applications log in: see docs/torture.md.
#
#   make torture
#   make torture ARGS='--duration 1h --clients 50 --seed 7'    see `make torture ARGS=--help`
.PHONY: torture
torture:
	@sh testing/scenarios/preflight.sh
	cargo build --locked -p auth0-rotator -p scenarios --bin auth0-rotator --bin torture
	@"$${CARGO_TARGET_DIR:-target}/debug/torture" $(ARGS)

# Groups imports by crate, for which stable rustfmt needs RUSTC_BOOTSTRAP.
FMT = RUSTC_BOOTSTRAP=1 cargo fmt --all -- --config imports_granularity=Crate,group_imports=StdExternalCrate
.PHONY: fmt
fmt:
	$(FMT)

# Builds the control plane before the tests, which hide its progress and find it in the cache. Runs
# more tests in parallel than there are cores, because most of them wait for processes.
.PHONY: test
test:
	@sh testing/scenarios/preflight.sh test
	@sh tests/monitoring/preflight.sh 2>/dev/null || sh tests/monitoring/install.sh
	@sh tests/monitoring/preflight.sh
	$(FMT) --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	cargo run --locked -q -p local-cluster -- build --with kubectl,helm
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} cargo test --locked --workspace --all-features
	cargo build --locked -p auth0-rotator -p scenarios --bin auth0-rotator --bin torture --bin bench
	"$${CARGO_TARGET_DIR:-target}/debug/torture" --duration 3m --clients 12 --seed 1
	"$${CARGO_TARGET_DIR:-target}/debug/bench" --quick --sizes 20 --due 20

# Tests each example application with the tools of its language and its locked dependencies. The
# Python environment and the Rust dependencies are kept in target/.
.PHONY: test-consumers
test-consumers: consumers
	cd examples/consumers/go && test -z "$$(gofmt -l .)" && go vet ./... && go test ./...
	cd examples/consumers/node && npm test
	cd examples/consumers/python && "$(PYTHON)" -B -m unittest
	cd examples/consumers/rust && cargo fmt --check \
		&& cargo clippy $(CONSUMER_RUST) --all-targets -- -D warnings && cargo test $(CONSUMER_RUST)

# Installs the dependencies of the examples, and compiles target/consumers/go/consumer and
# target/debug/consumer.
CONSUMERS = $(CURDIR)/target/consumers
CONSUMER_RUST = --locked --target-dir "$(CURDIR)/target"
PYTHON = $(CONSUMERS)/python/bin/python
.PHONY: consumers
consumers:
	cd examples/consumers/go && CGO_ENABLED=0 go build -trimpath -o "$(CONSUMERS)/go/consumer" .
	cd examples/consumers/node && npm ci --ignore-scripts --no-audit --no-fund
	[ -x "$(PYTHON)" ] || python3 -m venv "$(CONSUMERS)/python"
	"$(PYTHON)" -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement examples/consumers/python/requirements.txt
	cd examples/consumers/rust && cargo build $(CONSUMER_RUST)

# `make test` runs the same check with narrower bounds: see docs/model-check.md.
.PHONY: model
model:
	MODEL_DEEP=1 cargo test --locked --release -p rotation --test model -- --nocapture --test-threads 1

# Installs the chart and the operator's image on a kubelet and containerd, which run in their own
# Linux namespaces, while applications in Pods log in. Needs root. Everything is downloaded and built
# first, because the namespaces have no access to the network.
#
#   make e2e
#   make e2e KEEP=1              keep everything running after the summary, until Ctrl-C
#   make e2e ARGS='--staging 100s'   see `make e2e ARGS=--help`
.PHONY: e2e
e2e:
	@sh testing/scenarios/preflight.sh e2e
	$(MAKE) --no-print-directory consumers
	cargo fetch --locked
	cargo run --locked -q -p local-cluster -- build \
		--with kubectl,kube-controller-manager,kube-scheduler,kubelet,helm
	cargo build --locked -p scenarios --bin e2e
	@"$${CARGO_TARGET_DIR:-target}/debug/e2e" cleanup-check
	@"$${CARGO_TARGET_DIR:-target}/debug/e2e" $(if $(KEEP),--keep) $(ARGS)

# Fuzzes the parsers of external input: see fuzz/README.md.
#
#   make fuzz SECONDS=600 TARGETS='cron headers'
FUZZ = cron durations templates lists responses headers
.PHONY: fuzz
fuzz:
	for target in $(or $(TARGETS),$(FUZZ)); do \
		mkdir -p "fuzz/corpus/$$target" && RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" \
			"fuzz/corpus/$$target" "fuzz/seeds/$$target" -- -dict="fuzz/dictionaries/$$target.dict" \
			-max_total_time=$(or $(SECONDS),60) -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=64 \
			-print_final_stats=1 || exit 1; \
	done

# Measures the operator as it ships, with several numbers of resources: see docs/performance/README.md.
#
#   make bench                                   everything; writes docs/performance/, about 25 minutes
#   make bench ARGS='--quick --sizes 500,2000'   less, written to target/bench; see `make bench ARGS=--help`
#   make bench ESO_BIN=/path/to/external-secrets ESO_CRDS=/path/to/bundle.yaml
.PHONY: bench
bench:
	@sh testing/scenarios/preflight.sh
	cargo build --release --locked -p auth0-rotator
	cargo build --profile bench --locked -p scenarios --bin bench
	@$(if $(ESO_BIN),ESO_BIN="$(ESO_BIN)" ESO_CRDS="$(ESO_CRDS)") \
		"$${CARGO_TARGET_DIR:-target}/release/bench" $(or $(ARGS),--output docs/performance)
	$(if $(ARGS),,cargo run --locked -q -p xtask -- large-installations)

# Times of single functions with criterion; no control plane. An argument selects benchmarks.
#
#   make bench-micro
#   make bench-micro ARGS=schedule
.PHONY: bench-micro
bench-micro:
	cargo bench --locked -p auth0-rotator --features fuzzing --bench micro -- $(ARGS)

#   make bench-storm                  10,000 resources, five minutes of the storm, a quarter of an hour in all
#   make bench-storm ALL=1            until the last rotation, half an hour in all
#   make bench-storm RESOURCES=2000   fewer resources
.PHONY: bench-storm
bench-storm:
	AUTH0_ROTATOR_RESOURCES=$(or $(RESOURCES),10000) $(if $(ALL),AUTH0_ROTATOR_ALL=1) \
		cargo bench --locked -p auth0-rotator --bench storm

#   make bench-noise                           20,000 Secrets and 10,000 Pods, minutes once built
#   make bench-noise SECRETS=2000 PODS=1000    fewer of them
.PHONY: bench-noise
bench-noise:
	AUTH0_ROTATOR_SECRETS=$(or $(SECRETS),20000) AUTH0_ROTATOR_PODS=$(or $(PODS),10000) \
		cargo bench --locked -p auth0-rotator --bench noise

#   make bench-failover           kill and stop the leader 20 times each, about ten minutes once built
#   make bench-failover TIMES=5   5 times each
.PHONY: bench-failover
bench-failover:
	AUTH0_ROTATOR_TIMES=$(or $(TIMES),20) cargo bench --locked -p auth0-rotator --bench failover

# Generates crds/ from the types in src/api. Run `make manifests` afterwards, which copies it.
.PHONY: crds
crds:
	cargo run --locked -q -p xtask -- crds

# Generates the table of reasons in docs/ from the enum in crates/rotation.
.PHONY: reasons
reasons:
	cargo run --locked -q -p xtask -- reasons

# Calculates the table in docs/performance/large-installations.md from docs/performance/results.json, which
# make bench writes.
.PHONY: large-installations
large-installations:
	cargo run --locked -q -p xtask -- large-installations

# Copies crds/ into the chart, generates its values.yaml and README from values.schema.json, and
# renders deploy/ from it. The first run builds Helm, which takes minutes.
.PHONY: manifests
manifests:
	cargo run --locked -q -p xtask -- manifests

# The first run builds cargo-deny into the cache that also holds the control plane.
TOOLS = $${AUTH0_ROTATOR_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/auth0-rotator}/tools
.PHONY: deny
deny:
	cargo install --quiet --locked --root "$(TOOLS)" cargo-deny@0.20.2
	"$(TOOLS)/bin/cargo-deny" --locked check bans licenses sources
