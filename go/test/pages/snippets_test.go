// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where the snippets of each language come from: code that tests compile and run.
var snippetSources = map[string]string{
	"go": "go/chunkring/example_test.go",
	"c":  "c/examples/*.c",
}

// TestSnippets: code in Go or C on a page is a part of an example. Each run of lines up to an empty line must
// stand in one of them, whatever its indentation there.
func TestSnippets(t *testing.T) {
	sources := map[string][]string{}
	for lang, pattern := range snippetSources {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			sources[lang] = append(sources[lang], flatten(strings.Split(string(text), "\n")))
		}
	}
	seen := map[string]int{}
	for _, p := range allPages(t) {
		for i := 0; i < len(p.lines); i++ {
			from := i
			for i < len(p.lines) && snippetSources[p.lines[i].lang] != "" && strings.TrimSpace(p.lines[i].text) != "" {
				i++
			}
			if i == from {
				continue
			}
			var run []string
			for _, l := range p.lines[from:i] {
				run = append(run, l.text)
			}
			lang := p.lines[from].lang
			seen[lang+" in "+p.path]++
			if !containsRun(sources[lang], flatten(run)) {
				t.Errorf("%s:%d: these lines are not in %s:\n%s", p.path, p.lines[from].n, snippetSources[lang], strings.Join(run, "\n"))
			}
		}
	}
	for _, must := range []string{"go in README.md", "c in README.md", "c in docs/c-api.md"} {
		require.NotZero(t, seen[must], must)
	}
}

// flatten takes the indentation off; each line is between two newlines.
func flatten(lines []string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, l := range lines {
		b.WriteString(strings.TrimSpace(l))
		b.WriteByte('\n')
	}
	return b.String()
}

func containsRun(sources []string, run string) bool {
	for _, s := range sources {
		if strings.Contains(s, run) {
			return true
		}
	}
	return false
}
