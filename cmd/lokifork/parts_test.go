// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPartsAreWhole: every edit and every file is of one part, and no file is named that is not there.
func TestPartsAreWhole(t *testing.T) {
	files, err := added(true)
	require.NoError(t, err)
	names := slices.Collect(maps.Keys(files))
	owners := map[*part]int{}
	for _, name := range names {
		p, err := partOf(name)
		require.NoError(t, err)
		owners[p]++
	}
	for i, p := range parts {
		require.NotZero(t, owners[p], p.name)
		require.True(t, p.needs == nil || slices.Contains(parts[:i], p.needs), "%s: comes after what it needs", p.name)
	}
	alternatives := map[string]*part{}
	for i := range edits {
		e := &edits[i]
		require.Contains(t, parts, e.part, e.why)
		require.Equal(t, e.put == nowhere, e.text == "", e.why)
		if e.with != "" {
			require.Contains(t, names, e.with, e.why)
			p, err := partOf(e.with)
			require.NoError(t, err)
			require.Same(t, e.part, p, e.why)
			require.NotEmpty(t, e.alt, "%s: a file of an edit without alternatives is the part's", e.why)
		}
		if e.alt != "" {
			p, ok := alternatives[e.alt]
			require.True(t, !ok || p == e.part, e.why)
			alternatives[e.alt] = e.part
		}
	}
	_, err = partOf("pkg/other/chunkring.go")
	require.ErrorContains(t, err, "a file of 0 parts")
}

func TestOnlyNamedPartsMayLack(t *testing.T) {
	exact := func(release string) lokiVersion { return lokiVersion{release: release} }
	require.NotEmpty(t, iterator.mayLack(exact("v3.5.7")))
	require.NotContains(t, iterator.mayLack(exact("v3.5.7")), "isn't sure")
	require.Contains(t, iterator.mayLack(lokiVersion{"v3.5.6", true}), "takes it for a Loki before v3.6.0, of which it isn't sure")
	require.Empty(t, iterator.mayLack(exact("v3.6.0")))
	require.Empty(t, iterator.mayLack(lokiVersion{"v3.6.0", true}))
	require.Empty(t, iterator.mayLack(lokiVersion{}), "of a Loki of unknown version nothing is left out")
	for _, p := range []*part{chunkClient, verifiedDecode, blockPath, diskCache, partialReads} {
		require.Empty(t, p.mayLack(exact("v3.5.7")), p.name)
	}
}

// lackIterator makes the iterators of a Loki what no edit of that part knows, and leaves the last release in the
// file that says it.
func lackIterator(t *testing.T, dir, version string) {
	replaceIn(t, dir, "pkg/chunkenc/memchunk.go", "e.extractor.Process(e.currTs, e.currLine, e.currStructuredMetadata)",
		"e.extractor.Process(e.currTs, e.currLine, e.currStructuredMetadata...)")
	saveRelease(t, dir, version)
}

// saveRelease commits everything, and that this was the last release.
func saveRelease(t *testing.T, dir, version string) {
	require.NoError(t, write(dir, map[string][]byte{
		".release-please-manifest.json": []byte(`{".": "` + version + `", "operator": "0.8.0"}`),
	}))
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-qm", "other iterators")
}

