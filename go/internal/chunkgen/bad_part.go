// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"fmt"
	"path"
	"strings"
)

// badParts are the folders of testdata/bad: the part of a chunk file that is damaged, by the first
// word of an inner defect's name. What lies before the frames and behind the data, and what is caught
// by the file's checksum, is outer.
var badParts = map[string]string{
	"metalen": "outer", "datalen": "outer", "trailing": "outer", "cut": "outer",
	"frame": "frames",
	"json":  "json",
	"magic": "metas", "version": "metas", "codec": "metas", "data": "metas", "footer": "metas", // what says where all is
	"metasoff": "metas", "metaslen": "metas", "metas": "metas", "sections": "metas", "num": "metas", "varint": "metas",
	"offset": "blocks", "blocklen": "blocks", "blocks": "blocks", "block": "blocks", "times": "blocks",
	"entries": "blocks", "uncompressed": "blocks",
	"symbolsoff": "symbols", "symbolslen": "symbols", "symbols": "symbols",
	"payload": "payload", "entry": "payload",
}

// inPart moves a defect's file into its part's folder.
func inPart(s *sample) error {
	part := "outer"
	if name, inner := strings.CutPrefix(s.ref.Path, "inner-"); inner {
		word, _, _ := strings.Cut(strings.TrimSuffix(name, corpusSuffix), "-")
		if part = badParts[word]; part == "" {
			return fmt.Errorf("chunkgen: %s is damage to no part that badParts names", s.ref.Path)
		}
	}
	s.ref.Path = path.Join(part, s.ref.Path)
	return nil
}
