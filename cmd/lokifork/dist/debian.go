// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed debian
var debianFiles embed.FS

const (
	maintainer = "chunkring maintainers <chunkring@users.noreply.github.com>"
	homepage   = "https://github.com/chunkring/chunkring"
)

// debianPackage is one .deb.
type debianPackage struct {
	*product
	debName   string
	fields    string // more lines of its control file
	summary   string
	text      string // each line begins with a space
	files     []file
	scripts   []string // of debian/, beside the package's name
	conffiles []string
}

// triplet is how Debian names the folder of an architecture's libraries.
func triplet(arch string) string {
	return map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
}

// packDebian writes the packages of one architecture.
func packDebian(ring, loki *product) error {
	o := ring.options
	pc, err := o.pkgConfig("/usr", "lib/"+triplet(o.arch))
	if err != nil {
		return err
	}
	unit, err := systemdUnit(o)
	if err != nil {
		return err
	}
	examples, err := folder(filepath.Join(o.tree, "c/examples"), "usr/share/doc/libchunkring-dev/examples", func(name string) bool {
		return strings.HasSuffix(name, ".c")
	})
	if err != nil {
		return err
	}
	man, err := os.ReadFile(filepath.Join(o.tree, "cmd/chunkctl/chunkctl.1"))
	if err != nil {
		return err
	}
	for i := range examples {
		examples[i].mode = 0o644
	}
	source, err := sourceOffer(o)
	if err != nil {
		return err
	}
	packages := []*debianPackage{
		{
			product: ring, debName: "chunkctl", fields: "Section: admin\n",
			summary: "tool for the chunk stores of Grafana Loki",
			text: ` chunkctl says which chunks of a store Loki can't serve, beside a live Loki if
 need be. It shows where a file is damaged, saves the lines of damaged chunks,
 moves them away and back, prints lines, and looks at the machine.
`,
			files: []file{
				o.in("build/chunkctl", "usr/bin/chunkctl"),
				{name: "usr/share/man/man1/chunkctl.1.gz", mode: 0o644, data: gzipped(man)},
				o.in("cmd/chunkctl/chunkctl.bash", "usr/share/bash-completion/completions/chunkctl"),
				o.in("cmd/chunkctl/chunkctl.zsh", "usr/share/zsh/vendor-completions/_chunkctl"),
			},
		},
		{
			product: ring, debName: "libchunkring-dev", fields: "Section: libdevel\nDepends: libc6-dev\nMulti-Arch: same\n",
			summary: "library for the chunk files of Grafana Loki - development files",
			text: ` libchunkring reads, checks and decompresses chunk files in batches, over
 io_uring or threads.
 .
 This package has the header, the static archive and examples. The archive holds
 the libraries that it uses: a program needs nothing but libc.
`,
			files: append(examples,
				o.in("c/include/chunkring.h", "usr/include/chunkring.h"),
				o.in("build/libchunkring.a", "usr/lib/"+triplet(o.arch)+"/libchunkring.a"),
				file{name: "usr/lib/" + triplet(o.arch) + "/pkgconfig/chunkring.pc", mode: 0o644, data: pc}),
		},
		{
			product: loki, debName: "loki-chunkring",
			fields:  "Section: net\nDepends: adduser\nRecommends: ca-certificates, chunkctl\nProvides: loki\nConflicts: loki\nReplaces: loki\n",
			summary: "Grafana Loki that reads and writes its chunks with chunkring",
			text: ` Loki is a log aggregation system that indexes labels, not lines.
 .
 This Loki reads and writes the same files as Grafana's own, and gives the same
 answers in less time. It takes the place of Grafana's package loki: it has the
 same program, unit, user and configuration file.
`,
			files: []file{
				o.in("build/loki", "usr/bin/loki"),
				{name: "usr/lib/systemd/system/loki.service", mode: 0o644, data: unit},
				o.in("cmd/lokifork/dist/debian/config.yml", "etc/loki/config.yml"),
				o.in("go/chunkring/ops/seccomp.json", "usr/share/loki-chunkring/seccomp.json"),
				o.in("go/chunkring/ops/alerts.yaml", "usr/share/loki-chunkring/alerts.yaml"),
				o.in("go/chunkring/ops/dashboard.json", "usr/share/loki-chunkring/dashboard.json"),
				{name: "usr/share/doc/loki-chunkring/SOURCE.gz", mode: 0o644, data: gzipped(source)},
				{name: "usr/share/doc/loki-chunkring/sbom.cdx.json.gz", mode: 0o644, data: gzipped(loki.sbom)},
			},
			scripts:   []string{"postinst", "prerm", "postrm"},
			conffiles: []string{"/etc/loki/config.yml"},
		},
	}
	for _, p := range packages {
		if err := p.write(); err != nil {
			return fmt.Errorf("%s: %w", p.debName, err)
		}
	}
	return nil
}

// debianVersion sorts what comes before a release, with a hyphen in its version, before it.
func (p *product) debianVersion() string {
	own := strings.ReplaceAll(p.options.version, "-", "~")
	if p.name == "chunkring" {
		return own
	}
	return p.lokiVersion + "+chunkring" + own
}

