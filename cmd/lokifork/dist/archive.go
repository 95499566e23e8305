// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed SOURCE.txt
var sourceText string

// product is one of the two things that are published: chunkring itself, and a Loki with it.
type product struct {
	*options
	name, version string
	licences      []byte
	sbom          []byte
}

// archiveName is the name of its archive, without the ending.
func (p *product) archiveName() string {
	return fmt.Sprintf("%s-%s-linux-%s", p.name, p.version, p.arch)
}

func lokiVersion(o *options) string { return o.lokiVersion + "-" + o.version }

func sourceArchive(o *options) string { return "loki-chunkring-" + lokiVersion(o) + "-source.tar.gz" }

// in is a file of the tree, to be packed under a name.
func (o *options) in(tree, name string) file {
	f := file{name: name, from: filepath.Join(o.tree, tree), mode: 0o644}
	if strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "usr/bin/") {
		f.mode = 0o755
	}
	return f
}

// pack writes all of one architecture but the image, for which it leaves a layer in o.work.
func pack(o *options) error {
	c, err := cComponents(o)
	if err != nil {
		return err
	}
	program := filepath.Join(o.tree, "build/chunkctl")
	ring := &product{options: o, name: "chunkring", version: o.version, licences: licencesFile("chunkctl", c)}
	if ring.sbom, err = billOfMaterials(o, "chunkctl", o.version, "Apache-2.0", program, c); err != nil {
		return err
	}
	program = filepath.Join(o.tree, "build/loki")
	modules, err := goComponents(program)
	if err != nil {
		return err
	}
	all := append(modules, c...)
	loki := &product{options: o, name: "loki-chunkring", version: lokiVersion(o), licences: licencesFile("Loki with chunkring", all)}
	if loki.sbom, err = billOfMaterials(o, "loki", lokiVersion(o), "AGPL-3.0-only", program, all); err != nil {
		return err
	}
	for _, step := range []func() error{ring.packRing, loki.packLoki} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := packDebian(ring, loki); err != nil {
		return err
	}
	return loki.packLayer()
}

func (p *product) packRing() error {
	pc, err := p.pkgConfig("${pcfiledir}/../..", "lib")
	if err != nil {
		return err
	}
	return p.archive([]file{
		p.in("build/chunkctl", "bin/chunkctl"),
		p.in("c/include/chunkring.h", "include/chunkring.h"),
		p.in("build/libchunkring.a", "lib/libchunkring.a"),
		{name: "lib/pkgconfig/chunkring.pc", mode: 0o644, data: pc},
		p.in("cmd/chunkctl/chunkctl.1", "share/man/man1/chunkctl.1"),
		p.in("cmd/chunkctl/chunkctl.bash", "share/bash-completion/completions/chunkctl"),
		p.in("cmd/chunkctl/chunkctl.zsh", "share/zsh/site-functions/_chunkctl"),
		p.in("LICENSE", "LICENSE"),
	})
}

func (p *product) packLoki() error {
	source, err := sourceOffer(p.options)
	if err != nil {
		return err
	}
	unit, err := systemdUnit(p.options)
	if err != nil {
		return err
	}
	return p.archive([]file{
		p.in("build/loki", "bin/loki"),
		p.in("cmd/lokifork/dist/debian/config.yml", "config.yml"),
		{name: "loki.service", mode: 0o644, data: unit},
		p.in("go/chunkring/ops/seccomp.json", "seccomp.json"),
		p.in("go/chunkring/ops/alerts.yaml", "alerts.yaml"),
		p.in("go/chunkring/ops/dashboard.json", "dashboard.json"),
		p.in("build/loki-src/LICENSE", "LICENSE"),
		p.in("LICENSE", "LICENSE.chunkring"),
		{name: "SOURCE.txt", mode: 0o644, data: source},
	})
}

// archive writes the archive with files, licences and the list of components, and that list also beside it.
func (p *product) archive(files []file) error {
	files = append(files,
		file{name: "THIRD-PARTY-LICENSES.txt", mode: 0o644, data: p.licences},
		file{name: "sbom.cdx.json", mode: 0o644, data: p.sbom})
	name := filepath.Join(p.out, p.archiveName())
	if err := os.WriteFile(name+".cdx.json", p.sbom, 0o666); err != nil {
		return err
	}
	return writeTarGz(name+".tar.gz", files, p.time())
}

// pkgConfig is chunkring.pc for a prefix and the folder of the archive below it.
func (o *options) pkgConfig(prefix, libdir string) ([]byte, error) {
	pc, err := os.ReadFile(filepath.Join(o.tree, "c/chunkring.pc.in"))
	if err != nil {
		return nil, err
	}
	for _, r := range [][2]string{
		{"@PREFIX@", prefix}, {"@VERSION@", o.version}, {"libdir=${prefix}/lib\n", "libdir=${prefix}/" + libdir + "\n"},
	} {
		if !bytes.Contains(pc, []byte(r[0])) {
			return nil, fmt.Errorf("c/chunkring.pc.in has no %q", r[0])
		}
		pc = bytes.ReplaceAll(pc, []byte(r[0]), []byte(r[1]))
	}
	return pc, nil
}

// sourceOffer is the text that says where the source of this Loki is.
func sourceOffer(o *options) ([]byte, error) {
	c, err := cComponents(o)
	if err != nil {
		return nil, err
	}
	t, err := template.New("SOURCE.txt").Option("missingkey=error").Parse(sourceText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	var libraries []string
	for _, l := range c {
		libraries = append(libraries, l.name+" "+l.version)
	}
	err = t.Execute(&b, map[string]string{
		"Loki": o.lokiVersion, "Version": o.version, "Commit": o.commit, "Archive": sourceArchive(o), "Libraries": strings.Join(libraries, ", "),
	})
	return b.Bytes(), err
}

// packSource writes the source of all programs: the commit, and beside it the patched Loki as it was compiled.
func packSource(o *options) error {
	files, err := folder(o.tree, "", func(name string) bool {
		return !strings.HasPrefix(name, "build/") && name != "go/internal/core/libchunkring_id.h"
	})
	if err != nil {
		return err
	}
	loki, err := folder(filepath.Join(o.tree, "build/loki-src"), "build/loki-src", func(string) bool { return true })
	if err != nil {
		return err
	}
	files = append(files, loki...)
	offer, err := sourceOffer(o)
	if err != nil {
		return err
	}
	files = append(files, o.in("build/loki.mod", "build/loki.mod"), o.in("build/loki.sum", "build/loki.sum"),
		file{name: "SOURCE.txt", mode: 0o644, data: offer})
	return writeTarGz(filepath.Join(o.out, sourceArchive(o)), files, o.time())
}
