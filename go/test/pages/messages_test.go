// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const troubleshooting = "docs/troubleshooting.md"

// lokis are messages of Loki's that the page has among ours.
var lokis = []string{"invalid chunk checksum", "field chunkring not found in type"}

// TestTroubleshootingKnowsMessages: every line that the client logs, and every error that has a name, is explained.
func TestTroubleshootingKnowsMessages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, troubleshooting))
	require.NoError(t, err)
	found := 0
	for _, file := range sources(t, "go/chunkring", "go/internal/chunkfile") {
		code := readSource(t, file)
		for _, message := range slices.Concat(literals(code, `"msg", "([^"]+)"`), literals(code, `errors\.New\("([^"]+)"\)`), composed(code)) {
			found++
			if !strings.Contains(string(text), message) {
				t.Errorf("%s says %q, which %s does not explain", file, message, troubleshooting)
			}
		}
	}
	require.Greater(t, found, 20)
}

// TestTroubleshootingMessagesExist: a message that the page explains is one of ours, of the system's or one of lokis.
// It is in the first column of a table that begins with "message" or "cause", with ... for what differs.
func TestTroubleshootingMessagesExist(t *testing.T) {
	var all strings.Builder
	for _, file := range append(sources(t, "go", "cmd", "c/src"), ".ci/deps") {
		code := readSource(t, file)
		all.WriteString(code)
		all.WriteString(strings.Join(composed(code), "\n"))
	}
	for errno := syscall.Errno(1); errno < 134; errno++ {
		all.WriteString(errno.Error() + "\n")
	}
	known := all.String() + strings.Join(lokis, "\n")
	table, looked := false, 0
	for _, l := range pageOf(t, troubleshooting).lines {
		cells := strings.Split(l.text, "|")
		if l.code || len(cells) < 4 {
			table = false
			continue
		}
		if first := strings.TrimSpace(cells[1]); first == "message" || first == "cause" {
			table = true
			continue
		}
		if !table {
			continue
		}
		messages, _ := spans(cells[1])
		for _, message := range messages {
			looked++
			for part := range strings.SplitSeq(message, "...") {
				if part = strings.TrimSpace(part); !strings.Contains(known, part) {
					t.Errorf("%s:%d: nothing says %q", troubleshooting, l.n, part)
				}
			}
		}
	}
	require.Greater(t, looked, 50)
}

func pageOf(t *testing.T, path string) page {
	t.Helper()
	for _, p := range allPages(t) {
		if p.path == path {
			return p
		}
	}
	t.Fatalf("there is no %s", path)
	return page{}
}

// sources are the files in Go (those that lokifork puts into Loki are called .go.txt) and C below folders, tests apart.
func sources(t *testing.T, folders ...string) (files []string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			name := strings.TrimSuffix(path, ".txt")
			if ext := filepath.Ext(name); (ext == ".go" || ext == ".c" || ext == ".h") && !strings.HasSuffix(name, "_test.go") {
				rel, err := filepath.Rel(root, path)
				files = append(files, rel)
				return err
			}
			return err
		})
		require.NoError(t, err)
	}
	require.NotEmpty(t, files)
	return files
}

var (
	adjacent = regexp.MustCompile(`"\s*(?:\+\s*)?"`) // a text in several pieces
	doing    = regexp.MustCompile(`failures\.chunks\("(\w+)"`)
)

func readSource(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	return strings.ReplaceAll(adjacent.ReplaceAllString(string(text), ""), `\"`, `"`)
}

func literals(code, pattern string) (found []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(code, -1) {
		if text := strings.TrimSpace(m[1]); text != "the caller gave up" { // what composed has whole
			found = append(found, text)
		}
	}
	return found
}

// composed are the messages that failureLog.chunks makes of what was being done.
func composed(code string) (found []string) {
	for _, m := range doing.FindAllStringSubmatch(code, -1) {
		found = append(found, m[1]+" a chunk failed")
	}
	return found
}
