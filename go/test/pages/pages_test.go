// SPDX-License-Identifier: Apache-2.0

// Package pages holds README and the other pages to what they talk about: links lead somewhere, snippets are
// parts of code that is compiled and run, and targets, files and messages that a page names exist.
//
//	links_test.go     links and anchors between pages
//	snippets_test.go  code in Go and C
//	names_test.go     make targets, C functions, tests, files of this repository, figures of the reports
//	messages_test.go  docs/troubleshooting.md against the messages of the code
//
// Options, metrics and alerts are compared in go/chunkring, chunkctl's options and output in cmd/chunkctl/test.
package pages

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// page is one Markdown file.
type page struct {
	path  string // below the root
	lines []line
}

// line is a line of a page.
type line struct {
	n    int    // from 1
	text string // without the newline
	code bool   // within a block of code
	lang string // of a fenced block, "" for an indented one
	edge bool   // the fence itself
}

// allPages reads every Markdown file but those in folders that make writes.
func allPages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "build"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, page{rel, parse(string(text))})
		return err
	})
	require.NoError(t, err)
	require.Greater(t, len(all), 10)
	return all
}

// parse tells code from prose. A line that is indented by four spaces is code where a block may begin: behind
// an empty line.
func parse(text string) []line {
	var lines []line
	fence, lang, indented, empty := "", "", false, true
	for i, s := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		l := line{n: i + 1, text: s}
		switch trimmed := strings.TrimLeft(s, " "); {
		case fence == "" && strings.HasPrefix(trimmed, "```"):
			fence, lang = "```", strings.TrimPrefix(trimmed, "```")
			l.code, l.edge = true, true
		case fence != "" && strings.HasPrefix(trimmed, fence):
			fence = ""
			l.code, l.edge = true, true
		case fence != "":
			l.code, l.lang = true, lang
		default:
			indented = strings.HasPrefix(s, "    ") && (indented || empty) || indented && trimmed == ""
			l.code = indented && trimmed != ""
			empty = trimmed == ""
		}
		lines = append(lines, l)
	}
	return lines
}

// spans are the texts between backticks in a line of prose, and the line without them.
func spans(text string) (code []string, prose string) {
	parts := strings.Split(text, "`")
	var b strings.Builder
	for i, s := range parts {
		if i%2 == 1 && i < len(parts)-1 {
			code = append(code, s)
		} else {
			b.WriteString(s)
		}
	}
	return code, b.String()
}

// commands are the lines of code of a page, and what stands between backticks in its prose.
func (p *page) commands(each func(n int, text string)) {
	for _, l := range p.lines {
		if l.code {
			if !l.edge {
				each(l.n, l.text)
			}
			continue
		}
		code, _ := spans(l.text)
		for _, s := range code {
			each(l.n, s)
		}
	}
}

func TestParse(t *testing.T) {
	lines := parse("a `b` c\n    no code\n\n    code\n\n    code\n```go\nx := 1\n```\nno code\n")
	var code []int
	for _, l := range lines {
		if l.code {
			code = append(code, l.n)
		}
	}
	require.Equal(t, []int{4, 6, 7, 8, 9}, code)
	require.Equal(t, "go", lines[7].lang)
	in, out := spans("a `b` c `d")
	require.Equal(t, []string{"b"}, in)
	require.Equal(t, "a  c d", out)
}
