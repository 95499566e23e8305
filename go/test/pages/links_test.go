// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var linkTarget = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// TestLinks: a link within the repository leads to a file or folder that is there, and its #anchor to a heading.
// Links to other places are not followed: this test needs no network. README leads to each page of docs.
func TestLinks(t *testing.T) {
	all := allPages(t)
	anchors := map[string]map[string]bool{}
	for _, p := range all {
		anchors[p.path] = p.anchors()
	}
	links, fromReadme := 0, map[string]bool{}
	for _, p := range all {
		for _, l := range p.lines {
			if l.code {
				continue
			}
			_, prose := spans(l.text)
			for _, m := range linkTarget.FindAllStringSubmatch(prose, -1) {
				if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
					continue
				}
				links++
				file, anchor, _ := strings.Cut(m[1], "#")
				target := p.path
				if file != "" {
					target = filepath.Join(filepath.Dir(p.path), file)
				}
				if p.path == "README.md" {
					fromReadme[target] = true
				}
				if !filepath.IsLocal(target) {
					t.Errorf("%s:%d: %s leaves the repository", p.path, l.n, m[1])
					continue
				}
				if _, err := os.Stat(filepath.Join(root, target)); err != nil {
					t.Errorf("%s:%d: %s: there is no such file", p.path, l.n, m[1])
				} else if anchor != "" && !anchors[target][anchor] {
					t.Errorf("%s:%d: %s: there is no such heading", p.path, l.n, m[1])
				}
			}
		}
	}
	require.Greater(t, links, 20, "links that were looked at")
	for _, p := range all {
		if filepath.Dir(p.path) == "docs" && !fromReadme[p.path] {
			t.Errorf("README.md has no link to %s", p.path)
		}
	}
}

var (
	heading = regexp.MustCompile(`^#{1,6} +(.+?) *#*$`)
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are those that GitHub makes of a page's headings.
func (p *page) anchors() map[string]bool {
	found := map[string]bool{}
	for _, l := range p.lines {
		m := heading.FindStringSubmatch(l.text)
		if l.code || m == nil {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linked.ReplaceAllString(m[1], "$1"))
		name := slug
		for i := 1; found[name]; i++ {
			name = fmt.Sprintf("%s-%d", slug, i)
		}
		found[name] = true
	}
	return found
}

func TestAnchors(t *testing.T) {
	p := page{lines: parse("# What `make run` shows: a [link](x.md)!\n## Two\n## Two\n```\n# none\n```\n")}
	require.Equal(t, map[string]bool{"what-make-run-shows-a-link": true, "two": true, "two-1": true}, p.anchors())
}
