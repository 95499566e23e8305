// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fitting is what is to be done to one Loki: its parts, and the edits of those that are in.
type fitting struct {
	version lokiVersion
	parts   []partFit
	edits   []edit
}

// partFit says how a part fits a Loki. It goes in if no anchor moved and the part that it needs is in.
type partFit struct {
	*part
	in      bool
	moved   [][]*movedError // of each place, all alternatives
	made    int             // edits that are in the files already
	toMake  int             // edits that are not
	mayLack string          // why this version may go without the part; "" if it may not
}

// unfitError says that parts do not fit a Loki that should have them.
type unfitError struct {
	version lokiVersion
	moved   []*movedError
}

// Error lists all the anchors that moved, and what to do.
func (e *unfitError) Error() string {
	var b strings.Builder
	for _, m := range e.moved {
		fmt.Fprintf(&b, "%s\n", m)
	}
	fmt.Fprintf(&b, `what to do: this Loki (%s) differs from those that the edits were made for. See how it does this now, adapt
the edits in cmd/lokifork/edits.go of chunkring, or add alternatives to them, and run its tests; docs/new-loki.md
says how. Or use a Loki whose files are the same.`, e.version)
	return b.String()
}

// Unwrap returns all *movedError.
func (e *unfitError) Unwrap() []error {
	var all []error
	for _, m := range e.moved {
		all = append(all, m)
	}
	return all
}

// sources reads the files of a Loki, each once.
type sources struct {
	dir  string
	read map[string][]byte
}

// file returns nil for a file that is not there.
func (s *sources) file(name string) ([]byte, error) {
	if src, ok := s.read[name]; ok {
		return src, nil
	}
	src, err := os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(name)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s.read[name] = src
	return src, nil
}

// fit looks for all anchors in the Loki of a directory. Those of edits that are in it already count as found.
func fit(dir string, version lokiVersion, all []edit) (*fitting, error) {
	f := &fitting{version: version}
	src := &sources{dir, map[string][]byte{}}
	chosen := map[*part][]edit{}
	for _, p := range parts {
		pf := partFit{part: p, mayLack: p.mayLack(version)}
		for _, alternatives := range choices(all, p) {
			e, isIn, moved, err := choose(src, alternatives)
			switch {
			case err != nil:
				return nil, err
			case e == nil:
				pf.moved = append(pf.moved, moved)
				continue
			case isIn:
				pf.made++
			case e.put != nowhere:
				pf.toMake++
			}
			chosen[p] = append(chosen[p], *e)
		}
		pf.in = len(pf.moved) == 0 && (p.needs == nil || f.has(p.needs))
		if pf.in {
			f.edits = append(f.edits, chosen[p]...)
		}
		f.parts = append(f.parts, pf)
	}
	return f, nil
}

// choices groups the edits of a part by what they are alternatives of.
func choices(all []edit, p *part) (groups [][]edit) {
	at := map[string]int{}
	for _, e := range all {
		i, ok := at[e.alt]
		switch {
		case e.part != p:
		case e.alt != "" && ok:
			groups[i] = append(groups[i], e)
		default:
			at[e.alt] = len(groups)
			groups = append(groups, []edit{e})
		}
	}
	return groups
}

// choose returns the alternative that is in the files already, or the first whose anchor is there, or where all
// were looked for in vain.
func choose(src *sources, alternatives []edit) (e *edit, isIn bool, moved []*movedError, err error) {
	for i := range alternatives {
		e := &alternatives[i]
		text, err := src.file(e.file)
		if err != nil {
			return nil, false, nil, err
		}
		if text != nil && e.isIn(text) {
			return e, true, nil, nil
		}
	}
	for i := range alternatives {
		e := &alternatives[i]
		if src.read[e.file] == nil {
			moved = append(moved, &movedError{e, "the file is gone"})
			continue
		}
		_, err := locate(src.read[e.file], e)
		var m *movedError
		switch {
		case err == nil:
			return e, false, nil, nil
		case !errors.As(err, &m):
			return nil, false, nil, err
		}
		moved = append(moved, m)
	}
	return nil, false, moved, nil
}

func (f *fitting) has(p *part) bool {
	return slices.ContainsFunc(f.parts, func(pf partFit) bool { return pf.part == p && pf.in })
}

// inAndOut are the parts that go in, and those that are left out.
func (f *fitting) inAndOut() (in, leftOut []*part) {
	for _, pf := range f.parts {
		if pf.in {
			in = append(in, pf.part)
		} else {
			leftOut = append(leftOut, pf.part)
		}
	}
	return in, leftOut
}

// missing is the error for parts that do not fit although this version of Loki should have them.
func (f *fitting) missing() error {
	e := &unfitError{version: f.version}
	for _, pf := range f.parts {
		if !pf.in && pf.mayLack == "" {
			e.moved = append(e.moved, slices.Concat(pf.moved...)...)
		}
	}
	if len(e.moved) == 0 {
		return nil
	}
	return e
}

// files are those that are added for the parts that are in.
func (f *fitting) files(withTests bool) (map[string][]byte, error) {
	all, err := added(withTests)
	if err != nil {
		return nil, err
	}
	brought := map[string]bool{} // by edits: whether the edit was chosen
	for i := range edits {
		if edits[i].with != "" {
			brought[edits[i].with] = false
		}
	}
	for i := range f.edits {
		brought[f.edits[i].with] = true
	}
	files := map[string][]byte{}
	for name, data := range all {
		p, err := partOf(name)
		if err != nil {
			return nil, err
		}
		if chosen, ok := brought[name]; f.has(p) && (chosen || !ok) {
			files[name] = data
		}
	}
	files[partsFile] = f.partsSource()
	return files, nil
}

const partsFile = "cmd/loki/chunkring_parts.go"

// partsSource is the file that tells a patched Loki what is in it.
func (f *fitting) partsSource() []byte {
	in, leftOut := f.inAndOut()
	return fmt.Appendf(nil, `// SPDX-License-Identifier: Apache-2.0

package main

// chunkring: this file was written by lokifork (github.com/chunkring/chunkring).

const (
	chunkringParts        = %q
	chunkringPartsLeftOut = %q
)
`, partNames(in), partNames(leftOut))
}

// leftOut says in one line each which parts are left out, and why.
func (f *fitting) leftOut() (lines []string) {
	for _, pf := range f.parts {
		if pf.in {
			continue
		}
		why := pf.mayLack
		if why == "" {
			why = "it needs " + pf.needs.name // a part that needs none is never left out
		}
		lines = append(lines, fmt.Sprintf("%s is left out (%s), Loki %s: %s", pf.name, pf.what, f.version, why))
	}
	return lines
}
