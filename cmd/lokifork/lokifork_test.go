// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"go/format"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// projectRoot has the go.mod that names Loki.
func projectRoot(t *testing.T) string {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return root
}

// sparseLoki writes what lokifork reads of the real Loki to a new directory: the files it looks into, go.mod and
// go.sum. It returns the edits that are made to it.
func sparseLoki(t *testing.T) (dir string, chosen []edit) {
	loki, err := findLoki(projectRoot(t), "")
	require.NoError(t, err)
	dir = t.TempDir()
	files := map[string][]byte{}
	names := []string{"go.mod", "go.sum"}
	for i := range edits {
		names = append(names, edits[i].file)
	}
	for _, name := range names {
		files[name], err = os.ReadFile(filepath.Join(loki.Dir, name))
		require.NoError(t, err)
	}
	require.NoError(t, write(dir, files))
	f := fitted(t, dir, moduleVersion(loki.Version))
	require.NoError(t, f.missing())
	return dir, f.edits
}

func fitted(t *testing.T, dir string, version lokiVersion) *fitting {
	f, err := fit(dir, version, edits)
	require.NoError(t, err)
	return f
}

func git(t *testing.T, dir string, args ...string) string {
	out, err := runCommand(dir, "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
	require.NoError(t, err)
	return string(out)
}

// checkout is sparseLoki as a git repository with everything committed.
func checkout(t *testing.T) string {
	dir, _ := sparseLoki(t)
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-qm", "Loki")
	return dir
}

// snapshot reads all files below dir, less git's.
func snapshot(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(data)
		return err
	}))
	return files
}

func TestEmbeddedFilesAreFormatted(t *testing.T) {
	files, err := added(true)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for name, data := range files {
		formatted, err := format.Source(data)
		require.NoError(t, err, name)
		require.Equal(t, string(formatted), string(data), "%s: run gofmt on it", name)
		require.Contains(t, string(data), "// chunkring: this file was added by lokifork", name)
		require.Contains(t, string(data), "SPDX-License-Identifier: Apache-2.0", name)
	}
	noTests, err := added(false)
	require.NoError(t, err)
	for name := range noTests {
		require.NotContains(t, name, "_test.go")
	}
	require.Less(t, len(noTests), len(files))
}

// TestEditsAreSmallAndMarked: each is marked where it is, and nothing else of a file changes.
func TestEditsAreSmallAndMarked(t *testing.T) {
	dir, chosen := sparseLoki(t)
	names, groups := byFile(chosen)
	for _, name := range names {
		src, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		out, err := apply(src, groups[name])
		require.NoError(t, err)
		require.Equal(t, len(groups[name]), bytes.Count(out, []byte("// chunkring:")), name)
		rest, gone := strings.Split(string(out), "\n"), 0
		for line := range strings.SplitSeq(string(src), "\n") {
			if i := slices.Index(rest, line); i >= 0 {
				rest = rest[i+1:]
			} else {
				gone++
			}
		}
		replaced := 0
		for _, e := range groups[name] {
			if e.put == instead {
				replaced += strings.Count(strings.TrimSpace(e.at), "\n") + 1
			}
		}
		require.LessOrEqual(t, gone, replaced, "%s: other lines than the anchors' are gone", name)
		applied, missing := patchState(out, groups[name])
		require.Len(t, applied, len(groups[name]), name)
		require.Empty(t, missing, name)
		applied, _ = patchState(src, groups[name])
		require.Empty(t, applied, name)
	}
}

