# make build | test | lint | images | up | down | bench | crash | update | verify
# What verify rejects, update repairs.

# The Kubernetes release whose API we serve and whose libraries go.mod has.
KUBERNETES := v1.37.2
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT     := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

# stamp PACKAGE: what `kubectl version` prints, in both of the packages that know it.
stamp = -X $(1).gitVersion=$(KUBERNETES)+duet -X $(1).gitMajor=1 -X $(1).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES))) -X $(1).gitCommit=$(COMMIT)
LDFLAGS = -s -w -X github.com/duetk8s/duet/cli.version=$(VERSION) \
	$(call stamp,k8s.io/component-base/version) $(call stamp,k8s.io/client-go/pkg/version)

# Flags of `make up` and `make down`.
NAME  ?= duet
NODES ?= 2
UP    ?=

# The pages that must work as printed, where the folder exists; one script each, after a colon with
# the families of the cluster if not both, IPv4 first.
ACCEPTANCE ?= ../shared/acceptance
PAGES      ?= page2-servicecidr page1-hostaliases page1-hostaliases:v4 page1-hostaliases:v6 page1-hostaliases:dual6 page3-dualstack

BENCH    ?= .
PROFILES ?=
KILLS ?= 200

.PHONY: build test unit acceptance lint images up down bench crash update verify needs clean
.NOTPARALLEL:

build:
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/duet ./cmd/duet

# Everything that tells whether a change is good. Tests that need namespaces make their own and skip
# themselves without root; so do the pages.
test: needs build build/images unit acceptance

# The tests below test/ run the real program, which has no race detector: one package at a time, or
# they would measure each other.
unit:
	CGO_ENABLED=1 go test -race -timeout 10m $$(go list ./... | grep -v /test/)
	go test -p 1 -timeout 15m ./test/...

acceptance: build
	@hack/acceptance.sh '$(ACCEPTANCE)' $(PAGES)

lint: build/golangci-lint
	build/golangci-lint run --allow-parallel-runners ./...

# What tests run in Pods, made of Debian's packages: needs apt, pulls from no registry.
images: needs
	hack/images.sh build/images

build/images: hack/images.sh
	$(MAKE) --no-print-directory images
	@touch $@

up: build
	bin/duet up --name $(NAME) --nodes $(NODES) $(UP)

down: build
	bin/duet down --name $(NAME)

# Slow and exact; results belong into docs/benchmarks.md.
# benchstat reads the output. BENCH narrows it: make bench BENCH=Create/stack=dual
bench: build
	go test -run '^$$' -bench '$(BENCH)' -benchtime 0.2s -benchmem ./clusterip ./hosts ./dns
	go test -run '^$$' -bench '$(BENCH)' -skip 'Change|Connect' -benchtime 3x -timeout 10m ./proxy
	go test -run '^$$' -bench '$(BENCH)' -skip 'Cold|Memory' -benchtime 1000x -timeout 10m ./proxy
	go test -run '^$$' -bench '$(BENCH)' -skip '^Benchmark(Start|Idle|Create|Flat)' -benchtime 1x -timeout 20m ./test/bench
	go test -run '^$$' -bench '$(BENCH)' -skip 'Create|Flat|Node|Failover' -benchtime 10x -timeout 10m ./test/bench $(PROFILES:%=-profiles %)
	go test -run '^$$' -bench '$(BENCH)' -skip 'Start|Idle|Node|Failover' -benchtime 1000x -timeout 10m ./test/bench $(PROFILES:%=-profiles %)

# The long version of the crash test that `make test` runs a short one of.
crash: build
	DUET_CRASH_KILLS=$(KILLS) go test -count=1 -v -run Crash -timeout 120m ./test/...

update: build/golangci-lint
	go mod tidy
	cd tools && go mod tidy
	hack/openapi/run.sh
	build/golangci-lint fmt
	build/golangci-lint run --allow-parallel-runners --fix ./...

verify: build/golangci-lint
	go mod tidy -diff
	cd tools && go mod tidy -diff
	hack/openapi/run.sh -verify
	build/golangci-lint fmt --diff
	build/golangci-lint run --allow-parallel-runners ./...

# golangci-lint takes minutes to compile: once for each version of the tools.
build/golangci-lint: tools/go.mod tools/go.sum
	cd tools && CGO_ENABLED=0 GOFLAGS= go build -trimpath -ldflags '-s -w' -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# Programs that the tests call, from the distribution.
needs:
	@hack/needs.sh gcc:gcc ip:iproute2 jq:jq pgrep:procps git:git script:bsdutils nsenter:util-linux nft:nftables curl:curl \
		containerd:containerd runc:runc /usr/lib/cni/bridge:containernetworking-plugins

clean:
	rm -rf bin build
