# Grafana Loki with chunkring in it, and what is tested with whole Lokis.

##@ Loki

LOKI_VERSION = $(shell $(GO) list -m -f '{{.Version}}' github.com/grafana/loki/v3 | sed 's/^v//')
LOKI_BUILD   = github.com/grafana/loki/v3/pkg/util/build
LOKI_LDFLAGS = -s -w -X $(LOKI_BUILD).Version=$(LOKI_VERSION)-chunkring \
	-X $(LOKI_BUILD).Revision=$(shell git rev-parse --short HEAD 2>/dev/null) -X $(LOKI_BUILD).Branch=chunkring

.PHONY: loki-src
loki-src: lib ## build/loki-src: Loki's source out of the module cache, patched
	$(GO) run ./cmd/lokifork tree

.PHONY: loki
loki: loki-src ## build/loki: Grafana Loki that reads and writes its chunks with chunkring (first time: 6 minutes)
	CGO_ENABLED=1 $(GO) build -C build/loki-src -modfile ../loki.mod -ldflags '$(LOKI_LDFLAGS)' -o ../loki ./cmd/loki
	@build/loki -version | grep chunkring
	@! ldd build/loki | grep -vE 'linux-vdso|ld-linux|lib(c|m|pthread|resolv|dl)\.so' || { echo 'build/loki needs more than libc'; exit 1; }

# Loki's own suites and whole Lokis; see go/test/lokisuites and go/test/e2e.

.PHONY: loki-stock-src
loki-stock-src: ## build/loki-stock-src: Loki's source out of the module cache, unpatched
	$(GO) run ./cmd/lokifork stock

LOKI_STOCK := $(BUILD)/loki-stock
$(LOKI_STOCK): go.mod
	$(GO) run ./cmd/lokifork stock
	$(GO) build -C build/loki-stock-src -modfile ../loki-stock.mod -ldflags '-s -w' -o ../loki-stock ./cmd/loki

.PHONY: loki-stock
loki-stock: lib $(LOKI_STOCK) ## build/loki-stock, the unpatched Loki that tests compare with

# All of Loki is compiled for it: make test leaves it out, and what make loki has compiled is used again.
.PHONY: test-loki-config
test-loki-config: loki-src ## the patched Loki's own defaults
	$(GO) test -C build/loki-src -modfile ../loki.mod -run Chunkring ./pkg/loki

.PHONY: test-e2e
test-e2e: loki loki-stock test-loki-config ## stock Loki and ours, one process and seven: the same answers (ARGS=-help)
	$(GO) build $(NETGO) -o $(BUILD)/e2e ./go/test/e2e
	$(BUILD)/e2e $(ARGS)

VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
$(BUILD)/versitygw: # an S3 server over a folder; with the dependencies of its own module, not with ours
	GOBIN=$(CURDIR)/$(BUILD) $(GO) install $(VERSITYGW)

.PHONY: test-e2e-s3
test-e2e-s3: loki loki-stock $(BUILD)/versitygw ## the same over an S3 bucket, at each level of the block path (ARGS=-help)
	$(GO) build $(NETGO) -o $(BUILD)/e2e ./go/test/e2e
	$(BUILD)/e2e -phases s3 $(ARGS)

.PHONY: test-objects
test-objects: loki loki-stock $(BUILD)/versitygw ## a simple scalable Loki with disk caches over an S3 bucket: kills, damage, folders to refuse
	$(GO) build $(NETGO) -o $(BUILD)/e2e ./go/test/e2e
	$(BUILD)/e2e -phases objects $(ARGS)

.PHONY: test-loki
test-loki: loki-src loki-stock-src ## Loki's own suites on the unpatched and the patched tree (ARGS=-help)
	$(GO) run ./go/test/lokisuites $(ARGS)

.PHONY: test-loki-subset
test-loki-subset: loki-src loki-stock-src ## the part of it that CI would have time for
	$(GO) run ./go/test/lokisuites -subset