func TestTreeIsIdempotent(t *testing.T) {
	if testing.Short() {
		t.Skip("copies 100 MB")
	}
	root, dir := projectRoot(t), t.TempDir()
	tree := filepath.Join(dir, "loki-src")
	run := func() string {
		var out bytes.Buffer
		require.NoError(t, makePatched(&out, root, "", tree, filepath.Join(dir, "loki.mod"), filepath.Join(dir, "patched.mod")))
		return out.String()
	}
	require.Contains(t, run(), "patched or added")
	info, err := os.Stat(filepath.Join(tree, "go.mod"))
	require.NoError(t, err)
	require.Contains(t, run(), "up to date")
	again, err := os.Stat(filepath.Join(tree, "go.mod"))
	require.NoError(t, err)
	require.Equal(t, info.ModTime(), again.ModTime(), "nothing was written")

	edited := filepath.Join(tree, "pkg/compression/pool.go")
	want, err := os.ReadFile(edited)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(edited, []byte("package compression"), 0o666))
	require.Contains(t, run(), "patched or added", "an edited file that changed is made anew")
	got, err := os.ReadFile(edited)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))

	mod, err := os.ReadFile(filepath.Join(dir, "loki.mod"))
	require.NoError(t, err)
	require.NotContains(t, string(mod), "./pkg/push")
	require.Contains(t, string(mod), "replace github.com/chunkring/chunkring => ")
	mod, err = os.ReadFile(filepath.Join(dir, "patched.mod"))
	require.NoError(t, err)
	require.Contains(t, string(mod), "replace github.com/grafana/loki/v3 => ")

	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "precious"), nil, 0o666))
	err = makePatched(&bytes.Buffer{}, root, "", foreign, filepath.Join(dir, "loki.mod"), filepath.Join(dir, "patched.mod"))
	require.ErrorContains(t, err, "lokifork did not make")
	require.FileExists(t, filepath.Join(foreign, "precious"))
}

// TestStockIsLoki: the unpatched tree has Loki's files, writable, and nothing else but the stamp.
func TestStockIsLoki(t *testing.T) {
	if testing.Short() {
		t.Skip("copies 100 MB")
	}
	root, dir := projectRoot(t), t.TempDir()
	tree, modfile := filepath.Join(dir, "loki-stock-src"), filepath.Join(dir, "loki-stock.mod")
	run := func() string {
		var out bytes.Buffer
		require.NoError(t, makeStock(&out, root, "", tree, modfile))
		return out.String()
	}
	require.Contains(t, run(), " 0 files patched or added")
	require.Contains(t, run(), "up to date")
	loki, err := findLoki(root, "")
	require.NoError(t, err)
	var want, got []string
	list := func(of string, names *[]string) {
		require.NoError(t, filepath.WalkDir(of, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != stampName {
				*names = append(*names, strings.TrimPrefix(path, of))
			}
			return err
		}))
	}
	list(loki.Dir, &want)
	list(tree, &got)
	require.Equal(t, want, got)
	edited, _ := byFile(fitted(t, loki.Dir, moduleVersion(loki.Version)).edits)
	for _, name := range edited {
		theirs, err := os.ReadFile(filepath.Join(loki.Dir, name))
		require.NoError(t, err)
		ours, err := os.ReadFile(filepath.Join(tree, name))
		require.NoError(t, err)
		require.Equal(t, string(theirs), string(ours), name)
		info, err := os.Stat(filepath.Join(tree, name))
		require.NoError(t, err)
		require.NotZero(t, info.Mode().Perm()&0o200, "%s: the module cache's files are read-only, a copy is not", name)
	}
	mod, err := os.ReadFile(modfile)
	require.NoError(t, err)
	require.NotContains(t, string(mod), "./pkg/push")
	require.NotContains(t, string(mod), chunkringModule)
	require.FileExists(t, filepath.Join(dir, "loki-stock.sum"))
}

func TestMovedAnchor(t *testing.T) {
	const src = "package p\n\nfunc f() {\n\tg()\n\tg()\n\n\th( 1 ) // comment\n}\n\nfunc (t *T) m() { h(1) }\n"
	e := edit{file: "p.go", why: "because", in: "func f", at: "h(1)", put: after, text: "i() // chunkring:"}
	out, err := apply([]byte(src), []edit{e})
	require.NoError(t, err, "white space and comments don't matter")
	require.Contains(t, string(out), "h(1) // comment\n\ti()  // chunkring:\n}")

	for name, change := range map[string]func(*edit){
		"the code occurs 0 times":         func(e *edit) { e.at = "h(2)" },
		"the code occurs 2 times":         func(e *edit) { e.at = "g()" },
		"the declaration is gone":         func(e *edit) { e.in = "func other" },
		"the declaration is gone, method": func(e *edit) { e.in = "func m" },
	} {
		changed := e
		change(&changed)
		_, err := apply([]byte(src), []edit{changed})
		var moved *movedError
		require.ErrorAs(t, err, &moved, name)
		require.Equal(t, exitMoved, exitCode(err))
		for _, part := range []string{"p.go", changed.in, changed.at, "because", strings.TrimSuffix(name, ", method")} {
			require.ErrorContains(t, err, part)
		}
	}
	_, err = apply([]byte("package p\nfunc f( {"), []edit{e})
	require.ErrorContains(t, err, "does not parse")
	e.in = "func T.m"
	at, err := locate([]byte(src), &e)
	require.NoError(t, err)
	require.Equal(t, len(src), at.from, "after the line of the method, not of the function")
}

