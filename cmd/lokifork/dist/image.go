// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// lokiUser is the user of Grafana's image: volumes that belong to it fit this one, too.
const lokiUser = 10001

// packLayer writes the one layer of the image: a root file system with nothing in it but what Loki needs. The root
// certificates are those of the machine that builds, the time zones Go's.
func (p *product) packLayer() error {
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return err
	}
	offer, err := sourceOffer(p.options)
	if err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(p.tree, "build/loki-src/cmd/loki/loki-docker-config.yaml"))
	if err != nil {
		return err
	}
	passwd := fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nloki:x:%d:%d:loki:/loki:/sbin/nologin\n", lokiUser, lokiUser)
	group := fmt.Sprintf("root:x:0:\nloki:x:%d:\n", lokiUser)
	const doc = "usr/share/doc/loki-chunkring/"
	files := []file{
		p.in("build/loki", "usr/bin/loki"),
		{name: "etc/passwd", mode: 0o644, data: []byte(passwd)},
		{name: "etc/group", mode: 0o644, data: []byte(group)},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, from: "/etc/ssl/certs/ca-certificates.crt"},
		{name: "usr/share/zoneinfo.zip", mode: 0o644, from: filepath.Join(goroot, "lib/time/zoneinfo.zip")},
		{name: "etc/loki", mode: fs.ModeDir | 0o755, uid: lokiUser},
		{name: "etc/loki/local-config.yaml", mode: 0o644, data: config, uid: lokiUser},
		{name: "loki", mode: fs.ModeDir | 0o755, uid: lokiUser},
		{name: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		p.in("build/loki-src/LICENSE", doc+"LICENSE"),
		p.in("LICENSE", doc+"LICENSE.chunkring"),
		{name: doc + "THIRD-PARTY-LICENSES.txt", mode: 0o644, data: p.licences},
		{name: doc + "SOURCE.txt", mode: 0o644, data: offer},
		{name: doc + "sbom.cdx.json", mode: 0o644, data: p.sbom},
	}
	return writeFile(filepath.Join(p.work, "layer-"+p.arch+".tar.gz"), func(w io.Writer) error {
		z := gzip.NewWriter(w)
		return errors.Join(writeTar(z, files, p.time()), z.Close())
	})
}

// The parts of the OCI image specification that are used:
// https://github.com/opencontainers/image-spec/blob/v1.1.0/spec.md
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Platform    *platform         `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	manifest struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        *descriptor       `json:"config,omitempty"`
		Layers        []descriptor      `json:"layers,omitempty"`
		Manifests     []descriptor      `json:"manifests,omitempty"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	imageConfig struct {
		Created      string `json:"created"`
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Config       struct {
			User         string
			ExposedPorts map[string]struct{}
			Env          []string
			Entrypoint   []string
			Cmd          []string
			WorkingDir   string
			Labels       map[string]string
		} `json:"config"`
		Rootfs struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []struct {
			Created   string `json:"created"`
			CreatedBy string `json:"created_by"`
		} `json:"history"`
	}
)

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// dockerImage is an image of manifest.json (https://github.com/moby/docker-image-spec/blob/main/v1.2.md). docker load
// looks there where Docker keeps images itself: before version 29, and after an upgrade from that. All others read
// index.json and know lists of images; here each architecture needs a name of its own.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// layout is an OCI image layout that grows.
type layout struct {
	blobs  map[string]file
	docker []dockerImage
}

func (l *layout) add(mediaType string, f file) (descriptor, error) {
	r, size, err := f.open()
	if err != nil {
		return descriptor{}, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return descriptor{}, err
	}
	digest := fmt.Sprintf("%x", h.Sum(nil))
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: size}
	f.name, f.mode = d.path(), 0o644
	l.blobs[digest] = f
	return d, nil
}

// path is where the layout has the blob.
func (d descriptor) path() string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }

func (l *layout) addJSON(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.add(mediaType, file{data: data})
}

// makeImage writes an OCI archive with an image for each architecture, from the layers that pack has left.
func makeImage(o *options) error {
	l := layout{blobs: map[string]file{}}
	images := manifest{SchemaVersion: 2, MediaType: typeIndex, Annotations: labels(o)}
	for _, arch := range o.architectures {
		d, err := l.addImage(o, arch)
		if err != nil {
			return err
		}
		images.Manifests = append(images.Manifests, d)
	}
	top, err := l.addJSON(typeIndex, images)
	if err != nil {
		return err
	}
	top.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": imageTag(o),
		"io.containerd.image.name":          imageName(o), // for docker load
	}
	index, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{top}})
	if err != nil {
		return err
	}
	docker, err := json.Marshal(l.docker)
	if err != nil {
		return err
	}
	files := []file{
		{name: "oci-layout", mode: 0o644, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: "index.json", mode: 0o644, data: index},
		{name: "manifest.json", mode: 0o644, data: docker},
	}
	for _, f := range l.blobs {
		files = append(files, f)
	}
	return writeFile(filepath.Join(o.out, "loki-chunkring-"+lokiVersion(o)+".oci.tar"), func(w io.Writer) error {
		return writeTar(w, files, o.time())
	})
}

func (l *layout) addImage(o *options, arch string) (descriptor, error) {
	layer := filepath.Join(o.work, "layer-"+arch+".tar.gz")
	d, err := l.add(typeLayer, file{from: layer})
	if err != nil {
		return d, err
	}
	unpacked, err := digestUnpacked(layer)
	if err != nil {
		return d, err
	}
	c := imageConfig{Created: o.time().Format(time.RFC3339), Architecture: arch, OS: "linux"}
	c.Config.User = fmt.Sprint(lokiUser)
	c.Config.ExposedPorts = map[string]struct{}{"3100/tcp": {}}
	c.Config.Env = []string{"PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "ZONEINFO=/usr/share/zoneinfo.zip"}
	c.Config.Entrypoint = []string{"/usr/bin/loki"}
	c.Config.Cmd = []string{"-config.file=/etc/loki/local-config.yaml"}
	c.Config.WorkingDir = "/"
	c.Config.Labels = labels(o)
	c.Rootfs.Type, c.Rootfs.DiffIDs = "layers", []string{"sha256:" + unpacked}
	c.History = append(c.History, struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}{c.Created, "chunkring: make dist"})
	config, err := l.addJSON(typeConfig, c)
	if err != nil {
		return d, err
	}
	image, err := l.addJSON(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: &config, Layers: []descriptor{d}})
	image.Platform = &platform{arch, "linux"}
	name := imageName(o)
	if len(o.architectures) > 1 {
		name += "-" + arch
	}
	l.docker = append(l.docker, dockerImage{config.path(), []string{name}, []string{d.path()}})
	return image, err
}

func imageName(o *options) string { return "localhost/loki-chunkring:" + imageTag(o) }

func imageTag(o *options) string { return strings.ReplaceAll(lokiVersion(o), "+", "-") } // a tag has no +

func labels(o *options) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "Grafana Loki with chunkring",
		"org.opencontainers.image.version":  lokiVersion(o),
		"org.opencontainers.image.revision": o.commit,
		"org.opencontainers.image.created":  o.time().Format(time.RFC3339),
		"org.opencontainers.image.licenses": "AGPL-3.0-only",
		"org.opencontainers.image.source":   homepage,
	}
}

// digestUnpacked is the digest of what a .gz has, which must be a whole tar file.
func digestUnpacked(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	t := tar.NewReader(io.TeeReader(z, h))
	for err == nil {
		_, err = t.Next()
	}
	if err != io.EOF {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	_, err = io.Copy(h, z)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}
