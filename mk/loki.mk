# Grafana Loki with chunkring in it, and what is tested with whole Lokis.

##@ Loki

# Another Loki than go.mod's: make loki LOKI=v3.5.7. What is built of it is in a folder of its own.
LOKI        ?=
LOKI_DIR     = build$(LOKI:%=/%)
LOKI_VERSION = $(or $(LOKI:v%=%),$(shell $(GO) list -m -f '{{.Version}}' github.com/grafana/loki/v3 | sed 's/^v//'))
LOKI_BUILD   = github.com/grafana/loki/v3/pkg/util/build
LOKI_LDFLAGS = -s -w -X $(LOKI_BUILD).Version=$(LOKI_VERSION)-chunkring \
	-X $(LOKI_BUILD).Revision=$(shell git rev-parse --short HEAD 2>/dev/null) -X $(LOKI_BUILD).Branch=chunkring

.PHONY: loki-src
loki-src: lib ## build/loki-src: Loki's source out of the module cache, patched; LOKI=v3.5.7: another, in build/v3.5.7
	$(GO) run ./cmd/lokifork tree $(LOKI:%=-loki %)

.PHONY: loki
loki: loki-src ## build/loki: Grafana Loki that reads and writes its chunks with chunkring (first time: 6 minutes); LOKI=v3.5.7
	CGO_ENABLED=1 $(GO) build -C $(LOKI_DIR)/loki-src -modfile ../loki.mod -ldflags '$(LOKI_LDFLAGS)' -o ../loki ./cmd/loki
	@$(LOKI_DIR)/loki -version | grep chunkring
	@! ldd $(LOKI_DIR)/loki | grep -vE 'linux-vdso|ld-linux|lib(c|m|pthread|resolv|dl)\.so' || { echo '$(LOKI_DIR)/loki needs more than libc'; exit 1; }

# The other Lokis that lokifork knows. All is built as make loki builds it, so that what is compiled is shared. Their
# go.mod files name an older Go than chunkring's code needs, which is what vet's stdversion would complain of; structtag
# would of a test of Loki's own in pkg/logql.
LOKI_OTHERS  := v3.5.7 v3.6.4 v3.7.6 v3.7.7
LOKI_CHANGED  = $$(cd $(LOKI_DIR)/loki-src && grep -rl --include='*.go' '// chunkring:' cmd pkg | \
	xargs -n 1 dirname | sort -u | sed 's,^,./,')
LOKI_GO       = $(GO) $(1) -C $(LOKI_DIR)/loki-src -modfile ../loki.mod
FOR_VERSIONS  = @for v in $(LOKI_OTHERS); do $(MAKE) --no-print-directory $(1) LOKI=$$v || exit 1; done

.PHONY: build-version
build-version: loki-src ## what is patched of one Loki compiles, with its tests, and vet finds nothing; LOKI=v3.5.7
	$(call LOKI_GO,vet) -stdversion=false -structtag=false $(LOKI_CHANGED)

.PHONY: test-version
test-version: build-version loki ## it is built, and chunkring's tests of what is patched pass; LOKI=v3.5.7
	CHUNKRING_TESTDATA=$(CURDIR)/testdata $(call LOKI_GO,test) -timeout 30m -run '$(LOKI_TESTS)' $(LOKI_CHANGED)

.PHONY: build-versions
build-versions: lib ## build-version of the other Lokis that lokifork knows
	$(call FOR_VERSIONS,build-version)

.PHONY: test-versions
test-versions: lib ## test-version of them, and of go.mod's Loki the tests of the client over it, too
	$(call FOR_VERSIONS,test-version)
	@$(MAKE) --no-print-directory loki test-loki-src

# Loki's own suites and whole Lokis; see go/test/lokisuites and go/test/e2e.

.PHONY: loki-stock-src
loki-stock-src: ## build/loki-stock-src: Loki's source out of the module cache, unpatched
	$(GO) run ./cmd/lokifork stock $(LOKI:%=-loki %)

LOKI_STOCK = $(LOKI_DIR)/loki-stock
$(LOKI_STOCK): go.mod mk/loki.mk
	$(GO) run ./cmd/lokifork stock $(LOKI:%=-loki %)
	$(GO) build -C $(LOKI_DIR)/loki-stock-src -modfile ../loki-stock.mod -ldflags '-s -w -X $(LOKI_BUILD).Version=$(LOKI_VERSION)' \
		-o ../loki-stock ./cmd/loki

.PHONY: loki-stock
loki-stock: lib $(LOKI_STOCK) ## build/loki-stock, the unpatched Loki that tests compare with

# All of Loki is compiled for it: make test leaves it out, and what make loki has compiled is used again.
.PHONY: test-loki-config
test-loki-config: loki-src ## the patched Loki's own defaults
	$(GO) test -C $(LOKI_DIR)/loki-src -modfile ../loki.mod -run Chunkring ./pkg/loki

# What is run with whole Lokis is told which.
E2E = $(BUILD)/e2e -stock $(LOKI_STOCK) -loki $(LOKI_DIR)/loki

.PHONY: test-e2e
test-e2e: loki loki-stock test-loki-config ## stock Loki and ours, one process and seven: the same answers (ARGS=-help); LOKI=v3.5.7
	$(GO) build $(NETGO) -o $(BUILD)/e2e ./go/test/e2e
	$(E2E) $(ARGS)

VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
$(BUILD)/versitygw: # an S3 server over a folder; with the dependencies of its own module, not with ours
	GOBIN=$(CURDIR)/$(BUILD) $(GO) install $(VERSITYGW)

.PHONY: test-e2e-s3
test-e2e-s3: loki loki-stock $(BUILD)/versitygw ## the same over an S3 bucket, at each level of the block path (ARGS=-help)
	$(GO) build $(NETGO) -o $(BUILD)/e2e ./go/test/e2e
	$(E2E) -phases s3 $(ARGS)

.PHONY: test-objects
test-objects: loki loki-stock $(BUILD)/versitygw ## Lokis with disk caches over an S3 bucket: kills, damage, folders to refuse, disks that fail
	$(GO) build $(NETGO) -o $(BUILD)/e2e ./go/test/e2e
	$(E2E) -phases objects,disks $(ARGS)

# The Loki that test-switch comes from: make test-switch OLD=v3.6.4.
OLD ?= v3.5.7
.PHONY: test-switch
test-switch: loki loki-stock ## from an older stock Loki to ours and back, one process after the other, under load (ARGS=-help); OLD=v3.6.4
	@$(MAKE) --no-print-directory loki-stock LOKI=$(OLD)
	$(GO) build $(NETGO) -o $(BUILD)/e2e ./go/test/e2e
	$(E2E) -phases switch -lines 4000 -old build/$(OLD)/loki-stock $(ARGS)

.PHONY: test-loki
test-loki: loki-src loki-stock-src ## Loki's own suites on the unpatched and the patched tree (ARGS=-help)
	$(GO) run ./go/test/lokisuites $(ARGS)

.PHONY: test-loki-subset
test-loki-subset: loki-src loki-stock-src ## the part of it that CI would have time for
	$(GO) run ./go/test/lokisuites -subset
