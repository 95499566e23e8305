# Benchmarks; bench/README.md has the how, docs/performance.md the results.

##@ Benchmarks

EXPERIMENT = $(BUILD)/bench/experiment -unpatched $(BUILD)/bench/experiment-unpatched
.PHONY: bench-programs
bench-programs: loki-src ## the programs that the next three run
	@for t in fio=fio perf=linux-perf; do $(DEPS) $$t || \
		echo "bench: goes on without $${t%%=*}; the report says what is missing"; done
	$(GO) build $(NETGO) -modfile build/patched.mod -o $(BUILD)/bench/experiment ./bench/experiment
	$(GO) build $(NETGO) -o $(BUILD)/bench/experiment-unpatched ./bench/experiment
	$(GO) build $(NETGO) -o $(BUILD)/bench/mkreport ./bench/mkreport

.PHONY: bench
bench: bench-programs ## the published experiment against every peer, 25 minutes; writes bench/report
	$(EXPERIMENT) -mode full $(ARGS)
	$(BUILD)/bench/mkreport -in $(BUILD)/bench/full.json -out bench/report

.PHONY: bench-quick
bench-quick: bench-programs ## a handful of its points, below 3 minutes; writes build/bench/quick
	$(EXPERIMENT) -mode quick $(ARGS)
	$(BUILD)/bench/mkreport -in $(BUILD)/bench/quick.json -out $(BUILD)/bench/quick

.PHONY: bench-check
bench-check: bench-programs ## has a ratio to stock fallen below bench/report/baseline.json?
	$(EXPERIMENT) -mode check $(ARGS)

.PHONY: bench-e2e
bench-e2e: loki loki-stock ## whole Lokis over the same store, stock and ours in turns (ARGS=-help); build/bench/e2e
	$(GO) build $(NETGO) -o $(BUILD)/bench/e2espeed ./bench/e2espeed
	$(GO) build $(NETGO) -o $(BUILD)/bench/mkreport ./bench/mkreport
	@mkdir -p $(BUILD)/bench/e2e
	@rm -f $(BUILD)/bench/e2e/run.json # -help and -make-only write none
	$(BUILD)/bench/e2espeed -json $(BUILD)/bench/e2e/run.json $(ARGS)
	@[ ! -e $(BUILD)/bench/e2e/run.json ] || $(BUILD)/bench/mkreport -e2e $(BUILD)/bench/e2e/run.json -out $(BUILD)/bench/e2e

.PHONY: bench-objects
bench-objects: loki loki-stock ## whole Lokis over an object store, by the cache before it, 3 hours (ARGS=-quick: below 5 minutes)
	@for t in memcached=memcached /usr/sbin/nginx=nginx; do $(DEPS) $$t || \
		echo "bench-objects: goes on without $${t#*=}; the report says what is missing"; done
	$(GO) build $(NETGO) -o $(BUILD)/bench/objectspeed ./bench/objects
	$(GO) build $(NETGO) -o $(BUILD)/bench/mkreport ./bench/mkreport
	@mkdir -p $(BUILD)/bench/objects
	@rm -f $(BUILD)/bench/objects/run.json # -help and -make-only write none
	$(BUILD)/bench/objectspeed -json $(BUILD)/bench/objects/run.json $(ARGS)
	@[ ! -e $(BUILD)/bench/objects/run.json ] || $(BUILD)/bench/mkreport -objects $(BUILD)/bench/objects/run.json -out $(BUILD)/bench/objects

.PHONY: bench-verify
bench-verify: chunkctl genstore ## chunkctl verify against Loki's packages, sha1sum and fio; root, 5 GB of disk
	@$(DEPS) fio=fio
	$(GO) build $(NETGO) -o $(BUILD)/bench/verifypeer ./bench/verifypeer
	$(GO) build $(NETGO) -o $(BUILD)/bench/verifyspeed ./bench/verifyspeed
	$(BUILD)/genstore -dir $(BUILD)/bench/stores/verify-large -count 4000 -size 900000
	$(BUILD)/genstore -dir $(BUILD)/bench/stores/verify-small -count 100000 -size 4000
	$(BUILD)/bench/verifyspeed $(ARGS) $(BUILD)/bench/stores/verify-large
	$(BUILD)/bench/verifyspeed -only 'bypass|Go|sha1sum' $(ARGS) $(BUILD)/bench/stores/verify-small

.PHONY: bench-slow
bench-slow: loki-src ## storage that takes 0.2 to 20 ms for each request, below 25 minutes (ARGS=-quick: 2); needs FUSE
	@[ "$$(id -u)" = 0 ] || $(DEPS) fusermount3=fuse3
	$(GO) build $(NETGO) -modfile build/patched.mod -o $(BUILD)/bench/slowstorage ./bench/slowstorage
	$(BUILD)/bench/slowstorage $(ARGS)

.PHONY: bench-crc
bench-crc: deps ## the CRC32C kernels against ISA-L, a minute; bench/crc has the figures
	@$(DEPS) /usr/include/isa-l.h=libisal-dev
	$(Q)$(CC) $(CFLAGS_ALL) -Ic/src bench/crc/bench_crc32c.c $(wildcard c/src/crc32c*.c) -lisal -o $(BUILD)/bench-crc
	$(BUILD)/bench-crc $(ARGS)

.PHONY: bench-evict
bench-evict: lib ## what the disk cache's eviction keeps of four traces, against FIFO and LRU, seconds; build/bench/evict
	@mkdir -p $(BUILD)/bench/evict
	$(Q)$(CC) $(CFLAGS_ALL) -Ic/test bench/evict/bench_evict.c $(LIB) -pthread -o $(BUILD)/bench-evict
	$(BUILD)/bench-evict $(BUILD)/bench/evict/run.json
	$(GO) build $(NETGO) -o $(BUILD)/bench/mkreport ./bench/mkreport
	$(BUILD)/bench/mkreport -evict $(BUILD)/bench/evict/run.json -out $(BUILD)/bench/evict
