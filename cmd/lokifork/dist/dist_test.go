// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func testOptions(t *testing.T) *options {
	t.Helper()
	return &options{
		tree: "../../..", out: t.TempDir(), work: t.TempDir(), arch: "amd64", version: "0.1.0-rc.1", lokiVersion: "3.7.8",
		commit: "c0ffee", epoch: 1_790_000_000,
	}
}

// TestStatic: a program that Go links itself passes, this machine's shell has a loader, an object file is no program.
func TestStatic(t *testing.T) {
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(source, []byte("package main\nfunc main() {}\n"), 0o666))
	t.Setenv("CGO_ENABLED", "0")
	_, err := output("go", "build", "-o", program, source)
	require.NoError(t, err)
	require.NoError(t, checkStatic(program))
	require.ErrorContains(t, checkStatic("/bin/sh"), "/bin/sh: has an interpreter")
	require.ErrorContains(t, checkStatic(source), source)
}

// TestParse: a command has what it needs, or it is not begun.
func TestParse(t *testing.T) {
	all := []string{"pack", "-version", "0.1.0", "-loki", "3.7.8", "-commit", "c0ffee"}
	for _, args := range [][]string{all, {"static", "program"}, {"sums", "dir"}} {
		command, err := parse(args)
		require.NoError(t, err)
		require.NotNil(t, command)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "a command is missing"},
		{[]string{"make"}, "make is no command"},
		{[]string{"static"}, "an argument is missing"},
		{[]string{"sums", "a", "b"}, `unexpected argument "b"`},
		{all[:5], "-commit is missing"},
		{append(all, "file"), `unexpected argument "file"`},
	} {
		_, err := parse(c.args)
		require.EqualError(t, err, c.says)
	}
	_, err := parse([]string{"-help"})
	require.ErrorIs(t, err, flag.ErrHelp)
	_, err = parse([]string{"pack", "-help"})
	require.ErrorIs(t, err, flag.ErrHelp)
}

func TestClassify(t *testing.T) {
	const (
		mit    = "Permission is hereby granted, free of\n// charge, to any person obtaining a copy"
		apache = "   Apache License\n   Version 2.0, January 2004"
		bsd    = "Redistribution and use in source and binary\nforms, with or without"
		bsd3   = bsd + "\n * Neither the name of Google"
		isc    = "Permission to use, copy, modify, and/or distribute this software for any\npurpose with or without fee"
	)
	for want, texts := range map[string][]text{
		"MIT":                {{"LICENSE", mit}},
		"BSD-3-Clause":       {{"LICENSE", bsd3}},
		"BSD-2-Clause":       {{"LICENSE", bsd}},
		"ISC":                {{"LICENSE", isc}},
		"Apache-2.0":         {{"LICENSE", apache}, {"NOTICE", mit}, {"internal/x/LICENSE", bsd}},
		"Apache-2.0 AND MIT": {{"LICENSE.libyaml", mit}, {"LICENSE", apache}},
	} {
		got, err := classify("m", texts)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := classify("example.org/m", []text{{"LICENSE", "All rights reserved."}})
	require.ErrorContains(t, err, "example.org/m: no licence that is known")
	_, err = classify("example.org/m", nil)
	require.Error(t, err)
}

// TestLicenceTexts: every text is found, that of the module first; sources named like one are none.
func TestLicenceTexts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/LICENSE-MIT", "COPYING.txt", "NOTICE", "license.go", "testdata/LICENSE", "a/readme"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o666))
	}
	texts, err := licenceTexts(dir)
	require.NoError(t, err)
	require.Equal(t, []text{{"COPYING.txt", "COPYING.txt"}, {"NOTICE", "NOTICE"}, {"a/LICENSE-MIT", "a/LICENSE-MIT"}}, texts)
	all := string(licencesFile("x", []component{{name: "m", version: "v1", licence: "MIT", texts: texts}, {name: "n", version: "v2", licence: "MIT", texts: texts[:1]}}))
	require.Contains(t, all, "m v1: MIT; texts: COPYING.txt [1], NOTICE [2], a/LICENSE-MIT [3]\nn v2: MIT; texts: COPYING.txt [1]\n")
	require.Equal(t, 1, strings.Count(all, "\nCOPYING.txt\n"), "a text that two have is there once")
}

