// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestModuleVersion(t *testing.T) {
	for version, want := range map[string]lokiVersion{
		"v3.7.8":                               {"v3.7.8", false},
		"v3.7.9-0.20260822101112-65e30f8488e8": {"v3.7.8", true},
		"v3.0.0-20260822101112-65e30f8488e8":   {},
	} {
		require.Equal(t, want, moduleVersion(version), version)
	}
}

// TestCheckoutVersion: only a tag on the commit says its version. Anything else says what it comes after, and tags that
// are not releases of Loki say nothing.
func TestCheckoutVersion(t *testing.T) {
	dir := t.TempDir()
	manifest := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".release-please-manifest.json"), []byte(text), 0o666))
	}
	git(t, dir, "init", "-q")
	commit := func() { git(t, dir, "commit", "-q", "--allow-empty", "-m", "work") }
	commit()
	check := func(release string, orLater bool, says string) {
		t.Helper()
		v := checkoutVersion(dir)
		require.Equal(t, lokiVersion{release, orLater}, v)
		require.Equal(t, says, v.String())
	}
	check("", false, "of unknown version")
	for _, foreign := range []string{"v1.4.0", "v2.9.1", "v3", "v3.9", "v3.9.0-acme.1", "v3.9.0+acme", "vendor", "helm-loki-6.0.0"} {
		git(t, dir, "tag", foreign)
	}
	check("", false, "of unknown version")
	manifest("not JSON")
	check("", false, "of unknown version")
	manifest(`{".": "3.7.7"}`)
	check("v3.7.7", true, "v3.7.7 or later (no tag vX.Y.Z on it)")
	git(t, dir, "tag", "-a", "v3.7.8", "-m", "release")
	check("v3.7.8", false, "v3.7.8")
	commit()
	git(t, dir, "tag", "v1.5.0")
	check("v3.7.8", true, "v3.7.8 or later (no tag vX.Y.Z on it)")
	manifest(`{".": "3.8.0"}`)
	check("v3.8.0", true, "v3.8.0 or later (no tag vX.Y.Z on it)")
	git(t, dir, "tag", "v3.9.0")
	git(t, dir, "tag", "v3.10.0")
	check("v3.10.0", false, "v3.10.0")
}
