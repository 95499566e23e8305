// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The states of a part that status knows.
const (
	stateIn      = "in"       // patched
	stateHalf    = "half_in"  // some of its edits are
	stateFits    = "fits"     // all anchors are where they should be
	stateLeftOut = "left_out" // as known of this version
	stateNeeds   = "needs"    // fits, but the part that it needs does not
	stateMoved   = "moved"    // anchors are not where they should be
)

// checkoutStatus is what lokifork status -json prints.
type checkoutStatus struct {
	Loki  string       `json:"loki"` // version, "" if unknown
	Parts []partStatus `json:"parts"`
}

type partStatus struct {
	Part  string        `json:"part"`
	State string        `json:"state"`
	Why   string        `json:"why,omitempty"`
	Edits int           `json:"edits"` // that are in, or could be made
	Moved []movedStatus `json:"moved,omitempty"`
}

type movedStatus struct {
	File   string `json:"file"`
	In     string `json:"in"`
	Anchor string `json:"anchor"`
	What   string `json:"what"`
	Edit   string `json:"edit"`
}

func (pf *partFit) status() partStatus {
	s := partStatus{Part: pf.name, Edits: pf.made + pf.toMake}
	for _, m := range pf.moved {
		s.Moved = append(s.Moved, movedStatus{m.edit.file, m.edit.in, m.edit.at, m.what, m.edit.why})
	}
	switch {
	case pf.made > 0 && (pf.toMake > 0 || len(pf.moved) > 0):
		s.State = stateHalf
	case pf.in && pf.made > 0:
		s.State = stateIn
	case pf.in:
		s.State = stateFits
	case pf.mayLack != "":
		s.State, s.Why = stateLeftOut, pf.mayLack
	case len(pf.moved) > 0:
		s.State = stateMoved
	default:
		s.State, s.Why = stateNeeds, "it needs "+pf.needs.name
	}
	return s
}

// printStatus says how each part fits the Loki of a directory, and which anchors moved. It changes nothing.
func printStatus(out io.Writer, dir string, asJSON bool) error {
	if err := checkLoki(dir); err != nil {
		return err
	}
	f, err := fit(dir, checkoutVersion(dir), edits)
	if err != nil {
		return err
	}
	st := checkoutStatus{Loki: f.version}
	dirty := &dirtyError{dir: dir}
	for i := range f.parts {
		s := f.parts[i].status()
		if s.State == stateHalf {
			dirty.files = append(dirty.files, "those of the part "+s.Part+": half-patched")
		}
		st.Parts = append(st.Parts, s)
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(st)
	} else {
		_, err = io.WriteString(out, st.text())
	}
	switch {
	case err != nil:
		return fmt.Errorf("print the status: %w", err)
	case len(dirty.files) > 0:
		return dirty
	}
	return f.missing()
}

func (st *checkoutStatus) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Loki %s\n", nameOf(st.Loki))
	for _, s := range st.Parts {
		fmt.Fprintf(&b, "%-16s %-9s %d edits, %d anchors moved", s.Part, s.State, s.Edits, len(s.Moved))
		if s.Why != "" {
			fmt.Fprintf(&b, ": %s", s.Why)
		}
		b.WriteByte('\n')
		for _, m := range s.Moved {
			fmt.Fprintf(&b, "  %s, %s: %s: %s\n", m.File, m.In, m.What, firstLine(m.Anchor))
		}
	}
	return b.String()
}

func firstLine(s string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if rest != "" {
		line += " ..."
	}
	return line
}

// checkoutVersion is the version of a Loki that is not a module: that of its tag, or the last release of its branch
// with +later; "" if nothing says it.
func checkoutVersion(dir string) string {
	if tag, err := runCommand(dir, "git", "describe", "--tags", "--exact-match", "--match", "v[0-9]*"); err == nil {
		return strings.TrimSpace(string(tag))
	}
	var released struct {
		Loki string `json:"."`
	}
	manifest, err := os.ReadFile(filepath.Join(dir, ".release-please-manifest.json"))
	if err != nil || json.Unmarshal(manifest, &released) != nil || released.Loki == "" {
		return ""
	}
	return "v" + released.Loki + "+later"
}