// TestMovedAnchorsOfLoki breaks each edit's anchor in turn in the real files: its part is not in, nor is any that
// needs it, and patching is refused.
func TestMovedAnchorsOfLoki(t *testing.T) {
	dir, chosen := sparseLoki(t)
	for i := range chosen {
		e := &chosen[i]
		path := filepath.Join(dir, e.file)
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		s, err := locate(src, e)
		require.NoError(t, err)
		first, last, ok, err := declaration(src, e.in)
		require.NoError(t, err)
		require.True(t, ok && first <= s.from)
		require.NoError(t, os.WriteFile(path, slices.Concat(src[:first], src[min(last, len(src)):]), 0o666))
		f := fitted(t, dir, lokiVersion{})
		_, err = patched(dir, f, false)
		require.Equal(t, exitMoved, exitCode(err), e.why)
		require.ErrorContains(t, err, e.why)
		for _, p := range parts { // those that need e's part are out with it
			needed := p
			for needed != nil && needed != e.part {
				needed = needed.needs
			}
			require.True(t, needed == nil || !f.has(p), "%s: %s", e.why, p.name)
		}
		require.NoError(t, os.WriteFile(path, src, 0o666))
	}
}

// TestAllMovedAnchorsAreNamed, not the first of each part alone.
func TestAllMovedAnchorsAreNamed(t *testing.T) {
	dir, chosen := sparseLoki(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "pkg/compression/pool.go")))
	replaceIn(t, dir, "pkg/storage/factory.go", "NewClientWithMaxParallel", "NewParallelClient")
	replaceIn(t, dir, "pkg/chunkenc/memchunk.go", "moveNext", "moveOn")
	err := fitted(t, dir, lokiVersion{release: "v3.7.6"}).missing()
	require.ErrorContains(t, err, "the file is gone")
	require.ErrorContains(t, err, "what to do")
	var unfit *unfitError
	require.ErrorAs(t, err, &unfit)
	moved := map[string]int{}
	for _, m := range unfit.moved {
		moved[m.edit.file]++
	}
	require.Equal(t, map[string]int{
		"pkg/compression/pool.go":  1,
		"pkg/storage/factory.go":   3, // with the alternative for later Lokis
		"pkg/chunkenc/memchunk.go": 1,
	}, moved)
	require.NotEmpty(t, chosen)
}

func replaceIn(t *testing.T, dir, name, from, to string) {
	path := filepath.Join(dir, name)
	src, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(src), from)
	require.NoError(t, os.WriteFile(path, bytes.ReplaceAll(src, []byte(from), []byte(to)), 0o666))
}

func TestPatchCheckout(t *testing.T) {
	dir, root := checkout(t), projectRoot(t)
	var out bytes.Buffer
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.Contains(t, out.String(), "patched go.mod")
	require.Contains(t, out.String(), "patched pkg/storage/chunk/chunkring.go")
	want := snapshot(t, dir)
	require.Contains(t, want["go.mod"], "github.com/chunkring/chunkring v0.0.0")
	require.Contains(t, want["go.mod"], "replace github.com/grafana/loki/pkg/push => ./pkg/push", "a checkout has it")

	out.Reset()
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.Contains(t, out.String(), "patched already")
	require.Equal(t, want, snapshot(t, dir))

	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-qm", "patched")
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.Empty(t, git(t, dir, "status", "--porcelain"))

	// An older patch is taken back as the message says.
	replaceIn(t, dir, "pkg/storage/chunkring.go", "package storage", "package storage // older")
	git(t, dir, "commit", "-q", "--amend", "-am", "patched")
	require.ErrorContains(t, patchCheckout(&out, root, dir, false), "git revert")
	git(t, dir, "revert", "--no-edit", "HEAD")
	require.NotContains(t, out.String(), "vendor")
	require.NoError(t, write(dir, map[string][]byte{"vendor/modules.txt": nil}))
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.Equal(t, want["pkg/storage/chunkring.go"], snapshot(t, dir)["pkg/storage/chunkring.go"])
	require.Contains(t, out.String(), "build with -mod=mod")
	require.NotContains(t, out.String(), "go mod vendor", "it leaves the C library out")
}