// TestTarIsTheSame: neither the order of files nor the times, owners and modes on disk get in.
func TestTarIsTheSame(t *testing.T) {
	from := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(from, []byte("data"), 0o600))
	files := []file{{name: "b/x", from: from, mode: 0o644}, {name: "a", mode: fs.ModeDir | 0o755, uid: 7}, {name: "b/l", link: "x"}}
	at := time.Unix(1_790_000_000, 0)
	var one, two bytes.Buffer
	require.NoError(t, writeTar(&one, files, at))
	require.NoError(t, os.Chtimes(from, at, at))
	require.NoError(t, writeTar(&two, []file{files[2], files[0], files[1]}, at))
	require.Equal(t, one.Bytes(), two.Bytes())
	var names []string
	for r := tar.NewReader(&one); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.True(t, at.Equal(h.ModTime))
		names = append(names, h.Name)
	}
	require.Equal(t, []string{"a/", "b/", "b/l", "b/x"}, names)
	require.Error(t, writeTar(io.Discard, append(files, files[0]), at), "a name that is there twice")
	require.Error(t, writeTar(io.Discard, []file{{name: "../x"}}, at))
}

// TestUnit: the unit allows what the seccomp profile allows, io_uring included, and has the user that the package makes.
func TestUnit(t *testing.T) {
	unit, err := systemdUnit(testOptions(t))
	require.NoError(t, err)
	require.NotContains(t, string(unit), "@SYSTEM_CALLS@")
	require.Regexp(t, `(?m)^SystemCallFilter=.*\bopenat2\b`, string(unit))
	require.Regexp(t, `(?m)^SystemCallFilter=.*\bio_uring_setup\b`, string(unit))
	require.NotContains(t, string(unit), "ptrace")
	script, err := debianFiles.ReadFile("debian/loki-chunkring.postinst")
	require.NoError(t, err)
	require.Contains(t, string(script), "--group --home /var/lib/loki --no-create-home loki\n")
	require.Regexp(t, `(?m)^User=loki$`, string(unit))
}

func TestVersions(t *testing.T) {
	o := testOptions(t)
	require.Equal(t, "0.1.0~rc.1", (&product{options: o, name: "chunkring", version: o.version}).debianVersion())
	require.Equal(t, "3.7.8+chunkring0.1.0~rc.1", (&product{options: o, name: "loki-chunkring", version: lokiVersion(o)}).debianVersion())
}

func TestPkgConfig(t *testing.T) {
	pc, err := testOptions(t).pkgConfig("/usr", "lib/x86_64-linux-gnu")
	require.NoError(t, err)
	require.Contains(t, string(pc), "prefix=/usr\n")
	require.Contains(t, string(pc), "libdir=${prefix}/lib/x86_64-linux-gnu\n")
	require.NotContains(t, string(pc), "@")
}

