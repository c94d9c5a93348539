# Run `make` to see what there is.

.PHONY: help
help:
	@echo "make demo     rotations on a real control plane while applications log in, about a minute once built"
	@echo "make test     formatting, lints, documentation, all tests, three minutes of make torture"
	@echo "make test-consumers  the tests of examples/consumers, in Go, Node, Python and Rust"
	@echo "make e2e      real pods: the chart, the operator's image and applications on a kubelet, as root, ten minutes"
	@echo "make torture  rotations while everything fails and logins are counted, ten minutes"
	@echo "make model    the model check with wider bounds, minutes"
	@echo "make fuzz     each fuzz target for a minute; fuzz/README.md says what they try"
	@echo "make bench    figures: latency of a rotation, calls, memory"
	@echo "make bench-budget  how a tenant's rate limit is used when 10,000 resources are due at once"
	@echo "make bench-failover  how long nobody acts when the leader is killed, or stopped"
	@echo "make crds     write crds/ anew from the Rust types"
	@echo "make manifests  write deploy/, and the chart's values and README, anew from the chart"
	@echo "make deny     licences, sources and TLS stacks of what is linked"

# A real control plane, a simulated Auth0, the operator, and applications that log in all the time.
#
#   make demo                    about a minute, once everything is built
#   make demo KEEP=1             leaves everything running after the summary, until Ctrl-C
#   make demo ARGS='--seed 7'    see `make demo ARGS=--help`
.PHONY: demo
demo:
	@sh crates/demo/preflight.sh
	cargo build --locked -p auth0-rotator -p demo
	@"$${CARGO_TARGET_DIR:-target}/debug/demo" $(if $(KEEP),--keep) $(ARGS)

# The operator is killed and stopped, the API server restarts, Auth0 fails, people meddle, and
# applications log in all the time: see docs/torture.md.
#
#   make torture
#   make torture ARGS='--duration 1h --clients 50 --seed 7'    see `make torture ARGS=--help`
.PHONY: torture
torture:
	@sh crates/demo/preflight.sh
	cargo build --locked -p auth0-rotator -p torture
	@"$${CARGO_TARGET_DIR:-target}/debug/torture" $(ARGS)

# The control plane is built first, so that its progress is seen; tests find it in the cache. They
# mostly wait for real processes: more of them at a time than there are cores.
.PHONY: test
test:
	@sh crates/demo/preflight.sh
	@sh tests/monitoring/preflight.sh 2>/dev/null || sh tests/monitoring/install.sh
	@sh tests/monitoring/preflight.sh
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	cargo run --locked -q -p local-cluster -- build --with kubectl,helm
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} cargo test --locked --workspace --all-features
	cargo build --locked -p auth0-rotator -p torture
	"$${CARGO_TARGET_DIR:-target}/debug/torture" --duration 3m --clients 12 --seed 1

# The examples of applications: each by its own language's tools, with what its lock file names.
# Python's environment stays in the cache, and Rust's dependencies in target/.
.PHONY: test-consumers
test-consumers: consumers
	cd examples/consumers/go && test -z "$$(gofmt -l .)" && go vet ./... && go test ./...
	cd examples/consumers/node && npm test
	cd examples/consumers/python && "$(PYTHON)" -B -m unittest
	cd examples/consumers/rust && cargo fmt --check \
		&& cargo clippy $(CONSUMER_RUST) --all-targets -- -D warnings && cargo test $(CONSUMER_RUST)

# What they need, and the two that are compiled: target/consumers/go/consumer, target/debug/consumer.
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

# `make test` has the same with narrower bounds. docs/model-check.md says what is checked.
.PHONY: model
model:
	MODEL_DEEP=1 cargo test --locked --release -p rotation --test model -- --nocapture --test-threads 1

# The chart with the operator's image, on a kubelet and containerd in namespaces of their own, while
# applications in pods log in. As root. From in there no network is reached: what is downloaded or
# built is so before.
#
#   make e2e
#   make e2e KEEP=1              leaves everything running after the summary, until Ctrl-C
#   make e2e ARGS='--staging 100s'   see `make e2e ARGS=--help`
.PHONY: e2e
e2e:
	@sh crates/e2e/preflight.sh
	$(MAKE) --no-print-directory consumers
	cargo fetch --locked
	cargo run --locked -q -p local-cluster -- build \
		--with kubectl,kube-controller-manager,kube-scheduler,kubelet,helm
	cargo build --locked -p e2e
	@"$${CARGO_TARGET_DIR:-target}/debug/ends"
	@"$${CARGO_TARGET_DIR:-target}/debug/e2e" $(if $(KEEP),--keep) $(ARGS)

# What is read from outside, with whatever a fuzzer thinks of: see fuzz/README.md.
#
#   make fuzz SECONDS=600 TARGETS='cron headers'
FUZZ = cron durations templates lists answers headers
.PHONY: fuzz
fuzz:
	for target in $(or $(TARGETS),$(FUZZ)); do \
		mkdir -p "fuzz/corpus/$$target" && RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" \
			"fuzz/corpus/$$target" "fuzz/seeds/$$target" -- -dict="fuzz/dictionaries/$$target.dict" \
			-max_total_time=$(or $(SECONDS),60) -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=64 \
			-print_final_stats=1 || exit 1; \
	done

.PHONY: bench
bench:
	cargo bench --locked -p auth0-rotator --bench figures

#   make bench-budget                  10,000 resources, about four minutes once built
#   make bench-budget RESOURCES=2000   fewer
.PHONY: bench-budget
bench-budget:
	AUTH0_ROTATOR_RESOURCES=$(or $(RESOURCES),10000) cargo bench --locked -p auth0-rotator --bench budget

#   make bench-failover                20 kills and 20 clean stops, about ten minutes once built
#   make bench-failover TIMES=5        fewer
.PHONY: bench-failover
bench-failover:
	AUTH0_ROTATOR_TIMES=$(or $(TIMES),20) cargo bench --locked -p auth0-rotator --bench failover

.PHONY: crds
crds:
	cargo run --locked -q -p auth0-rotator -- crds | awk ' \
		function flush() { if (file) { sub(/\n+$$/, "\n", text); printf "%s", text > file; close(file) } text = ""; file = "" } \
		/^---$$/ { flush(); next } \
		/^    plural: / { file = "crds/" $$2 ".yaml" } \
		{ text = text $$0 "\n" } \
		END { flush() }'

# The chart's definitions, values.yaml and README from crds/ and values.schema.json, and deploy/ from
# the chart. Helm is built first, once.
.PHONY: manifests
manifests:
	cargo run --locked -q -p packaging

# cargo-deny is built once, into the cache that the control plane has too.
TOOLS = $${AUTH0_ROTATOR_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/auth0-rotator}/tools
.PHONY: deny
deny:
	cargo install --quiet --locked --root "$(TOOLS)" cargo-deny@0.20.2
	"$(TOOLS)/bin/cargo-deny" --locked check bans licenses sources
