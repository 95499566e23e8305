# Rules, static analysis, the C tests under other tools, other compilers and another architecture.

##@ Check

STATICCHECK := v0.8.2

.PHONY: check
check: deps ## what to run before a commit, below 3 minutes once it is compiled: rules, spelling, vet, what changed in C, Go without -race
	@.ci/timed "rules" $(MAKE) --no-print-directory lint-rules lint-spelling
	@.ci/timed "go vet" $(GO) vet $(NETGO) ./...
	@.ci/timed "C tests" $(MAKE) --no-print-directory check-c
	@.ci/timed "Go tests" $(GO) test $(NETGO) ./go/chunkring ./go/internal/... ./go/cli

.PHONY: lint
lint: lint-rules lint-spelling ## the rules, spelling, vet with and without cgo, staticcheck
	$(GO) vet $(NETGO) ./...
	CGO_ENABLED=0 $(GO) vet $(NETGO) ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) $(NETGO) ./...

.PHONY: lint-rules
lint-rules: lib ## gofmt, the rules that a shell line can check, and what pages link to and name
	@test -z "$$(gofmt -l go cmd bench testdata)" || { gofmt -l go cmd bench testdata; echo "run gofmt -w on these"; exit 1; }
	@! grep -rln '^import "C"' go cmd bench | grep -v '^go/internal/core/cgo.go$$' || { echo 'only go/internal/core/cgo.go may import "C"'; exit 1; }
	@! grep -ln 'liburing.h' c/src/*.[ch] | grep -v '/backend_uring.c$$' || { echo 'only backend_uring.c may include liburing.h'; exit 1; }
	@! grep -lE '^#include <(zstd|zstd_errors|libdeflate|lz4|lz4frame).h>' c/src/*.[ch] | grep -vE '/block_(zstd|deflate|lz4).c$$' || { echo 'only the block_ files may include a codec'; exit 1; }
	@! grep -rnE '#include .*c/src|-Ic/src' cmd || { echo 'cmd/ is C on the library alone: only chunkring.h of it'; exit 1; }
	@! grep -rnE '(^|[^_a-z])(printf|fprintf|puts|exit|abort)\(' c/src || { echo 'the library never prints or exits'; exit 1; }
	@sh .ci/version c/include/chunkring.h
	@sh .ci/make-targets Makefile mk/*.mk
	@! { grep -nE '#include "(chunk|store|commands)/' cmd/chunkctl/base/*; grep -nE '#include "(store|commands)/' cmd/chunkctl/chunk/*; \
		grep -nE '#include "commands/' cmd/chunkctl/store/*; } | grep . || { echo 'a room of chunkctl includes none above it: base, chunk, store, commands'; exit 1; }
	@sh .ci/named-tests SECURITY.md RELIABILITY.md
	@$(GO) test $(NETGO) ./go/test/pages
	@! nm -g --defined-only $(LIB) | awk 'NF == 3 && $$3 !~ /^cr_/ {print $$3; bad = 1} END {exit !bad}' || { echo 'global symbols without cr_ prefix'; exit 1; }

# .codespellrc has what it passes over.
.PHONY: lint-spelling
lint-spelling: ## codespell over sources and pages
	@$(DEPS) codespell=codespell
	codespell --check-hidden c cmd go bench docs mk .ci testdata/make Makefile *.md

.PHONY: asan
asan: ## C tests under AddressSanitizer and UndefinedBehaviorSanitizer, debug build
	$(MAKE) test-c BUILD=build/asan SANITIZE=address,undefined DEBUG=1

.PHONY: tsan
tsan: ## C tests under ThreadSanitizer
	CR_SIM_SEEDS=$${CR_SIM_SEEDS:-500} $(MAKE) test-c BUILD=build/tsan SANITIZE=thread DEBUG=1

.PHONY: valgrind
valgrind: ## C tests under valgrind (slow; threads and fault back-ends where it does not know io_uring)
	CR_TEST_BACKENDS=threads,fault CR_SIM_SEEDS=100 $(MAKE) test-c BUILD=build/valgrind DEBUG=1 \
		TEST_WRAPPER="valgrind -q --error-exitcode=9 --leak-check=full"

ANALYZE_C = $(LIB_SRC) $(CHUNKCTL_SRC)
ANALYZE_D = -DCR_LIBRARIES='""' -DCHUNKCTL_VERSION='""'
.PHONY: analyze
analyze: deps ## gcc -fanalyzer, clang --analyze and cppcheck over the library and chunkctl
	@$(DEPS) cppcheck=cppcheck $(FUZZ_CC)=clang
	@for f in $(ANALYZE_C); do echo "  ANALYZE $$f"; \
		$(CC) $(CFLAGS_ALL) -Icmd/chunkctl $(ANALYZE_D) -fanalyzer -c $$f -o /dev/null || exit 1; \
		$(FUZZ_CC) $(filter-out -D_FORTIFY_SOURCE=3,$(CFLAGS_ALL)) -Icmd/chunkctl $(ANALYZE_D) --analyze -Xclang -analyzer-werror \
			$$f -o /dev/null || exit 1; done
	cppcheck -q --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppress=missingIncludeSystem -D__x86_64__ -Ic/include -Ic/src -Icmd/chunkctl $(ANALYZE_D) $(ANALYZE_C)

.PHONY: test-clang
test-clang: deps ## C tests of a library built by clang
	@$(DEPS) $(FUZZ_CC)=clang
	$(MAKE) test-c BUILD=build/clang CC=$(FUZZ_CC)

.PHONY: reproducible
reproducible: deps ## the archive twice, from two directories: the same bytes
	@rm -rf $(BUILD)/again && mkdir -p $(BUILD)/again/one $(BUILD)/again/two/deeper
	@for d in one two/deeper; do cp -r Makefile VERSION mk c .ci $(BUILD)/again/$$d && \
		$(MAKE) --no-print-directory -C $(BUILD)/again/$$d BUILD=build NO_DEPS=1 build/libchunkring.a >/dev/null || exit 1; done
	cmp $(BUILD)/again/one/build/libchunkring.a $(BUILD)/again/two/deeper/build/libchunkring.a

ARM64 := $(BUILD)/arm64
.PHONY: test-arm64
test-arm64: deps ## cross-built for arm64, C tests under qemu-user (no io_uring there)
	@$(DEPS) aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu \
		/usr/aarch64-linux-gnu/include/stdio.h=libc6-dev-arm64-cross qemu-aarch64=qemu-user
	@sh .ci/arm64-libs $(ARM64)
	CR_TEST_BACKENDS=threads,fault PKG_CONFIG_LIBDIR=$(CURDIR)/$(ARM64)/sysroot/usr/lib/aarch64-linux-gnu/pkgconfig \
		LD_LIBRARY_PATH= $(MAKE) test-c NO_DEPS=1 BUILD=$(ARM64) CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar \
		OBJCOPY=aarch64-linux-gnu-objcopy CFLAGS='-I$(ARM64)/sysroot/usr/include' \
		LIBS_FROM='-L$(ARM64)/sysroot/usr/lib/aarch64-linux-gnu' \
		TEST_WRAPPER='qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=$(CURDIR)/$(ARM64)/sysroot/usr/lib/aarch64-linux-gnu'
