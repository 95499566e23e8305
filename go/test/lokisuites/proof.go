// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// change is a line of a source file and what an overlay of go build has in its place. Nothing on disk
// is changed.
type change struct {
	file, line, by string
	imports        string // a package that the new line needs
}

// The retention tests make their chunk client by hand, where no patch of Loki's own code can reach it.
var inTests = []change{{
	file: "build/loki-src/pkg/compactor/retention/util_test.go",
	line: "client.NewClient(newTestObjectClient(chunkDir), client.FSEncoder, schemaCfg),",
	by: `func() client.Client {
			c, err := chunkring.New(chunkring.Config{Directory: chunkDir}, schemaCfg, nil, nil)
			require.NoError(t, err)
			t.Cleanup(c.Stop)
			return c
		}(),`,
	imports: "github.com/chunkring/chunkring/go/chunkring",
}}

// The deliberate break: every read fails.
var broken = change{
	file: "go/chunkring/getchunks.go",
	line: "return c.getChunks(ctx, chunks, core.NewBuffer, wantedOf(ctx))",
	by:   "_ = core.NewBuffer; return nil, ErrMalformed",
}

// prove runs Loki's tests with a chunkring that fails every read. Those that fail now, and did not
// before, read their chunks with chunkring.
func prove(ctx context.Context, o options, out io.Writer, patched tree) error {
	overlay, err := writeOverlay(o, "broken", append(slices.Clone(inTests), broken))
	if err != nil {
		return fmt.Errorf("the deliberate break: %w", err)
	}
	sound, err := patched.test(ctx, io.Discard, proof, o.logs)
	if err != nil {
		return err
	}
	unsound := patched
	unsound.name, unsound.overlay = "broken", overlay
	got, err := unsound.test(ctx, io.Discard, proof, o.logs)
	if err != nil {
		return err
	}
	// Without chunkring's own tests in the tree: all of those are named after it.
	var used []id
	packages := map[string]bool{}
	for _, k := range regressions(sound, got) {
		if k.test == "" || strings.Contains(k.test, "Chunkring") || got[k] != "fail" {
			continue
		}
		used = append(used, k)
		packages[k.pkg] = true
	}
	fmt.Fprintf(out, "proof: with reads of chunkring broken on purpose, %d of Loki's own tests fail, in %d of %d packages\n", len(used), len(packages), len(proof.packages))
	for _, name := range names(used)[:min(len(used), 5)] {
		fmt.Fprintf(out, "  %s\n", name)
	}
	if len(packages) != len(proof.packages) {
		return errors.New("the deliberate break was not noticed everywhere: the patched tree does not read with chunkring")
	}
	return nil
}

// writeOverlay writes an overlay for go build and go test.
func writeOverlay(o options, name string, changes []change) (string, error) {
	replace := map[string]string{}
	for _, c := range changes {
		source := filepath.Join(o.root, c.file)
		data, err := os.ReadFile(source)
		if err != nil {
			return "", err
		}
		text := string(data)
		if strings.Count(text, c.line) != 1 {
			return "", fmt.Errorf("%s has not got %q exactly once; adapt go/test/lokisuites/proof.go", source, c.line)
		}
		text = strings.Replace(text, c.line, c.by, 1)
		if c.imports != "" {
			text = strings.Replace(text, "import (", "import (\n\t\""+c.imports+"\"", 1)
		}
		to := filepath.Join(o.logs, name+"-"+filepath.Base(c.file)+".txt")
		if err := os.WriteFile(to, []byte(text), 0o666); err != nil {
			return "", err
		}
		replace[source] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(o.logs, name+".json")
	return overlay, os.WriteFile(overlay, text, 0o666)
}
