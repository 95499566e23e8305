// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// Every option that --help tells is completed by both shells, and no other.
func TestCompletionsKnowEveryOption(t *testing.T) {
	bash, zsh := string(read(t, "../chunkctl.bash")), string(read(t, "../chunkctl.zsh"))
	option := regexp.MustCompile(`--[a-z][a-z-]+`)
	told := map[string]bool{"--help": true, "--version": true}
	for _, c := range commands {
		for _, o := range regexp.MustCompile(`(?m)^  (?:-\w, )?(--[a-z-]+)(?:, (--[a-z-]+))?`).FindAllStringSubmatch(run(t, c, "--help").stdout, -1) {
			told[o[1]] = true
			if o[2] != "" {
				told[o[2]] = true
			}
			require.Contains(t, bash, o[1], c)
			require.Contains(t, zsh, o[1], c)
		}
	}
	told["--null"] = true // told as "-0, --null"
	require.Greater(t, len(told), 25)
	for _, file := range []string{bash, zsh} {
		for _, o := range option.FindAllString(file, -1) {
			require.True(t, told[o], "%s is completed, but no --help has it", o)
		}
	}
	require.NoError(t, exec.Command("bash", "-n", "../chunkctl.bash").Run())
}

// The findings that the man page lists are those that there are.
func TestManListsEveryFinding(t *testing.T) {
	man := string(read(t, "../chunkctl.1"))
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)\|(error|partial|warning)\|`).FindAllStringSubmatch(man, -1) {
		listed = append(listed, m[1])
	}
	var known []string
	for _, m := range regexp.MustCompile(`\[FINDING_\w+\]\s*=\s*\{\s*"(\w+)"`).FindAllStringSubmatch(string(read(t, "../chunk/findings.c")), -1) {
		known = append(known, m[1])
	}
	for _, m := range regexp.MustCompile(`\[CR_REASON_\w+\]\s*=\s*\{\s*"(\w+)"`).FindAllStringSubmatch(string(read(t, "../../../c/src/chunk_reason.c")), -1) {
		if m[1] != "none" {
			known = append(known, m[1])
		}
	}
	require.Greater(t, len(known), 40)
	require.ElementsMatch(t, known, listed)
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)\|(error|partial|warning)\|`).FindAllStringSubmatch(man, -1) {
		r := run(t, "quarantine", "/nonexistent", "--from", "x", "--kinds", m[1])
		require.NotContains(t, r.stderr, "no such finding", m[1])
	}
}

// The options that README and docs give chunkctl are its own.
func TestPagesNameRealOptions(t *testing.T) {
	pages, err := filepath.Glob("../../../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	help, seen := map[string]string{}, 0
	for _, page := range append(pages, "../../../README.md") {
		for _, m := range regexp.MustCompile("chunkctl ([a-z]+)((?: [^`|\\n]*)?)").FindAllStringSubmatch(string(read(t, page)), -1) {
			command, words := m[1], strings.Fields(m[2])
			options := regexp.MustCompile(`^--[a-z-]+`)
			if !strings.Contains(strings.Join(commands, " ")+" ", command+" ") {
				continue // prose
			}
			if help[command] == "" {
				help[command] = run(t, command, "--help").stdout
			}
			for _, word := range words {
				if o := options.FindString(word); o != "" {
					require.Regexp(t, regexp.QuoteMeta(o)+`\b`, help[command], "%s: chunkctl %s %s", page, command, word)
					seen++
				}
			}
		}
	}
	require.Greater(t, seen, 5)
}

// README's example is what its commands print: genstore's options make that store, and verify says those lines of it.
func TestReadmeShowsWhatVerifySays(t *testing.T) {
	readme := string(read(t, "../../../README.md"))
	m := regexp.MustCompile(`(?m)^    build/genstore -dir \S+ -count (\d+) -size (\d+) -damage (\d+)$`).FindStringSubmatch(readme)
	require.NotNil(t, m, "README has no example")
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	dir := filepath.Join(t.TempDir(), "store")
	// The rest are genstore's defaults.
	opts := chunkgen.Options{Count: number(m[1]), Size: number(m[2]), Codec: "snappy", Schema: "v13", Tenants: 1, Streams: 8}
	index, err := chunkgen.Write(t.Context(), dir, opts, nil)
	require.NoError(t, err)
	_, err = chunkgen.Damage(index, number(m[3]))
	require.NoError(t, err)
	old := time.Now().Add(-time.Hour) // or verify waits: somebody may be writing
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return os.Chtimes(path, old, old)
	}))
	said := run(t, "verify", dir).stdout
	duration := regexp.MustCompile(`, in .*`)
	_, example, _ := strings.Cut(readme, m[0])
	example, _, _ = strings.Cut(example, "\n\n")
	lines := 0
	for line := range strings.SplitSeq(example, "\n") {
		line = strings.TrimPrefix(duration.ReplaceAllString(strings.TrimSpace(line), ""), "...")
		if line == "" || strings.HasPrefix(line, "build/") {
			continue
		}
		require.Contains(t, said, line)
		lines++
	}
	require.Greater(t, lines, 2)
}
