# Fuzzing: c/fuzz has the C targets, with libFuzzer; test-c runs them over saved inputs.

##@ Fuzz

FUZZ_CC    ?= $(or $(shell command -v clang-14),clang)
FUZZ_DIR   := $(BUILD)/fuzz
FUZZ_C     := chunk ends entries meta key snappy batch path block_gzip block_flate block_zstd block_lz4 block_snappy
FUZZ_FLAGS  = $(filter-out -O2 -D_FORTIFY_SOURCE=3,$(CFLAGS_ALL)) -O1 -DCR_DEBUG -fsanitize=address,undefined \
	-fno-sanitize-recover=all -Ic/src
SECONDS    ?= 60
# How the block targets differ; which targets have a mutator of their own.
FUZZ_DEF_block_gzip   := -DFUZZ_CODEC=CR_CODEC_GZIP
FUZZ_DEF_block_flate  := -DFUZZ_CODEC=CR_CODEC_FLATE
FUZZ_DEF_block_zstd   := -DFUZZ_CODEC=CR_CODEC_ZSTD
FUZZ_DEF_block_lz4    := -DFUZZ_CODEC=CR_CODEC_LZ4_64K
FUZZ_DEF_block_snappy := -DFUZZ_CODEC=CR_CODEC_SNAPPY
FUZZ_MUTATOR_chunk        := c/fuzz/mutate_chunk.c c/fuzz/repair.c
FUZZ_MUTATOR_ends         := c/fuzz/mutate_chunk.c c/fuzz/repair.c
FUZZ_MUTATOR_snappy       := c/fuzz/mutate_snappy.c c/fuzz/repair.c
FUZZ_MUTATOR_block_snappy := c/fuzz/mutate_snappy.c c/fuzz/repair.c
fuzz_src = c/fuzz/$(if $(filter block_%,$(1)),block,$(1)).c

$(FUZZ_DIR)/obj/%.o: c/src/%.c $(HEADERS) Makefile mk/fuzz.mk
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c $< -o $@

$(FUZZ_C:%=$(FUZZ_DIR)/%): $(FUZZ_DIR)/%: $(LIB_SRC:c/src/%.c=$(FUZZ_DIR)/obj/%.o) $(wildcard c/fuzz/*.[ch])
	@echo "  CC $@"
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer $(FUZZ_DEF_$*) $(call fuzz_src,$*) $(FUZZ_MUTATOR_$*) \
		$(filter %.o,$^) -o $@ $(LDLIBS_ALL)

$(BUILD)/fuzz-seeds: c/fuzz/seeds.c c/fuzz/fuzz.h $(LIB)
	$(Q)$(CC) $(CFLAGS_ALL) $< -o $@ $(LIB) $(LDLIBS_ALL)

# The targets as ordinary programs that run the files they are given.
$(FUZZ_C:%=$(BUILD)/replay/%): $(BUILD)/replay/%: $(LIB) c/fuzz/replay.c $(wildcard c/fuzz/*.[ch])
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(CFLAGS_ALL) -Ic/src $(FUZZ_DEF_$*) $(call fuzz_src,$*) c/fuzz/replay.c -o $@ $(LIB) $(LDLIBS_ALL)

.PHONY: fuzz
fuzz: fuzz-c fuzz-go ## every fuzz target, C's and Go's, SECONDS=60 each

.PHONY: fuzz-c
fuzz-c: deps $(BUILD)/fuzz-seeds ## libFuzzer on every target of c/fuzz, SECONDS=60 each (clang); FUZZ_C="chunk path" picks
	@$(DEPS) $(FUZZ_CC)=clang
	@$(MAKE) --no-print-directory $(FUZZ_C:%=$(FUZZ_DIR)/%)
	@mkdir -p $(FUZZ_DIR)/corpus
	@$(BUILD)/fuzz-seeds $(FUZZ_DIR)/corpus testdata/good/*.chunk testdata/bad/*/*.chunk
	@c/fuzz/run $(FUZZ_DIR) $(SECONDS) $(FUZZ_C)

# Where they are and what they are called; three more are in the patched Loki.
FUZZ_GO      := go/chunkring:FuzzClientAgainstStock go/chunkring:FuzzKeys \
	go/internal/chunkcheck:FuzzCheckAgainstStock go/internal/blockread:FuzzSame
# Go would spend up to 60 s on making each new input smaller, most of the time that there is.
FUZZ_GO_ARGS  = -run '^$$' -fuzztime $(SECONDS)s -fuzzminimizetime 200x -parallel 2
FUZZ_GO_RUN   = c/fuzz/run-go $(FUZZ_DIR)/log
.PHONY: fuzz-go
fuzz-go: loki-src ## Go's fuzz targets, which compare with Loki's own code, SECONDS=60 each
	@for t in $(FUZZ_GO); do \
		$(FUZZ_GO_RUN) $${t#*:} $(GO) test ./$${t%:*} $(FUZZ_GO_ARGS) || exit 1; done
	@$(FUZZ_GO_RUN) FuzzParseMetadata $(GO) test -C build/loki-src -modfile ../loki.mod ./pkg/storage/chunk $(FUZZ_GO_ARGS)
	@$(FUZZ_GO_RUN) FuzzChunkringBlock $(GO) test -C build/loki-src -modfile ../loki.mod ./pkg/chunkenc $(FUZZ_GO_ARGS)
	@$(FUZZ_GO_RUN) FuzzChunkringPrefilter $(GO) test -C build/loki-src -modfile ../loki.mod ./pkg/logql/log $(FUZZ_GO_ARGS)

# Everything that is in testdata, and what once found something (testdata/fuzz/<target>/).
.PHONY: test-fuzz-saved
test-fuzz-saved: $(FUZZ_C:%=$(BUILD)/replay/%) $(BUILD)/fuzz-seeds ## the C targets over saved inputs, without libFuzzer
	@rm -rf $(BUILD)/replay/seeds && mkdir -p $(BUILD)/replay/seeds
	@$(TEST_WRAPPER) $(BUILD)/fuzz-seeds $(BUILD)/replay/seeds testdata/good/*.chunk testdata/bad/*/*.chunk
	@for t in $(FUZZ_C); do t=$(BUILD)/replay/$$t; echo "== $$t"; \
		$(TEST_WRAPPER) $$t $$(ls -d $(BUILD)/replay/seeds/$${t##*/} $(BUILD)/replay/seeds/snappy \
			testdata/fuzz/$${t##*/} 2>/dev/null) >$$t.log 2>&1 || { cat $$t.log; echo "FAILED: $$t"; exit 1; }; \
		grep PASSED $$t.log; done
