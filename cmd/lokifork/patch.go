// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// dirtyError says that files of a checkout are neither Loki's own nor patched.
type dirtyError struct {
	dir   string
	files []string // each with what is the matter with it
}

// Error lists the files and what to do.
func (e *dirtyError) Error() string {
	return fmt.Sprintf("%s: these files are in the way:\n  %s\n  what to do: commit or stash your own changes to them. Take a half or an older patch back: "+
		"one that is committed with git revert of its commit, another with git checkout -- FILE, and delete the files that it added. "+
		"Then patch again. Nothing was changed.",
		e.dir, strings.Join(e.files, "\n  "))
}

// plan is what patch does to a checkout.
type plan struct {
	module  *lokisModule      // that go.mod finds afterwards
	changes map[string][]byte // the files to write; none if the checkout is patched already
}

// planPatch makes all checks that patch makes, and changes nothing.
func planPatch(root, dir string, f *fitting, withTests bool) (*plan, error) {
	if err := checkCheckout(dir); err != nil {
		return nil, err
	}
	if err := f.missing(); err != nil {
		return nil, err
	}
	changes, inTheWay, err := missingChanges(dir, f, withTests)
	if err != nil {
		return nil, err
	}
	module, err := moduleOf(root, filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	gomod, err := missingRequire(module, dir)
	if err != nil {
		return nil, err
	}
	if gomod != nil {
		changes["go.mod"] = gomod
	}
	modified, err := notCommitted(dir, changes)
	if err != nil {
		return nil, err
	}
	if inTheWay = append(inTheWay, modified...); len(inTheWay) > 0 {
		return nil, &dirtyError{dir, inTheWay}
	}
	return &plan{module, changes}, nil
}

// patchCheckout makes all edits in a git checkout of Loki, or none; chunkring's tests of what it adds are added, too, if
// somebody wants to run them there.
func patchCheckout(out io.Writer, root, dir string, withTests bool) error {
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
	p, err := planPatch(root, dir, f, withTests)
	if err != nil {
		return err
	}
	if err := p.module.make(); err != nil {
		return err
	}
	if err := write(dir, p.changes); err != nil {
		return err
	}
	for _, line := range f.leftOut() {
		fmt.Fprintln(out, line)
	}
	p.say(out, root, dir)
	if !withTests {
		return nil
	}
	packages, err := testedPackages(f)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "its tests: CGO_ENABLED=1 CHUNKRING_TESTDATA=%s go test -run '%s' %s\n",
		filepath.Join(root, "testdata"), testNames, strings.Join(packages, " "))
	return nil
}

// say says what was done to a checkout, and how it is built now.
func (p *plan) say(out io.Writer, root, dir string) {
	if len(p.changes) == 0 {
		fmt.Fprintf(out, "%s: patched already\n", dir)
		return
	}
	for _, name := range sortedNames(p.changes) {
		fmt.Fprintln(out, "patched", name)
	}
	if _, err := os.Stat(filepath.Join(dir, "vendor", "modules.txt")); err == nil {
		fmt.Fprintln(out, "this checkout has a vendor folder, which can't have chunkring's C library: build with -mod=mod")
	}
	fmt.Fprintf(out, "build it with CGO_ENABLED=1, after make lib in %s\n", root)
}

// testNames are those of the tests that are added, as a pattern for go test.
const testNames = "Chunkring|SetReaderPool|DecodeVerified|VerifiedBlock|LeanSymbolizer|ParseMetadata|LabelCache"

// testedPackages are those that tests are added to.
func testedPackages(f *fitting) (packages []string, err error) {
	files, err := f.files(true)
	if err != nil {
		return nil, err
	}
	for _, name := range sortedNames(files) {
		if strings.HasSuffix(name, "_test.go") {
			packages = append(packages, "./"+path.Dir(name))
		}
	}
	return slices.Compact(packages), nil
}

// checkLoki reports what keeps dir from being the root of Loki's source.
func checkLoki(dir string) error {
	gomod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return fmt.Errorf("not a checkout of Loki: %w", err)
	}
	if modfile.ModulePath(gomod) != lokiModule {
		return fmt.Errorf("%s: not a checkout of Loki: its go.mod does not say module %s", dir, lokiModule)
	}
	return nil
}

// checkCheckout reports what keeps a Loki from being a git checkout. That it lies inside of one that does not have
// its files is not enough.
func checkCheckout(dir string) error {
	if _, err := runCommand(dir, "git", "cat-file", "-e", "HEAD:./go.mod"); err != nil {
		return fmt.Errorf("%s: not a git checkout, so a mistake could not be taken back: %w", dir, err)
	}
	return nil
}

// missingChanges returns the files to write, and which are in the way. Those to write are as Loki has them or not
// there; a file that is patched already is left out.
func missingChanges(dir string, f *fitting, withTests bool) (changes map[string][]byte, inTheWay []string, err error) {
	changes = map[string][]byte{}
	for i := range f.parts {
		if pf := &f.parts[i]; !pf.in && pf.made > 0 {
			inTheWay = append(inTheWay, fmt.Sprintf("the files of %s: it is left out of this Loki, but %d of its edits are in", pf.name, pf.made))
		}
	}
	names, groups := byFile(f.edits)
	for _, name := range names {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, err
		}
		applied, missing := patchState(src, groups[name])
		switch {
		case len(missing) == 0:
		case len(applied) > 0:
			inTheWay = append(inTheWay, fmt.Sprintf("%s: half-patched: has %q, lacks %q", name, applied[0], missing[0]))
		default:
			if changes[name], err = apply(src, groups[name]); err != nil {
				return nil, nil, err
			}
		}
	}
	files, err := f.files(withTests)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range sortedNames(files) {
		switch old, err := os.ReadFile(filepath.Join(dir, name)); {
		case os.IsNotExist(err):
			changes[name] = files[name]
		case err != nil:
			return nil, nil, err
		case !bytes.Equal(old, files[name]):
			inTheWay = append(inTheWay, name+": is there with other contents: of an older lokifork, or changed")
		}
	}
	return changes, inTheWay, nil
}

// missingRequire returns the go.mod that finds chunkring's module, and nil if it does already.
func missingRequire(module *lokisModule, dir string) ([]byte, error) {
	gomod := filepath.Join(dir, "go.mod")
	old, err := os.ReadFile(gomod)
	if err != nil {
		return nil, err
	}
	path, err := localPath(dir, module.folder)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "lokifork-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	edited, err := requireChunkring(work, gomod, path)
	if err != nil || bytes.Equal(old, edited) {
		return nil, err
	}
	return edited, nil
}

// notCommitted returns which of the files to write git can't bring back.
func notCommitted(dir string, changes map[string][]byte) (inTheWay []string, err error) {
	if len(changes) == 0 {
		return nil, nil
	}
	args := append([]string{"status", "--porcelain", "--untracked-files=all", "--ignored", "--"}, sortedNames(changes)...)
	status, err := runCommand(dir, "git", args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(status)) {
		name := strings.TrimSpace(line[min(len(line), 3):])
		if strings.HasPrefix(line, "??") || strings.HasPrefix(line, "!!") {
			inTheWay = append(inTheWay, name+": is not committed")
		} else {
			inTheWay = append(inTheWay, name+": has changes that are not committed")
		}
	}
	return inTheWay, nil
}

// patchState tells which of a file's edits are in it already.
func patchState(src []byte, all []edit) (applied, missing []string) {
	for i := range all {
		if all[i].isIn(src) {
			applied = append(applied, all[i].why)
		} else {
			missing = append(missing, all[i].why)
		}
	}
	return applied, missing
}
