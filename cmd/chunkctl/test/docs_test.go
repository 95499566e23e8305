// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
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