// TestPartLeftOut: nothing of it is there, in files or in edits, and everybody is told.
func TestPartLeftOut(t *testing.T) {
	dir, root := checkout(t), projectRoot(t)
	lackIterator(t, dir, "3.5.6")
	var out bytes.Buffer
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.Contains(t, out.String(), "iterator is left out")
	require.Contains(t, out.String(), "v3.5.6 or later (no tag vX.Y.Z on it): its iterators")
	require.Contains(t, out.String(), "isn't sure")
	got := snapshot(t, dir)
	for i := range edits {
		e := &edits[i]
		if e.part == iterator && e.put != nowhere {
			require.False(t, e.isIn([]byte(got[e.file])), e.why)
		}
	}
	files, err := added(true)
	require.NoError(t, err)
	for name := range files {
		p, err := partOf(name)
		require.NoError(t, err)
		if p == iterator {
			require.NotContains(t, got, name)
		}
	}
	require.Contains(t, got[partsFile], `"client verified_decode block_path disk_cache partial_reads"`)
	require.Contains(t, got[partsFile], `chunkringPartsLeftOut = "iterator"`)
	require.Contains(t, got, "pkg/compression/chunkring.go")

	out.Reset()
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.Contains(t, out.String(), "patched already")

	later := checkout(t)
	lackIterator(t, later, "3.7.5")
	before := snapshot(t, later)
	err = patchCheckout(&bytes.Buffer{}, root, later, false)
	require.Equal(t, exitMoved, exitCode(err))
	require.True(t, maps.Equal(before, snapshot(t, later)), "nothing was changed")
}

// TestAlternatives: what is made depends on the code, not on a version.
func TestAlternatives(t *testing.T) {
	const one, other = "package p\n\nfunc f() {\n\told()\n}\n", "package p\n\nfunc f() {\n\tfresh()\n}\n"
	all := []edit{
		{file: "p.go", why: "old", part: iterator, in: "func f", at: "old()", put: after, text: "a() // chunkring:", alt: "x"},
		{file: "p.go", why: "fresh", part: iterator, in: "func f", at: "fresh()", put: nowhere, alt: "x"},
	}
	const both = "package p\n\nfunc f() {\n\tfresh()\n\told()\n}\n"
	for src, why := range map[string]string{one: "old", other: "fresh", both: "old", "package p\n\nfunc f() {\n\told()\n\ta()\n}\n": "old"} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "p.go"), []byte(src), 0o666))
		f, err := fit(dir, lokiVersion{}, all)
		require.NoError(t, err)
		require.True(t, f.has(iterator))
		require.Len(t, f.edits, 1)
		require.Equal(t, why, f.edits[0].why)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.go"), []byte("package p\n\nfunc f() {}\n"), 0o666))
	f, err := fit(dir, lokiVersion{}, all)
	require.NoError(t, err)
	require.False(t, f.has(iterator))
	var unfit *unfitError
	require.ErrorAs(t, f.missing(), &unfit)
	require.Len(t, unfit.moved, 2, "what was looked for in vain is all alternatives")
}

// TestFilesOfAlternatives: a file that an alternative brings is there if that was chosen.
func TestFilesOfAlternatives(t *testing.T) {
	dir, chosen := sparseLoki(t)
	files, err := fitted(t, dir, lokiVersion{release: "v3.7.6"}).files(true)
	require.NoError(t, err)
	for i := range edits {
		if e := &edits[i]; e.with != "" {
			isChosen := slices.ContainsFunc(chosen, func(c edit) bool { return c.with == e.with })
			_, isThere := files[e.with]
			require.Equal(t, isChosen, isThere, e.with)
		}
	}
}

