// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"encoding/base64"
	"encoding/xml"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const pageMax = 1000 // keys and common prefixes in an answer, as in S3

type listed struct {
	Key          string
	LastModified string
	Size         int64
	StorageClass string
}

type commonPrefix struct{ Prefix string }

type page struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	MaxKeys               int
	KeyCount              int
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listed
	CommonPrefixes        []commonPrefix
}

// list answers ListObjectsV2.
func (s *Server) list(w http.ResponseWriter, bucket string, q url.Values) error {
	if q.Has("encoding-type") {
		return notImplemented("encoding-type")
	}
	p := page{Name: bucket, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), MaxKeys: pageMax}
	if text := q.Get("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return &apiError{http.StatusBadRequest, "InvalidArgument", "max-keys"}
		}
		p.MaxKeys = min(n, pageMax)
	}
	after := q.Get("start-after")
	if token := q.Get("continuation-token"); token != "" {
		text, err := base64.URLEncoding.DecodeString(token)
		if err != nil {
			return &apiError{http.StatusBadRequest, "InvalidArgument", "continuation-token"}
		}
		after = string(text)
	}
	objects, err := s.objects(bucket, p.Prefix)
	if err != nil {
		return err
	}
	p.fill(objects, after)
	writeXML(w, http.StatusOK, p)
	return nil
}

// fill takes the objects behind after, which is a key or a common prefix.
func (p *page) fill(objects []listed, after string) {
	last := ""
	for _, o := range objects {
		name := p.group(o.Key)
		if name <= after || name == last {
			continue
		}
		if p.KeyCount == p.MaxKeys {
			p.IsTruncated, p.NextContinuationToken = true, base64.URLEncoding.EncodeToString([]byte(last))
			return
		}
		p.KeyCount++
		last = name
		if name == o.Key {
			p.Contents = append(p.Contents, o)
		} else {
			p.CommonPrefixes = append(p.CommonPrefixes, commonPrefix{name})
		}
	}
}

// group is the common prefix that stands for a key, or the key itself.
func (p *page) group(key string) string {
	if p.Delimiter != "" {
		rest := key[len(p.Prefix):]
		if i := strings.Index(rest, p.Delimiter); i >= 0 {
			return key[:len(p.Prefix)+i+len(p.Delimiter)]
		}
	}
	return key
}

// objects are those of a bucket with a prefix, in the order of their keys, which is not that of a walk.
func (s *Server) objects(bucket, prefix string) ([]listed, error) {
	top := bucket
	if slash := strings.LastIndexByte(prefix, '/'); slash >= 0 {
		top = path.Join(bucket, prefix[:slash])
	}
	if top != bucket && !strings.HasPrefix(top, bucket+"/") {
		return nil, nil // no key has such a prefix
	}
	var all []listed
	err := fs.WalkDir(s.root.FS(), top, func(name string, d fs.DirEntry, err error) error {
		if missing(err) {
			return nil // no such prefix, or deleted meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		key := strings.TrimPrefix(name, bucket+"/")
		info, err := d.Info()
		if missing(err) {
			return nil
		}
		if err == nil && strings.HasPrefix(key, prefix) {
			all = append(all, listed{key, info.ModTime().UTC().Format(time.RFC3339), info.Size(), "STANDARD"})
		}
		return err
	})
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.Key, b.Key) })
	return all, err
}
