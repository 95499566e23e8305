// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// part is a group of edits and added files that goes into a Loki as a whole or is left out as a whole.
type part struct {
	name  string // as loki -version and chunkring_parts_info say it
	what  string
	needs *part    // is left out without that one
	files []string // patterns of path.Match, below files/, less .txt
}

var (
	chunkClient = &part{
		name: "client",
		what: "the chunks of filesystem stores are read and written with chunkring",
		files: []string{
			"cmd/loki/chunkring.go", "pkg/compactor/*", "pkg/storage/chunkring.go", "pkg/storage/bucket/*",
			"pkg/storage/chunk/client/*", "pkg/storage/chunk/client/local/*",
		},
	}
	verifiedDecode = &part{
		name:  "verified_decode",
		what:  "all checksums of a chunk with one pass over its bytes",
		needs: chunkClient,
		files: []string{
			"pkg/storage/chunk/chunkring.go", "pkg/storage/chunk/chunkring_json.go", "pkg/storage/chunk/chunkring_labels.go",
			"pkg/storage/chunk/chunkring_verify.go", "pkg/storage/chunk/chunkring_*test.go",
			"pkg/chunkenc/chunkring.go", "pkg/chunkenc/chunkring_test.go", "pkg/chunkenc/chunkring_symbol*.go",
		},
	}
	blockPath = &part{
		name:  "block_path",
		what:  "blocks are decompressed with one call into C",
		needs: verifiedDecode,
		files: []string{
			"pkg/compression/chunkring.go", "pkg/compression/chunkring_test.go",
			"pkg/chunkenc/chunkring_pools_test.go", "pkg/chunkenc/chunkring_helper_test.go", "pkg/chunkenc/chunkring_samples_test.go",
			"pkg/storage/chunkring_blockpath.go", "pkg/storage/chunkring_test.go",
			"pkg/storage/chunkring_newclient*_test.go",
		},
	}
	diskCache = &part{
		name:  "disk_cache",
		what:  "chunks of object stores are kept on a local disk",
		needs: blockPath,
		files: []string{"pkg/storage/chunkring_cache.go", "pkg/storage/chunkring_cache_test.go", "pkg/storage/chunkring_s3*.go"},
	}
	partialReads = &part{
		name:  "partial_reads",
		what:  "queries read the ends of a chunk, and a block when they come to it",
		needs: diskCache,
		files: []string{
			"pkg/chunkenc/chunkring_lazy.go", "pkg/chunkenc/chunkring_lazy_test.go", "pkg/chunkenc/chunkring_readers.go",
			"pkg/chunkenc/chunkring_rewrites*_test.go", "pkg/ingester/*", "pkg/loki/*", "pkg/logql/*", "pkg/querier/*",
			"pkg/compactor/retention/*",
			"pkg/storage/chunk/chunkring_lazy.go", "pkg/storage/chunkring_lazy.go", "pkg/storage/chunkring_lazy_test.go",
		},
	}
	iterator = &part{
		name:  "iterator",
		what:  "log lines are cut from decompressed blocks, and filtered before a query's pipeline sees them",
		needs: blockPath,
		files: []string{
			"pkg/compression/chunkring_flat.go", "pkg/logql/log/*",
			"pkg/chunkenc/chunkring_flat.go", "pkg/chunkenc/chunkring_metadata.go", "pkg/chunkenc/chunkring_plan.go",
			"pkg/chunkenc/chunkring_backward.go", "pkg/chunkenc/chunkring_backward_test.go",
			"pkg/chunkenc/chunkring_sample.go", "pkg/chunkenc/chunkring_samples.go", "pkg/chunkenc/chunkring_search.go",
			"pkg/chunkenc/chunkring_bench_test.go", "pkg/chunkenc/chunkring_damage_test.go",
			"pkg/chunkenc/chunkring_flat_test.go", "pkg/chunkenc/chunkring_filters_test.go", "pkg/chunkenc/chunkring_flatparts_test.go",
			"pkg/chunkenc/chunkring_wholepool_test.go",
		},
	}
)

// parts are all of them; each comes after the one that it needs.
var parts = []*part{chunkClient, verifiedDecode, blockPath, diskCache, partialReads, iterator}

// omissions are the parts that a Loki may go without. Any other part that does not fit is an error. The options of a
// part that is named here must not be ignored in silence where it is left out: SetBlockPath says that the iterator is.
var omissions = []struct {
	part   *part
	before string // the first version that has what the part builds on
	why    string
}{
	{iterator, "v3.6.0", "its iterators have labels in slices that they reuse, and another form of samples"},
}

// mayLack says why a Loki of this version may go without a part; it is "" if it may not. Where only the release before
// a Loki is known, the Loki is taken for one before o.before as long as that release is, and the reason says so.
func (p *part) mayLack(version lokiVersion) string {
	for _, o := range omissions {
		switch {
		case o.part != p || !semver.IsValid(version.release) || semver.Compare(version.release, o.before) >= 0:
		case version.orLater:
			return fmt.Sprintf("%s; lokifork takes it for a Loki before %s, of which it isn't sure: a tag of its version would say", o.why, o.before)
		default:
			return o.why
		}
	}
	return ""
}

// partOf is whose an added file is.
func partOf(name string) (*part, error) {
	var found []*part
	for _, p := range parts {
		if slices.ContainsFunc(p.files, func(pattern string) bool {
			ok, err := path.Match(pattern, name)
			return ok && err == nil
		}) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%s is a file of %d parts: parts.go must name it once", name, len(found))
	}
	return found[0], nil
}

func partNames(all []*part) string {
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	return strings.Join(names, " ")
}
