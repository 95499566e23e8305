# Tests of what is built here. Loki's own suites and whole Lokis are in loki.mk.

##@ Test

TEST_PARTS := test-c test-install test-go test-tools test-nocgo test-loki-src
.PHONY: test
test: deps ## all tests: C, install, Go with -race and without cgo, the patched Loki; how long each part took
	@for part in $(TEST_PARTS); do .ci/timed "make $$part" $(MAKE) --no-print-directory $$part || exit 1; done
	@echo "make test: everything passed"

comma   := ,
C_TESTS := $(patsubst c/test/%.c,$(BUILD)/test/%,$(wildcard c/test/test_*.c))
# Shared by the C tests; what starts with test_ has a main.
TEST_COMMON := $(filter-out c/test/test_%.c c/test/sim_%.c,$(wildcard c/test/*.c))
# Calls that a test wants to see or to fail.
WRAP_test_uring := $(patsubst %,-Wl$(comma)--wrap=%,preadv2 io_uring_submit_and_wait io_uring_submit_and_wait_timeout \
	io_uring_submit_and_get_events io_uring_queue_init_params io_uring_register_restrictions \
	io_uring_register_iowq_max_workers)
# All that the core asks of the kernel: test_sim has one of its own.
SIM_CALLS     := open openat __openat_2 syscall close close_range fstat fstatfs lseek pread preadv2 posix_fadvise readlinkat \
	clock_gettime nanosleep malloc pthread_create pthread_join pthread_cond_timedwait pthread_cond_signal \
	pthread_cond_broadcast io_uring_queue_init_params io_uring_queue_exit io_uring_register_restrictions \
	io_uring_register_iowq_max_workers io_uring_enable_rings \
	io_uring_submit_and_wait io_uring_submit_and_wait_timeout io_uring_submit_and_get_events __io_uring_get_cqe _exit
WRAP_test_sim := $(SIM_CALLS:%=-Wl,--wrap=%)
WRAP_test_ends := -Wl,--wrap=posix_fadvise -Wl,--wrap=syscall -Wl,--wrap=fstatfs
WRAP_test_block_read := -Wl,--wrap=posix_fadvise
WRAP_test_chunk_meta := -Wl,--wrap=realloc
WRAP_test_chunk_entries := -Wl,--wrap=realloc

$(BUILD)/test/test_sim: c/test/sim_kernel.c c/test/sim_watch.c
$(BUILD)/test/%: c/test/%.c $(TEST_COMMON) $(PARTS) $(HEADERS)
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(CFLAGS_ALL) -Ic/src $(filter %.c,$^) -o $@ $(WRAP_$*) $(PARTS) $(LDLIBS_ALL) -lcmocka

# As a user links it: the archive and no other library.
$(BUILD)/test/test_symbols: c/test/test_symbols.c $(LIB)
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(CFLAGS_ALL) $< -o $@ $(LIB) -Wl,-z,relro,-z,now -pthread $(LIBS_FROM) -lcmocka

# Runs the C test $$t. Its output is in a file beside it, and here what matters of it.
RUN_C_TEST = echo "== $$t"; CR_TESTDATA=testdata $(TEST_WRAPPER) $$t >$$t.log 2>&1 || { cat $$t.log; echo "FAILED: $$t"; exit 1; }; \
	grep -E 'PASSED|FAILED|SKIPPED|skipped|left out|no io_uring' $$t.log

EXAMPLES := $(patsubst c/examples/%.c,$(BUILD)/examples/%,$(wildcard c/examples/*.c))
$(BUILD)/examples/%: c/examples/%.c $(LIB) c/include/chunkring.h
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(CFLAGS_ALL) $< -o $@ $(LIB) -pthread $(LDFLAGS)

# As a user builds them: the header, the archive and no other library.
.PHONY: test-examples
test-examples: deps $(EXAMPLES) ## c/examples, built as a user does, and run
	@echo "== $(BUILD)/examples"
	@TEST_WRAPPER='$(TEST_WRAPPER)' c/examples/run $(BUILD)/examples

.PHONY: test-c
test-c: deps $(C_TESTS) test-fuzz-saved test-examples ## C tests on every back-end, fuzz targets over saved inputs
	@for t in $(C_TESTS); do $(RUN_C_TEST); done

# The same, but a program that has passed and was not linked anew since is not run again.
C_PASSED := $(C_TESTS:%=%.passed)
.PHONY: check-c
check-c: deps $(C_PASSED) ## C tests whose program, library or chunk files have changed, with few seeds
$(C_PASSED): %.passed: % $(wildcard testdata/good/* testdata/bad/*/*)
	@export CR_SIM_SEEDS=300; t=$<; $(RUN_C_TEST)
	@touch $@

# CI gives RACE=./... The programs of bench and cmd gain little: they are measured or run alone.
RACE ?= ./go/...
.PHONY: test-go
test-go: lib ## Go tests of the product with the race detector; RACE=./... has all
	$(GO) test -race $(RACE)

.PHONY: test-tools
test-tools: lib chunkctl ## Go tests of bench and cmd
	$(GO) test $(NETGO) ./bench/... ./cmd/...

.PHONY: test-nocgo
test-nocgo: deps ## Go tests of the product without cgo
	CGO_ENABLED=0 $(GO) test $(NETGO) ./go/...

LOKI_TESTS := Chunkring|SetReaderPool|DecodeVerified|VerifiedBlock|LeanSymbolizer|ParseMetadata|LabelCache
.PHONY: test-loki-src
test-loki-src: loki-src ## the client over the patched Loki, and tests of what lokifork puts into it
	$(GO) test $(NETGO) -modfile build/patched.mod ./go/chunkring/... ./go/test/soak ./bench/slowstorage
	$(GO) test -C build/loki-src $(NETGO) -modfile ../loki.mod \
		-run '$(LOKI_TESTS)' \
		./pkg/compression ./pkg/chunkenc ./pkg/logql/log ./pkg/storage/chunk ./pkg/storage ./pkg/compactor ./pkg/compactor/retention

SEEDS ?= 100000
.PHONY: sim
sim: deps $(BUILD)/test/test_sim ## the core over a simulated kernel, SEEDS=100000 runs in which things go wrong
	CR_SIM_SEEDS=$(SEEDS) $(BUILD)/test/test_sim

# Does it find what is wrong? Each patch of c/test/planted breaks the library in one way; its second line
# says as what the simulation must catch that.
PLANTED := $(patsubst c/test/planted/%.patch,%,$(wildcard c/test/planted/*.patch))
planted_c = $$(sed -n 's,^+++ b/,$(1)/,p' $(2))

$(BUILD)/planted/sim.o: c/test/test_sim.c $(TEST_COMMON) c/test/sim_kernel.c c/test/sim_watch.c $(HEADERS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -Ic/src -r -nostdlib $(filter %.c,$^) -o $@

$(PLANTED:%=$(BUILD)/planted/%/test_sim): $(BUILD)/planted/%/test_sim: c/test/planted/%.patch $(BUILD)/planted/sim.o $(PARTS)
	@rm -rf $(@D) && mkdir -p $(@D)/c && cp -r c/src $(@D)/c/
	@cd $(@D) && GIT_CEILING_DIRECTORIES='$(abspath $(@D)/..)' git apply '$(abspath $<)' || { echo "$< does not fit the source any more: plant its defect anew"; exit 1; }
	@echo "  CC $@"
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $(call planted_c,$(@D),$<) $(BUILD)/planted/sim.o $(WRAP_test_sim) $(PARTS) \
		$(LDLIBS_ALL) -lcmocka

.PHONY: test-planted
test-planted: deps ## defects planted into the core, each of which the simulation must find
	@$(MAKE) --no-print-directory -j2 $(PLANTED:%=$(BUILD)/planted/%/test_sim) $(BUILD)/test/test_sim
	@c/test/planted/run $(BUILD)/test/test_sim $(BUILD)/planted $(PLANTED)

.PHONY: test-install
test-install: lib chunkctl ## make install into a temporary folder, and a C program that uses it
	@MAKE='$(MAKE)' CC='$(CC)' sh .ci/install-test

.PHONY: test-chunkctl
test-chunkctl: chunkctl ## its tests, on stores that Loki's own encoder wrote
	$(GO) test -race ./cmd/chunkctl/test

.PHONY: test-chunkctl-asan
test-chunkctl-asan: lib ## the same on a chunkctl with AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) chunkctl BUILD=build/asan SANITIZE=address,undefined DEBUG=1
	CHUNKCTL=$(CURDIR)/build/asan/chunkctl $(GO) test -race -count=1 ./cmd/chunkctl/test

MINUTES ?= 30
.PHONY: soak
soak: loki-src ## everything at once, MINUTES=30, every byte compared; few descriptors, little memory; build/soak
	$(GO) build $(NETGO) -modfile build/patched.mod -o $(BUILD)/test/soak ./go/test/soak
	$(GO) build $(NETGO) -o $(BUILD)/bench/mkreport ./bench/mkreport
	$(BUILD)/test/soak -minutes $(MINUTES) -out $(BUILD)/soak $(ARGS)
	$(BUILD)/bench/mkreport -soak $(BUILD)/soak/soak.json -out $(BUILD)/soak
