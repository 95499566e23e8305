# What is published of a commit: archives, Debian packages, a container image. cmd/lokifork/dist makes it.

##@ Packages

DIST        := $(BUILD)/dist
# Empty, or a list of amd64 and arm64. The source and the image are made of those that are there.
DIST_ARCHES ?= amd64 arm64
DIST_PARTS  ?= $(DIST_ARCHES) source image
DIST_CROSS   = $(filter-out $(shell $(GO) env GOHOSTARCH),$(DIST_ARCHES))
# To compile for arm64 elsewhere, and to run that.
CROSS_DEPS  := aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/include/stdio.h=libc6-dev-arm64-cross \
	qemu-aarch64-static=qemu-user-static

.PHONY: dist-deps
dist-deps: deps ## what dist needs besides
	@$(DEPS) dpkg-deb=dpkg /etc/ssl/certs/ca-certificates.crt=ca-certificates $(if $(DIST_CROSS),$(CROSS_DEPS))

.PHONY: dist
dist: dist-deps ## build/dist: the commit HEAD as static programs, .deb, image, source, SBOM, sums (first time: 10 minutes of processor time an architecture)
	@rm -rf $(DIST)
	@GO='$(GO)' cmd/lokifork/dist/build HEAD $(BUILD)/dist-work $(DIST) $(DIST_PARTS)
	@ls -lh $(DIST)

# With FRESH=yes Go compiles everything again, else it links again what it has compiled. LOKI=no looks at C alone.
.PHONY: dist-check
dist-check: dist-deps ## build HEAD twice, in two folders: the same bytes (FRESH=yes: with an empty build cache; LOKI=no: C alone)
	@rm -rf $(BUILD)/dist-check
	@export GO='$(GO)' LOKI='$(LOKI)'; commit=$$(git rev-parse HEAD) && \
		cmd/lokifork/dist/build "$$commit" $(BUILD)/dist-check/one $(BUILD)/dist-check/out-one $(DIST_PARTS) && \
		$(if $(FRESH),GOCACHE=$(CURDIR)/$(BUILD)/dist-check/cache) \
		cmd/lokifork/dist/build "$$commit" $(BUILD)/dist-check/another/folder $(BUILD)/dist-check/out-two $(DIST_PARTS)
	@for f in $(foreach a,$(DIST_ARCHES),$(addprefix $a/build/,chunkctl libchunkring.a $(if $(filter no,$(LOKI)),,loki))); do \
		cmp $(BUILD)/dist-check/one/$$f $(BUILD)/dist-check/another/folder/$$f || exit 1; done
	@diff -r $(BUILD)/dist-check/out-one $(BUILD)/dist-check/out-two
	@echo "dist-check: the same bytes, $$(ls $(BUILD)/dist-check/out-one | wc -l) files"

.PHONY: test-dist
test-dist: ## the packages of make dist, installed, run, upgraded and removed; the image, run; arm64, under qemu (root)
	@$(DEPS) lintian=lintian mmdebstrap=mmdebstrap unshare=util-linux ip=iproute2 curl=curl \
		crun=crun umoci=umoci jq=jq $(if $(DIST_CROSS),$(CROSS_DEPS))
	@cmd/lokifork/dist/test-packages $(DIST) $(BUILD)/dist-work
	@cmd/lokifork/dist/test-image $(DIST)
	@cmd/lokifork/dist/test-arm64 $(DIST)