func TestStatus(t *testing.T) {
	root := projectRoot(t)
	status := func(dir string) (st checkoutStatus, code int) {
		before := snapshot(t, dir)
		var out bytes.Buffer
		err := printStatus(&out, root, dir, true)
		require.True(t, maps.Equal(before, snapshot(t, dir)), "nothing was changed")
		require.NoError(t, json.Unmarshal(out.Bytes(), &st))
		out.Reset()
		require.Equal(t, exitCode(err), exitCode(printStatus(&out, root, dir, false)))
		for _, p := range st.Parts {
			require.Contains(t, out.String(), p.Part)
			require.Contains(t, out.String(), p.State)
		}
		for _, file := range st.InTheWay {
			require.Contains(t, out.String(), "\nin the way: "+file+"\n")
		}
		if st.GoMod != "" {
			require.Contains(t, out.String(), "\ngo.mod: "+st.GoMod+"\n")
		}
		return st, exitCode(err)
	}
	states := func(st checkoutStatus) (all string) {
		for _, p := range st.Parts {
			all += p.State + " "
		}
		return strings.TrimSpace(all)
	}

	dir := checkout(t)
	st, code := status(dir)
	require.Equal(t, 0, code)
	require.Equal(t, "fits fits fits fits fits fits", states(st))
	require.Empty(t, st.Loki)
	git(t, dir, "tag", "v3.7.6")
	st, _ = status(dir)
	require.Equal(t, "v3.7.6", st.Loki)
	require.False(t, st.OrLater)

	require.NoError(t, patchCheckout(&bytes.Buffer{}, root, dir, false))
	st, code = status(dir)
	require.Equal(t, 0, code)
	require.Equal(t, "in in in in in in", states(st))

	require.Empty(t, st.Changes)
	require.NotNil(t, st.Changes)

	git(t, dir, "checkout", "-q", "--", "pkg/logql/log/filter.go")
	st, code = status(dir)
	require.Equal(t, 0, code, "patch makes what one file lacks")
	require.Equal(t, "in in in in in half_in", states(st))
	require.Equal(t, []string{"pkg/logql/log/filter.go"}, st.Changes)
	require.NoError(t, patchCheckout(&bytes.Buffer{}, root, dir, false))
	st, code = status(dir)
	require.Equal(t, 0, code)
	require.Equal(t, "in in in in in in", states(st))

	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-qm", "patched")
	replaceIn(t, dir, "pkg/storage/chunkring.go", "package storage", "package storage // as an older lokifork wrote it")
	git(t, dir, "commit", "-qam", "an older one")
	st, code = status(dir)
	require.Equal(t, exitDirty, code)
	require.Len(t, st.InTheWay, 1)
	require.Contains(t, st.InTheWay[0], "pkg/storage/chunkring.go")
	require.Nil(t, st.Changes)
	git(t, dir, "reset", "-q", "--hard", "HEAD~1")

	mod, err := readModfile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	path, ok := mod.replaced(chunkringModule)
	require.True(t, ok)
	replaceIn(t, dir, "go.mod", "=> "+path, "=> ../gone")
	st, code = status(dir)
	require.Equal(t, exitDirty, code, "go.mod is not committed")
	require.Contains(t, st.GoMod, "../gone")
	git(t, dir, "commit", "-qam", "chunkring was elsewhere")
	st, code = status(dir)
	require.Equal(t, 0, code, "patch mends it")
	require.Contains(t, st.GoMod, "../gone")
	require.Equal(t, []string{"go.mod"}, st.Changes)
	require.NoError(t, patchCheckout(&bytes.Buffer{}, root, dir, false))
	st, _ = status(dir)
	require.Empty(t, st.GoMod)

	noGit := checkout(t)
	require.NoError(t, os.RemoveAll(filepath.Join(noGit, ".git")))
	st, code = status(noGit)
	require.Equal(t, exitFailed, code)
	require.Contains(t, st.Refused, "not a git checkout")
	require.Len(t, st.Parts, len(parts))

	older := checkout(t)
	lackIterator(t, older, "3.5.6")
	st, code = status(older)
	require.Equal(t, 0, code)
	require.Equal(t, "v3.5.6", st.Loki)
	require.True(t, st.OrLater)
	require.Equal(t, "fits fits fits fits fits left_out", states(st))
	require.Len(t, st.Parts[5].Moved, 1, "one place")
	require.Len(t, st.Parts[5].Moved[0].Alternatives, 1)
	require.NotEmpty(t, st.Parts[5].Why)

	newer := checkout(t)
	replaceIn(t, newer, "pkg/compression/pool.go", "GetReaderPool", "ReaderPoolOf")
	replaceIn(t, newer, "pkg/chunkenc/memchunk.go", "b.enc", "b.codec")
	st, code = status(newer)
	require.Equal(t, exitMoved, code)
	require.Equal(t, "fits fits moved needs moved needs", states(st))
	require.Len(t, st.Parts[2].Moved, 1, "in one file")
	require.Len(t, st.Parts[4].Moved, 2, "all of them, in the other")

	require.Equal(t, exitFailed, exitCode(run([]string{"status", "-root", root, t.TempDir()}, &bytes.Buffer{})))
	for _, args := range [][]string{{"-json", older}, {older, "-json"}, {older, "--json"}} {
		var out bytes.Buffer
		require.NoError(t, run(append([]string{"status", "-root", root}, args...), &out))
		require.True(t, json.Valid(out.Bytes()), args)
	}
	for _, args := range [][]string{{}, {older, newer}, {older, "-no-such-flag"}} {
		require.Equal(t, exitUsage, exitCode(run(append([]string{"status"}, args...), &bytes.Buffer{})), args)
	}
}

