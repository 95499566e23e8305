// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	Loki     string       `json:"loki"`          // version, "" if unknown
	OrLater  bool         `json:"loki_or_later"` // it has no tag; it comes after that version
	Parts    []partStatus `json:"parts"`
	GoMod    string       `json:"go_mod,omitempty"`     // what is wrong with its replace line
	InTheWay []string     `json:"in_the_way,omitempty"` // files for which patch refuses, each with what is the matter
	Refused  string       `json:"refused,omitempty"`    // why patch refuses, if not for files or anchors
	Changes  []string     `json:"changes"`              // the files that patch writes; null if it refuses
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

	Alternatives []movedStatus `json:"alternatives,omitempty"` // anchors of other Lokis in the same place
}

// statusOf says it of one place: of the first alternative, and of the others below it.
func statusOf(alternatives []*movedError) movedStatus {
	var all []movedStatus
	for _, m := range alternatives {
		all = append(all, movedStatus{m.edit.file, m.edit.in, m.edit.at, m.what, m.edit.why, nil})
	}
	all[0].Alternatives = all[1:]
	return all[0]
}

func (pf *partFit) status() partStatus {
	s := partStatus{Part: pf.name, Edits: pf.made + pf.toMake}
	for _, alternatives := range pf.moved {
		s.Moved = append(s.Moved, statusOf(alternatives))
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

// printStatus says how each part fits the Loki of a directory, which anchors moved, and whether patch would do. Its
// error is that of patch. It changes nothing.
func printStatus(out io.Writer, root, dir string, asJSON bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := checkLoki(dir); err != nil {
		return err
	}
	f, err := fit(dir, checkoutVersion(dir), edits)
	if err != nil {
		return err
	}
	st := checkoutStatus{Loki: f.version.release, OrLater: f.version.orLater}
	for i := range f.parts {
		st.Parts = append(st.Parts, f.parts[i].status())
	}
	if st.GoMod, err = replaceFault(dir); err != nil {
		return err
	}
	p, refused := planPatch(root, dir, f, false)
	st.setPlan(p, refused)
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(st)
	} else {
		_, err = io.WriteString(out, st.text())
	}
	if err != nil {
		return fmt.Errorf("print the status: %w", err)
	}
	return refused
}

// setPlan says what patch would do, or why it would not.
func (st *checkoutStatus) setPlan(p *plan, refused error) {
	var dirty *dirtyError
	var moved *movedError
	switch {
	case refused == nil:
		st.Changes = append([]string{}, sortedNames(p.changes)...)
	case errors.As(refused, &dirty):
		st.InTheWay = dirty.files
	case !errors.As(refused, &moved): // those that moved are listed with their parts
		st.Refused = refused.Error()
	}
}

// replaceFault says why go.mod finds no chunkring although a replace line names a folder of it.
func replaceFault(dir string) (string, error) {
	mod, err := readModfile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", err
	}
	path, ok := mod.replaced(chunkringModule)
	if !ok {
		return "", nil
	}
	switch _, err := os.Stat(filepath.Join(below(dir, path), "go.mod")); {
	case errors.Is(err, os.ErrNotExist):
		return "its replace line names " + path + ", which does not exist or has no go.mod", nil
	case err != nil:
		return "", err
	}
	return "", nil
}

func (st *checkoutStatus) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Loki %s\n", lokiVersion{st.Loki, st.OrLater})
	for _, s := range st.Parts {
		fmt.Fprintf(&b, "%-16s %-9s %d edits, %d anchors moved", s.Part, s.State, s.Edits, len(s.Moved))
		if s.Why != "" {
			fmt.Fprintf(&b, ": %s", s.Why)
		}
		b.WriteByte('\n')
		for _, m := range s.Moved {
			fmt.Fprintf(&b, "  %s, %s: %s: %s", m.File, m.In, m.What, firstLine(m.Anchor))
			if n := len(m.Alternatives); n > 0 {
				fmt.Fprintf(&b, " (%d more looked for in its place)", n)
			}
			b.WriteByte('\n')
		}
	}
	if st.GoMod != "" {
		fmt.Fprintf(&b, "go.mod: %s\n", st.GoMod)
	}
	for _, file := range st.InTheWay {
		fmt.Fprintf(&b, "in the way: %s\n", file)
	}
	switch {
	case st.Refused != "":
		fmt.Fprintf(&b, "lokifork patch would refuse: %s\n", firstLine(st.Refused))
	case st.Changes == nil:
		b.WriteString("lokifork patch would refuse\n")
	case len(st.Changes) == 0 && st.GoMod != "":
		b.WriteString("lokifork patch would make that folder\n")
	case len(st.Changes) == 0:
		b.WriteString("patched already\n")
	case st.patchedInPart():
		fmt.Fprintf(&b, "lokifork patch would write %s\n", strings.Join(st.Changes, ", "))
	default:
		fmt.Fprintf(&b, "lokifork patch would write %d files\n", len(st.Changes))
	}
	return b.String()
}

func (st *checkoutStatus) patchedInPart() bool {
	return slices.ContainsFunc(st.Parts, func(s partStatus) bool { return s.State == stateIn || s.State == stateHalf })
}

func firstLine(s string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if rest != "" {
		line += " ..."
	}
	return line
}
