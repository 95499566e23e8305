// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	modpath "golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// lokiVersion is what is known of the version of a Loki.
type lokiVersion struct {
	release string // as v3.7.8; "" if nothing is known
	orLater bool   // the Loki comes after that release; which one it is, or will be, is not known
}

// String says it to people.
func (v lokiVersion) String() string {
	switch {
	case v.release == "":
		return "of unknown version"
	case v.orLater:
		return v.release + " or later (no tag vX.Y.Z on it)"
	}
	return v.release
}

// moduleVersion is the version of a Loki that is a module. A commit without a tag has a pseudo-version, which names
// the release before it at best.
func moduleVersion(version string) lokiVersion {
	if !modpath.IsPseudoVersion(version) {
		return lokiVersion{release: version}
	}
	base, err := modpath.PseudoVersionBase(version)
	if err != nil || base == "" {
		return lokiVersion{}
	}
	return lokiVersion{base, true}
}

// checkoutVersion is the version of a Loki that is a git checkout: that of the tag on it, or else the later one of
// the nearest tag before it and the last release that Loki's release manifest names. At a release the manifest still
// names the one before.
func checkoutVersion(dir string) lokiVersion {
	if tags, err := runCommand(dir, "git", "tag", "--points-at", "HEAD"); err == nil {
		newest := ""
		for tag := range strings.FieldsSeq(string(tags)) {
			if isRelease(tag) && semver.Compare(tag, newest) > 0 {
				newest = tag
			}
		}
		if newest != "" {
			return lokiVersion{release: newest}
		}
	}
	last := manifestRelease(dir)
	// The patterns are wider than isRelease; what they let through besides is left out.
	out, err := runCommand(dir, "git", "describe", "--tags", "--abbrev=0", "--match", "v3.[0-9]*.[0-9]*", "--exclude", "*[-+]*")
	if nearest := strings.TrimSpace(string(out)); err == nil && isRelease(nearest) && semver.Compare(nearest, last) > 0 {
		last = nearest
	}
	return lokiVersion{last, last != ""}
}

// manifestRelease is the last release of a branch of Loki's, "" if nothing says it.
func manifestRelease(dir string) string {
	var released struct {
		Loki string `json:"."`
	}
	manifest, err := os.ReadFile(filepath.Join(dir, ".release-please-manifest.json"))
	if err != nil || json.Unmarshal(manifest, &released) != nil || !isRelease("v"+released.Loki) {
		return ""
	}
	return "v" + released.Loki
}

// isRelease reports whether a tag is that of a release of Loki's module. A fork's own tags often have another major
// version, or a suffix.
func isRelease(tag string) bool {
	_, major, _ := modpath.SplitPathVersion(lokiModule)
	return semver.IsValid(tag) && semver.Canonical(tag) == tag && semver.Prerelease(tag) == "" && "/"+semver.Major(tag) == major
}