// TestPatchWithTests: chunkring's tests are added to a checkout only if somebody asks for them, with a command that runs
// each of them.
func TestPatchWithTests(t *testing.T) {
	dir, root := checkout(t), projectRoot(t)
	isTest := func(name string) bool {
		return strings.HasSuffix(name, "_test.go") && strings.Contains(name, "chunkring")
	}
	tests := func() (names []string) {
		for _, name := range slices.Sorted(maps.Keys(snapshot(t, dir))) {
			if isTest(name) {
				names = append(names, name)
			}
		}
		return names
	}
	var out bytes.Buffer
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.Empty(t, tests())
	require.NotContains(t, out.String(), "go test")

	out.Reset()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-qm", "patched")
	require.NoError(t, patchCheckout(&out, root, dir, true))
	f, err := fit(dir, checkoutVersion(dir), edits)
	require.NoError(t, err)
	files, err := f.files(true)
	require.NoError(t, err)
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return !isTest(name) })
	require.NotEmpty(t, files)
	require.Equal(t, slices.Sorted(maps.Keys(files)), tests())
	want := snapshot(t, dir)
	out.Reset()
	require.NoError(t, patchCheckout(&out, root, dir, true))
	require.Equal(t, want, snapshot(t, dir))

	command := regexp.MustCompile(`CHUNKRING_TESTDATA=(\S+) go test -run '(\S+)' (.*)\n`).FindStringSubmatch(out.String())
	require.NotNil(t, command, out.String())
	require.FileExists(t, filepath.Join(command[1], "bad", "index.json"))
	packages := strings.Fields(command[3])
	for name, text := range files {
		require.Contains(t, packages, "./"+filepath.Dir(name))
		for _, test := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			require.Regexp(t, command[2], string(test[1]), name)
		}
	}
	makefile, err := os.ReadFile(filepath.Join(root, "mk/test.mk"))
	require.NoError(t, err)
	require.Contains(t, string(makefile), "\nLOKI_TESTS := "+testNames+"\n")
}

func TestPatchRefuses(t *testing.T) {
	root := projectRoot(t)
	const file = "pkg/storage/factory.go"
	for name, tc := range map[string]struct {
		change   func(t *testing.T, dir string)
		say      []string
		code     int
		inStatus bool // of what is no Loki, status has nothing to print
	}{
		"changed": {func(t *testing.T, dir string) {
			appendTo(t, dir, file, "\n// mine\n")
		}, []string{file, "not committed"}, exitDirty, true},
		"half-patched": {func(t *testing.T, dir string) {
			_, groups := byFile(fitted(t, dir, lokiVersion{}).edits)
			src, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			src, err = apply(src, groups[file][:2])
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), src, 0o666))
			git(t, dir, "commit", "-qam", "half")
		}, []string{file, "half-patched"}, exitDirty, true},
		"older patch": {func(t *testing.T, dir string) {
			require.NoError(t, write(dir, map[string][]byte{"pkg/storage/chunkring.go": []byte("package storage\n")}))
		}, []string{"pkg/storage/chunkring.go", "other contents", "git revert", "git checkout -- FILE"}, exitDirty, true},
		"go.mod changed": {func(t *testing.T, dir string) {
			appendTo(t, dir, "go.mod", "\n// mine\n")
		}, []string{"go.mod", "not committed"}, exitDirty, true},
		"another Loki": {func(t *testing.T, dir string) {
			src, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			src = bytes.ReplaceAll(src, []byte("NewClientWithMaxParallel"), []byte("NewParallelClient"))
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), src, 0o666))
			git(t, dir, "commit", "-qam", "refactoring")
		}, []string{file, "func NewChunkClient", "what to do"}, exitMoved, true},
		"another project": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.org/x\n"), 0o666))
		}, []string{"not a checkout of Loki"}, exitFailed, false},
		"no git": {func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, ".git")))
		}, []string{"not a git checkout"}, exitFailed, true},
		"another project's git": {func(t *testing.T, dir string) {
			git(t, dir, "rm", "-rq", "--cached", ".")
			git(t, dir, "commit", "-qm", "has none of these files")
		}, []string{"not a git checkout"}, exitFailed, true},
		"in git's ignored files": {func(t *testing.T, dir string) {
			git(t, dir, "rm", "-q", "--cached", file)
			require.NoError(t, os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("factory.go\n"), 0o666))
			git(t, dir, "add", ".gitignore")
			git(t, dir, "commit", "-qm", "without a file")
		}, []string{file, "is not committed"}, exitDirty, true},
		"both an older patch and a change": {func(t *testing.T, dir string) {
			require.NoError(t, write(dir, map[string][]byte{"pkg/storage/chunkring.go": []byte("package storage\n")}))
			appendTo(t, dir, file, "\n// mine\n")
		}, []string{file + ": has changes", "pkg/storage/chunkring.go: is there"}, exitDirty, true},
		"edits of a part that is left out": {func(t *testing.T, dir string) {
			require.NoError(t, patchCheckout(&bytes.Buffer{}, root, dir, false))
			replaceIn(t, dir, "pkg/chunkenc/memchunk.go", "planSamples", "planAll")
			saveRelease(t, dir, "3.5.6")
		}, []string{"the files of iterator", "left out"}, exitDirty, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := checkout(t)
			tc.change(t, dir)
			before := snapshot(t, dir)
			err := patchCheckout(&bytes.Buffer{}, root, dir, false)
			for _, part := range tc.say {
				require.ErrorContains(t, err, part)
			}
			require.Equal(t, tc.code, exitCode(err))
			var out bytes.Buffer
			asStatus := printStatus(&out, root, dir, false)
			require.EqualError(t, asStatus, err.Error(), "status says what patch would")
			if tc.inStatus {
				require.Contains(t, out.String(), "lokifork patch would refuse")
				require.Contains(t, out.String(), tc.say[0])
			}
			require.True(t, maps.Equal(before, snapshot(t, dir)), "nothing was changed")
		})
	}
}