// TestStatusLeavesModulesAlone: the module for a Loki with older modules is made by patch, not by status.
func TestStatusLeavesModulesAlone(t *testing.T) {
	dir, root := checkout(t), t.TempDir()
	require.NoError(t, write(root, map[string][]byte{"go.mod": []byte("module " + chunkringModule + "\n\ngo 1.99.0\n")}))
	require.NoError(t, printStatus(&bytes.Buffer{}, root, dir, false))
	require.NoDirExists(t, filepath.Join(root, "build"))
	require.NoError(t, patchCheckout(&bytes.Buffer{}, root, dir, false))
	made, err := filepath.Glob(filepath.Join(root, "build", "modules", "*", "go.mod"))
	require.NoError(t, err)
	require.Len(t, made, 1)

	require.NoError(t, os.RemoveAll(filepath.Join(root, "build")))
	var out bytes.Buffer
	require.NoError(t, printStatus(&out, root, dir, false))
	require.Contains(t, out.String(), "which does not exist or has no go.mod\nlokifork patch would make that folder\n")
	require.NoError(t, patchCheckout(&out, root, dir, false))
	require.FileExists(t, made[0])
}

// TestModuleFor: a Loki with older modules gets a module of chunkring's that requires no newer ones.
func TestModuleFor(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, write(root, map[string][]byte{
		"go.mod": []byte("module " + chunkringModule + "\n\ngo 1.26.5\n\nrequire (\n\texample.org/a v1.2.0\n\texample.org/b v1.0.0\n" +
			"\texample.org/tests v1.9.0\n\t" + lokiModule + " v3.7.6\n)\n\nrequire example.org/c v1.5.0 // indirect\n"),
		"go/x.go": []byte("package x\n"),
	}))
	lokiMod := func(text string) string {
		path := filepath.Join(t.TempDir(), "go.mod")
		require.NoError(t, os.WriteFile(path, []byte("module "+lokiModule+"\n\n"+text), 0o666))
		return path
	}
	const newer = "go 1.26.5\n\nrequire example.org/a v1.3.0\n\nrequire example.org/b v1.0.0\n"
	dir, err := moduleFor(root, lokiMod(newer))
	require.NoError(t, err)
	require.Equal(t, root, dir)

	for name, text := range map[string]string{
		"an older Go":              "go 1.24.0\n\nrequire (\n\texample.org/a v1.3.0\n\texample.org/b v1.0.0\n)\n",
		"an older module":          "go 1.26.5\n\nrequire (\n\texample.org/a v1.1.0\n\texample.org/b v1.0.0\n)\n",
		"an older indirect module": newer + "\nrequire example.org/c v1.4.0\n",
	} {
		older := lokiMod(text)
		dir, err := moduleFor(root, older)
		require.NoError(t, err, name)
		require.NotEqual(t, root, dir, name)
		own, err := readModfile(filepath.Join(dir, "go.mod"))
		require.NoError(t, err)
		loki, err := readModfile(older)
		require.NoError(t, err)
		require.False(t, own.newerThan(loki), name)
		_, ok := own.requires("example.org/a")
		require.True(t, ok, name)
		_, ok = own.requires("example.org/tests")
		require.False(t, ok, "Loki does not require it")
		require.FileExists(t, filepath.Join(dir, "go", "x.go"))
		again, err := moduleFor(root, older)
		require.NoError(t, err)
		require.Equal(t, dir, again)
	}
}