// write has dpkg-deb make the package of a folder with its files. dpkg-deb sorts them, and takes no time of theirs
// that is after SOURCE_DATE_EPOCH.
func (p *debianPackage) write() error {
	dir, err := os.MkdirTemp("", "dist-deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // it is the package's own root
		return err
	}
	if err := p.addDocs(); err != nil {
		return err
	}
	control, err := p.control()
	if err != nil {
		return err
	}
	all, err := withFolders(append(p.files, control...))
	if err != nil {
		return err
	}
	for i := range all {
		if err := place(dir, &all[i], p.time()); err != nil {
			return err
		}
	}
	name := filepath.Join(p.out, fmt.Sprintf("%s_%s_%s.deb", p.debName, p.debianVersion(), p.arch))
	c := exec.Command("dpkg-deb", "--root-owner-group", "-Zxz", "-z3", "--threads-max=1", "--build", dir, name)
	c.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", p.epoch))
	c.Stderr = os.Stderr
	return c.Run()
}

// addDocs adds what each package has below usr/share/doc, and what lintian is to pass over.
func (p *debianPackage) addDocs() error {
	doc := "usr/share/doc/" + p.debName + "/"
	copyright, err := p.copyright()
	if err != nil {
		return err
	}
	changelog := fmt.Sprintf("%s (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- %s  %s\n",
		p.debName, p.debianVersion(), p.commit, maintainer, p.time().Format(time.RFC1123Z))
	p.files = append(p.files,
		file{name: doc + "copyright", mode: 0o644, data: copyright},
		file{name: doc + "changelog.gz", mode: 0o644, data: gzipped([]byte(changelog))},
		file{name: doc + "THIRD-PARTY-LICENSES.gz", mode: 0o644, data: gzipped(p.licences)})
	overrides, err := debianFiles.ReadFile("debian/" + p.debName + ".lintian-overrides")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	p.files = append(p.files, file{name: "usr/share/lintian/overrides/" + p.debName, mode: 0o644, data: overrides})
	return err
}

// copyright has the whole text of Loki's licence, which Debian systems do not have in a file of their own.
func (p *debianPackage) copyright() ([]byte, error) {
	text, err := debianFiles.ReadFile("debian/" + p.name + ".copyright")
	if err != nil || p.name != "loki-chunkring" {
		return text, err
	}
	licence, err := os.ReadFile(filepath.Join(p.tree, "build/loki-src/LICENSE"))
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(string(licence)), "\n") {
		if line = strings.TrimRight(line, " \t\f\r"); line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return bytes.Replace(text, []byte("@LICENSE@\n"), []byte(b.String()), 1), nil
}

// control are the files below DEBIAN.
func (p *debianPackage) control() (files []file, err error) {
	var sums strings.Builder
	size := int64(0)
	for i := range p.files {
		f := &p.files[i]
		r, n, err := f.open()
		if err != nil {
			return nil, err
		}
		h := md5.New()
		_, err = io.Copy(h, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		size += (n + 1023) / 1024
		if !strings.HasPrefix(f.name, "etc/") {
			fmt.Fprintf(&sums, "%x  %s\n", h.Sum(nil), f.name)
		}
	}
	fields := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: %s\nInstalled-Size: %d\nPriority: optional\n%sHomepage: %s\nDescription: %s\n%s",
		p.debName, p.debianVersion(), p.arch, maintainer, size, p.fields, homepage, p.summary, p.text)
	files = []file{
		{name: "DEBIAN/control", mode: 0o644, data: []byte(fields)},
		{name: "DEBIAN/md5sums", mode: 0o644, data: []byte(sums.String())},
	}
	if len(p.conffiles) > 0 {
		files = append(files, file{name: "DEBIAN/conffiles", mode: 0o644, data: []byte(strings.Join(p.conffiles, "\n") + "\n")})
	}
	for _, s := range p.scripts {
		data, err := debianFiles.ReadFile("debian/" + p.debName + "." + s)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: "DEBIAN/" + s, mode: 0o755, data: data})
	}
	return files, nil
}

// place writes a file below dir, with the mode and time that it is to have in the package.
func place(dir string, f *file, at time.Time) error {
	name := filepath.Join(dir, f.name)
	if f.mode.IsDir() {
		return os.Mkdir(name, 0o755)
	}
	r, _, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return errors.Join(os.Chmod(name, f.mode), os.Chtimes(name, at, at))
}

// gzipped has no name and no time in its header, as gzip -9n.
func gzipped(data []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(data)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		panic(err) // a level that there is, and memory to write to
	}
	return b.Bytes()
}

// systemdUnit is loki.service, which allows the system calls of the seccomp profile for containers.
func systemdUnit(o *options) ([]byte, error) {
	const mark = "@SYSTEM_CALLS@"
	unit, err := debianFiles.ReadFile("debian/loki.service")
	if err != nil {
		return nil, err
	}
	profile, err := os.ReadFile(filepath.Join(o.tree, "go/chunkring/ops/seccomp.json"))
	if err != nil {
		return nil, err
	}
	var p struct {
		Syscalls []struct {
			Action string
			Names  []string
		}
	}
	if err := json.Unmarshal(profile, &p); err != nil {
		return nil, fmt.Errorf("seccomp.json: %w", err)
	}
	var lines []string
	for _, group := range p.Syscalls {
		if group.Action != "SCMP_ACT_ALLOW" || len(group.Names) == 0 {
			return nil, fmt.Errorf("seccomp.json: a group with action %s and %d names", group.Action, len(group.Names))
		}
		lines = append(lines, "SystemCallFilter="+strings.Join(group.Names, " "))
	}
	if len(lines) == 0 || bytes.Count(unit, []byte(mark)) != 1 {
		return nil, errors.New("loki.service or seccomp.json: no system calls to allow")
	}
	return bytes.Replace(unit, []byte(mark), []byte(strings.Join(lines, "\n")), 1), nil
}