// TestImage: every descriptor of the archive leads to a blob with its digest and size, down to the layer, and
// manifest.json to the same blobs, with a name for each architecture.
func TestImage(t *testing.T) {
	o := testOptions(t)
	o.architectures = []string{"amd64", "arm64"}
	for _, arch := range o.architectures {
		files := []file{{name: "usr/bin/loki", data: []byte("for " + arch), mode: 0o755}}
		require.NoError(t, writeTarGz(filepath.Join(o.work, "layer-"+arch+".tar.gz"), files, o.time()))
	}
	require.NoError(t, makeImage(o))
	found, err := filepath.Glob(filepath.Join(o.out, "*.oci.tar"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	archive, err := os.ReadFile(found[0])
	require.NoError(t, err)
	content := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		content[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
	follow := func(d descriptor, into any) {
		blob := content[d.path()]
		require.Len(t, blob, int(d.Size), d.MediaType)
		if into != nil {
			require.NoError(t, json.Unmarshal(blob, into))
		}
	}
	var top, images manifest
	require.NoError(t, json.Unmarshal(content["index.json"], &top))
	require.Equal(t, "3.7.8-0.1.0-rc.1", top.Manifests[0].Annotations["org.opencontainers.image.ref.name"])
	follow(top.Manifests[0], &images)
	require.Len(t, images.Manifests, 2)
	var docker []dockerImage
	require.NoError(t, json.Unmarshal(content["manifest.json"], &docker))
	require.Len(t, docker, 2)
	for i, d := range images.Manifests {
		var m manifest
		var c imageConfig
		follow(d, &m)
		follow(*m.Config, &c)
		follow(m.Layers[0], nil)
		unpacked, err := digestUnpacked(filepath.Join(o.work, "layer-"+c.Architecture+".tar.gz"))
		require.NoError(t, err)
		require.Equal(t, []string{"sha256:" + unpacked}, c.Rootfs.DiffIDs)
		require.Equal(t, o.architectures[i], c.Architecture)
		require.Equal(t, c.Architecture, d.Platform.Architecture)
		require.Equal(t, "10001", c.Config.User)
		require.Equal(t, dockerImage{
			m.Config.path(), []string{"localhost/loki-chunkring:3.7.8-0.1.0-rc.1-" + c.Architecture}, []string{m.Layers[0].path()},
		}, docker[i])
	}
}

// TestBillOfMaterials: each component is there, and is depended on; the same program has the same list.
func TestBillOfMaterials(t *testing.T) {
	o := testOptions(t)
	c := []component{{name: "zstd", version: "1.5", licence: "BSD-3-Clause", purl: "pkg:deb/debian/libzstd-dev@1.5"}}
	text, err := billOfMaterials(o, "loki", "3", "AGPL-3.0-only", "dist_test.go", c)
	require.NoError(t, err)
	again, err := billOfMaterials(o, "loki", "3", "AGPL-3.0-only", "dist_test.go", c)
	require.NoError(t, err)
	require.Equal(t, text, again)
	var b bom
	require.NoError(t, json.Unmarshal(text, &b))
	require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, b.Serial)
	require.Equal(t, "2026-09-21T14:13:20Z", b.Metadata.Timestamp)
	require.Equal(t, c[0].purl, b.Components[0].PURL)
	require.Equal(t, []string{c[0].purl}, b.Dependencies[0].DependsOn)
}

// TestDeployFiles: what docs/deploy says of the image is so, and names no version, which would be another's soon.
func TestDeployFiles(t *testing.T) {
	const dir = "../../../docs/deploy"
	compose, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	require.NoError(t, err)
	values, err := os.ReadFile(filepath.Join(dir, "helm-values.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(compose), fmt.Sprintf("user: \"%d:%d\"\n", lokiUser, lokiUser))
	var chart struct {
		Loki struct {
			Container struct {
				Seccomp map[string]string `yaml:"seccompProfile"`
			} `yaml:"containerSecurityContext"`
		}
	}
	require.NoError(t, yaml.Unmarshal(values, &chart))
	// Of the container: the chart gives each one a profile that forbids io_uring, and that of the pod comes second.
	require.Equal(t, map[string]string{"type": "Localhost", "localhostProfile": "chunkring.json"}, chart.Loki.Container.Seccomp)
	guide, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	for _, text := range [][]byte{compose, values, guide} {
		require.NotRegexp(t, `\d+\.\d+\.\d+[-+]`, string(text))
	}
	_, profile, found := strings.Cut(string(compose), "seccomp=")
	require.True(t, found)
	profile, _, _ = strings.Cut(profile, "\n")
	require.FileExists(t, filepath.Join(dir, profile))
}
