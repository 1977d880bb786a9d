# Everything that is done to this repository is done from here, by people and by .ci/run alike.
# No target may resolve a latest version ("go get -u", "go list -m -u"): Dragonboat's v4 has no tag, and both would fail.

GO      ?= go
TOOL    := $(GO) tool -modfile=test/tools/go.mod
PKG     ?= ./...
BENCH   ?= .
COUNT   ?= 10
TIME    ?= 10s
DURATION ?= 10m
VIRTUAL  ?= 1h
BASE    ?= main
SEED    ?= 0
SERVERS ?= 3
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PKG=$(PKG) BENCH=$(BENCH) COUNT=$(COUNT) TIME=$(TIME) SEED=$(SEED) VIRTUAL=$(VIRTUAL) BASE=$(BASE)"

.PHONY: build
build: ## Build ./bin/rollcall, without C
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/rollcall ./cmd/rollcall

.PHONY: test
test: ## Run every test
	$(GO) test $(PKG)

.PHONY: short
short: ## Run the tests without the long ones
	$(GO) test -short $(PKG)

.PHONY: race
race: ## Run the tests under the race detector; needs a C compiler
	$(GO) test -race -timeout 20m $(PKG)

.PHONY: fuzz
fuzz: ## Run each fuzz target for TIME, such as 10s, or 20000x for so many inputs
	@grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' . | \
	sed -E 's|^(.*)/[^/]*:func ([A-Za-z0-9_]+)\(.*|\1 \2|' | sort | \
	while read -r folder target; do \
		echo "fuzz $$folder $$target for $(TIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(TIME) "$$folder" || exit 1; \
	done

.PHONY: sim
sim: ## Let COUNT clusters of three and of five live through an hour of faults, in virtual time; SEED repeats choices
	$(GO) test ./test/sim -timeout 0 -v -run TestCluster -runs $(COUNT) -seed $(SEED) -virtual $(VIRTUAL)

.PHONY: bench
bench: ## Run the benchmarks that BENCH matches in PKG
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

.PHONY: benchcmp
benchcmp: ## Compare the benchmarks of BASE with those of this tree, COUNT runs each
	@scratch=$$(mktemp -d) && trap 'git worktree remove --force "$$scratch/base"; rm -rf "$$scratch"' EXIT && \
	git worktree add --quiet --detach "$$scratch/base" $(BASE) && \
	run="$(GO) test -run ^$$ -bench $(BENCH) -benchmem -count $(COUNT) $(PKG)" && \
	(cd "$$scratch/base" && $$run) > "$$scratch/base.txt" && \
	$$run > "$$scratch/this.txt" && \
	$(TOOL) benchstat $(BASE)="$$scratch/base.txt" this="$$scratch/this.txt"

.PHONY: figures
figures: build ## Measure the binary, and one etcd server beside it; dnsperf is used where it is installed
	cd test/bench && $(GO) run . -binary ../../bin/rollcall
	cd test/bench && $(GO) run . -binary ../../bin/rollcall -watch -time 10s
	cd test/bench && $(GO) run . -binary ../../bin/rollcall -store 1000000
	cd test/bench && $(GO) run . -binary ../../bin/rollcall -discovery 100000

.PHONY: watches
watches: build ## Measure watches alone, through each door, and etcd's beside them; takes three minutes
	cd test/bench && $(GO) run . -binary ../../bin/rollcall -watch -time 10s

.PHONY: puts
puts: build ## Measure puts and gets alone, and etcd's beside them; takes two minutes
	cd test/bench && $(GO) run . -binary ../../bin/rollcall -puts

.PHONY: fmt
fmt: ## Format the source
	$(TOOL) gofumpt -w .

.PHONY: lint
lint: ## Run go vet and the linters of .golangci.yml, which look at the format too
	$(GO) vet ./...
	$(TOOL) golangci-lint run ./...

.PHONY: vuln
vuln: ## Look for known vulnerabilities; needs vuln.go.dev
	$(TOOL) govulncheck ./...

.PHONY: generate
generate: ## Rewrite what scripted tests of PKG expect; read the difference before you commit it
	@for package in $$($(GO) list -f '{{.Dir}} {{.TestImports}} {{.XTestImports}}' $(PKG) | \
	awk '/cockroachdb\/datadriven/ {print $$1}'); do $(GO) test "$$package" -rewrite || exit 1; done

.PHONY: tidy
tidy: ## Bring go.mod up to what the source imports
	$(GO) mod tidy
	cd test/tools && $(GO) mod tidy
	cd test/recipes/cli/nats && $(GO) mod tidy

.PHONY: cover
cover: ## Measure which statements the tests reach; coverage.out holds the details
	$(GO) test -coverpkg=./... -coverprofile=coverage.out $(PKG)
	@$(GO) tool cover -func=coverage.out | tail -n 1

.PHONY: run
run: build ## Start one server, with its data in ./rollcall-data
	./bin/rollcall serve

.PHONY: cluster
cluster: build ## Start three servers on loopback, with their data in ./bin/cluster
	./test/cluster/cluster.sh

.PHONY: chaos
chaos: ## Break a cluster of SERVERS for DURATION, with the chances of SEED (0: new ones), and judge it
	$(GO) test ./test/chaos -count 1 -v -timeout 0 -all -duration $(DURATION) -seed $(SEED) -servers $(SERVERS)

.PHONY: recipes
recipes: ## Run the recipes of docs/recipes.md in other languages too: with Node where it is, and the nats command line
	$(GO) test ./test/recipes -count 1 -v -timeout 15m -others

.PHONY: demo
demo: build ## Show in a minute what Rollcall does, and fail where it does not
	./test/demo/demo.sh

.PHONY: ci
ci: ## Do what continuous integration does
	./.ci/run

.PHONY: clean
clean: ## Remove what the targets above made
	rm -rf bin coverage.out
