# Portcullis. `make help` lists the verbs.

.DEFAULT_GOAL := help
SHELL := /bin/sh
CARGO := cargo
# Which filters there are, and what each exports, stands in filters/*/abi/exports.
TOOLS := $(CARGO) run --quiet --locked --package portcullis-tests --bin
CHECK := $(CARGO) run --quiet --locked --package portcullis-check --bin portcullis-check --
SEND := PORT="$(PORT)" ADMIN_PORT="$(ADMIN_PORT)" UPSTREAM_PORT="$(UPSTREAM_PORT)"

help: ## what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## the whole chain on 127.0.0.1:10000, with curls to paste; PORT=, ADMIN_PORT=, UPSTREAM_PORT= choose others
	@$(SEND) $(TOOLS) demo run

token: toolchain ## a fresh demo token; SUBJECT= chooses whose, and KEY=own.pem ISSUER= AUDIENCE= sign with a key of yours
	@$(TOOLS) demo token $(or $(SUBJECT),ann)$(if $(KEY), '$(KEY)' '$(ISSUER)' '$(AUDIENCE)')

jwk: toolchain ## the public half of KEY=own.pem, for `keys.jwks`
	@$(TOOLS) demo jwk '$(or $(KEY),own.pem)'

upstream: toolchain ## a server on 127.0.0.1:8080 that answers with what it received; UPSTREAM_PORT= chooses another port
	@$(TOOLS) demo upstream 127.0.0.1:$(or $(UPSTREAM_PORT),8080)

stats: toolchain ## p50, p95, p99 and refusals by route of what was sent so far; ADMIN_PORT= chooses the Envoy
	@$(SEND) $(TOOLS) demo stats

build: toolchain ## dist/<filter>.wasm, each with its size and sha256
	@filters/build

oci: build ## dist/oci: each filter as an image that Istio and Envoy Gateway take, by digests that can be made again
	@filters/oci

dist: build ## dist/release: versioned modules, schemas, bills of materials, checksums
	@filters/dist

test: build test-modules ## unit, wasm and Envoy rings with our own fakes; at most ten minutes once compiled
	@tests/tally $(CARGO) test --locked --workspace --no-fail-fast

test-all: build test-modules ## make test, and then everything that takes longer: fuzzing, long runs, real peers, the reproducible build
	@tests/all

check: toolchain ## checks CONFIG= (files, folders) without Envoy, every error with its line; REQUEST='GET /path -H "name: value"' says what that would get
	@$(CHECK) $(CONFIG) $(if $(FILTER),--filter $(FILTER)) $(OPTIONS) $(if $(REQUEST),--request "$$REQUEST")

import: toolchain ## writes FROM='s jwt_authn, local_ratelimit or RequestAuthentication as configurations of ours; says what it leaves behind
	@$(CHECK) --import $(if $(AS),--as $(AS)) $(FROM)

lint: toolchain ## rustfmt, clippy for both targets, rustdoc, cargo-deny
	@tests/lint

bench: build test-modules ## what each filter adds to Envoy's CPU time per request, beside what it replaces
	@$(TOOLS) bench

fuzz: toolchain ## fuzzes each parser for SECONDS= (60); TARGET= chooses one
	@tests/fuzz/run "$(or $(SECONDS),60)" $(TARGET)

fuzz-keep: toolchain # puts what fuzzing found out about the code into the corpus that the repository keeps
	@tests/fuzz/run --keep

generate: toolchain ## writes what is made from the code: schemas, the examples' statistics block
	@$(TOOLS) generate

compose-up: compose-files ## the chain in containers, with Prometheus and Grafana; PORT=, ADMIN_PORT=, PROMETHEUS_PORT=, GRAFANA_PORT= choose others
	@tests/compose/up

compose-test: compose-files ## starts the containers on free ports, asks what runs there, and takes them down
	@tests/compose/verify

compose-down: ## takes down what compose-up started
	@COMPOSE_PROFILES=keycloak,openfga,spicedb tests/compose/compose down --volumes --remove-orphans

compose-images: ## builds stand-ins for the images where none can be pulled (as root)
	@tests/compose/images

picture: build # draws envoy/observability/dashboard.svg from three minutes of load in a real Envoy and a real Prometheus
	@$(TOOLS) picture

peers-system: ## installs the Debian packages that make test-all wants (as root)
	@tests/engines/system

clean: ## removes what was built
	rm -rf target dist tests/fuzz/target tests/fuzz/artifacts

clean-cache: ## removes what was fetched for the tests (PORTCULLIS_CACHE)
	@tests/engines/get --clean

# What the other verbs need and nobody calls.

compose-files: build
	@$(TOOLS) demo compose

toolchain:
	@filters/toolchain

test-modules: toolchain
	@filters/build --for-tests

.PHONY: help run token jwk upstream stats build oci dist test test-all check import lint bench fuzz fuzz-keep generate picture compose-up compose-test compose-down compose-images peers-system clean clean-cache compose-files toolchain test-modules
