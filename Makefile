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
