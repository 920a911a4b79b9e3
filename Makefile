# What is done with this tree. make help lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

GO ?= go
# Tools run at a fixed version and stay out of go.mod, which names what the program needs.
GOLANGCI_LINT = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.8.0
# The race detector needs a C compiler.
RACE = $(if $(shell command -v "$$($(GO) env CC)"),-race)
# The kernel-mount tests share two processors with all others.
TIMEOUT ?= 40m
FUZZTIME ?= 10m
COUNT ?= 10
PROOFS ?=
KILLS ?= 1000
CUTS ?= 50
HUNT ?= 1h
DEMO ?= tmp/demo
LISTEN ?= 127.0.0.1:2049

.PHONY: help all build run test e2e proofs crash hunt vet lint fuzz bench bench-peers bench-stack bench-lookup bench-abuse bench-guest bench-growth bench-pages microbench cover vuln

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

all: build vet lint test vuln ## everything but the long runs

build: ## the command, into bin/
	$(GO) build -o bin/sheaf ./cmd/sheaf

run: ## serve a share over three demo volumes; prints the mount command
	@mkdir -p $(DEMO) && mkdir -m 1777 -p $(DEMO)/{a,b,c} # root on a client is squashed to nobody, who may write here
	@[ -e $(DEMO)/a/hello ] || echo "This file lies on volume a." >$(DEMO)/a/hello
	$(GO) run ./cmd/sheaf serve --adopt --state $(DEMO)/state --listen $(LISTEN) \
		--volume a=$(DEMO)/a --volume b=$(DEMO)/b --volume c=$(DEMO)/c

test: ## all tests, in random order; kernel mounts where the host can
	$(GO) test -shuffle=on $(RACE) -timeout $(TIMEOUT) ./...

e2e: ## the kernel-mount tests alone, none skipped
	SHEAF_REQUIRED=guests $(GO) test -v -count=1 -timeout $(TIMEOUT) ./tests/e2e/...

proofs: ## each flush left out of the code, each operation failing; PROOFS=all for more of it
	SHEAF_PROOFS=$(PROOFS) $(GO) test -v -count=1 -timeout $(TIMEOUT) -run 'TestEveryFlushIsNeeded|TestRetriedIsDurable' ./vfs/union

crash: ## the server killed KILLS times, its file systems cut off CUTS times each
	SHEAF_CRASH_KILLS=$(KILLS) SHEAF_CRASH_CUTS=$(CUTS) $(GO) test -v -count=1 -timeout $(TIMEOUT) ./tests/crash

hunt: ## answers that no order of events allows, looked for as long as HUNT says
	SHEAF_HUNT=$(HUNT) $(GO) test -v -count=1 -timeout 0 -run TestHunt ./tests/hunt

vet: ## go vet, also for the systems nobody runs the tests on every day
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	GOOS=freebsd $(GO) vet ./...

lint: vet ## go vet and golangci-lint
	$(GOLANGCI_LINT) run ./...

# A fuzz target may end with "context deadline exceeded" and no input, when its time is up: that is Go's own and says nothing.
fuzz: ## every fuzz target for FUZZTIME
	@{ grep -rHoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . || true; } | sort | \
	while IFS=: read -r file func; do \
		echo "$$(dirname "$$file") $${func#func } $(FUZZTIME)"; \
		try() { $(GO) test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname "$$file")" </dev/null; }; \
		try || { echo "once more: an input that fails is kept and fails again"; try; }; \
	done

bench: ## what a call costs, beside an echo and stock go-nfs; BENCH="-help" lists the flags
	$(GO) run ./tests/bench $(BENCH)

bench-peers: ## beside nfs-ganesha, mergerfs and others, which root installs from Debian; writes its page
	$(GO) run ./tests/bench -beside -page $(PAGES)/peers.md $(BENCH)

bench-stack: ## what translators add to a call
	$(GO) run ./tests/bench -stack -rounds 10 $(BENCH)

bench-abuse: ## what one client that floods leaves fifteen others
	$(GO) run ./tests/bench -abuse $(BENCH)

bench-lookup: ## look-ups along an include path, at the contract and at the wire
	$(GO) run ./tests/bench -lookups $(BENCH)

bench-guest: ## what people do all day by a kernel client, beside Ganesha and mergerfs under it
	$(GO) run ./tests/e2e/bench $(BENCH)

bench-growth: ## what a call costs and what memory is held as directories, files, volumes and clients grow
	$(GO) run ./tests/bench -growth -rounds 3 $(BENCH)

PAGES ?= contrib/bench
bench-pages: ## the pages of contrib/bench, all but those of the peers and the guest, anew; about half an hour on a quiet machine
	$(GO) run ./tests/bench -page $(PAGES)/procedures.md
	$(GO) run ./tests/bench -lookups -page $(PAGES)/lookups.md
	$(GO) run ./tests/bench -stack -rounds 10 -page $(PAGES)/stack.md
	$(GO) run ./tests/bench -growth -rounds 3 -page $(PAGES)/growth.md

microbench: ## every Go benchmark COUNT times, for benchstat
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) -timeout 0 ./...

cover: ## coverage.html
	$(GO) test -shuffle=on -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=coverage.out ./...
	$(GO) tool cover -html=coverage.out -o coverage.html

vuln: ## known holes in what is linked
	$(GOVULNCHECK) ./...