func appendTo(t *testing.T, dir, name, text string) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestDiffApplies: git apply makes of a pristine checkout what lokifork patch makes of it.
func TestDiffApplies(t *testing.T) {
	root, byPatch, byDiff := projectRoot(t), checkout(t), checkout(t)
	require.NoError(t, patchCheckout(&bytes.Buffer{}, root, byPatch, false))
	path, err := localPath(byPatch, root)
	require.NoError(t, err)
	var diff bytes.Buffer
	require.NoError(t, printDiff(&diff, root, "", path))
	patch := filepath.Join(t.TempDir(), "chunkring.patch")
	require.NoError(t, os.WriteFile(patch, diff.Bytes(), 0o666))
	git(t, byDiff, "apply", "--check", patch)
	git(t, byDiff, "apply", patch)
	require.Equal(t, snapshot(t, byPatch), snapshot(t, byDiff))
	require.NoError(t, patchCheckout(&diff, root, byDiff, false), "lokifork knows it as patched")
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"fork"}, {"patch"}, {"patch", "a", "b"}, {"tree", "x"}, {"stock", "x"}, {"status"}, {"status", "a", "b"}, {"diff", "-no-such-flag"}} {
		require.Equal(t, exitUsage, exitCode(run(args, &bytes.Buffer{})), "%q", args)
	}
	require.Equal(t, 0, exitCode(nil))
	for _, args := range [][]string{{"patch", "-help"}, {"status", "dir", "-h"}} {
		require.Equal(t, 0, exitCode(run(args, &bytes.Buffer{})), "%q", args)
	}
	var out bytes.Buffer
	require.NoError(t, run([]string{"-help"}, &out))
	for _, command := range []string{"tree", "stock", "patch", "status", "diff"} {
		require.Regexp(t, `(?m)^  lokifork `+command+` `, out.String())
		require.Regexp(t, `(?m)^  `+command+`  +\w`, out.String())
	}
	root := projectRoot(t)
	require.ErrorContains(t, run([]string{"patch", "-root", root, t.TempDir()}, &bytes.Buffer{}), "not a checkout of Loki")
	for _, args := range [][]string{{"patch", t.TempDir()}, {"status", t.TempDir()}, {"diff"}, {"tree"}, {"stock", "-root", t.TempDir()}} {
		err := run(args, &bytes.Buffer{})
		require.ErrorContains(t, err, "run in chunkring's folder or give -root", "%q", args)
		require.Equal(t, exitFailed, exitCode(err))
	}
}
