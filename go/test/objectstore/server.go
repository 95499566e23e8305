// SPDX-License-Identifier: Apache-2.0

// Package objectstore is an S3 server for benchmarks and tests. Objects are files below a folder; answers
// come as late, as slowly and as damaged as they do from a store far away, and it counts what it sent.
//
//	server.go      requests and answers
//	list.go        ListObjectsV2
//	conditions.go  latency, bandwidth, 503, truncation
//	counts.go      what was sent, by key
//
// It knows what Loki's clients need: GET (with Range), HEAD, PUT, DELETE, DeleteObjects and ListObjectsV2,
// with paths of /bucket/key. It looks at no signature. What it does not know it refuses with 501.
package objectstore

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
)

const (
	uploads    = ".uploads" // no bucket's name begins with a dot
	deletesMax = 1000       // objects in a DeleteObjects, as in S3
	requestMax = 2 << 20    // bytes of a DeleteObjects
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{2,62}$`)

// Server is an http.Handler over a folder. A bucket is a folder in it, which somebody else makes.
type Server struct {
	root    *os.Root
	weather weather
	counts  counts
	uploads atomic.Int64
}

// New returns a server over a folder, under perfect conditions.
func New(dir string) (*Server, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{root: root}
	if err := errors.Join(root.RemoveAll(uploads), root.Mkdir(uploads, 0o777)); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	s.SetConditions(Conditions{})
	s.ResetCounts()
	return s, nil
}

// Close gives the folder back. No request runs any more.
func (s *Server) Close() error { return s.root.Close() }

// apiError is how S3 says no.
type apiError struct {
	status int
	code   string
	detail string
}

func (e *apiError) Error() string { return e.code + ": " + e.detail }

func notImplemented(format string, args ...any) error {
	return &apiError{http.StatusNotImplemented, "NotImplemented", fmt.Sprintf(format, args...)}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, adminPath) {
		s.serveCounts(w, r)
		return
	}
	now := s.weather.next(r.Method == http.MethodGet)
	if !now.waitFirstByte(r.Context()) {
		return // the client has left
	}
	err := s.serve(w, r, now)
	if err == nil {
		return
	}
	var said *apiError
	switch {
	case errors.As(err, &said):
	case missing(err):
		said = &apiError{http.StatusNotFound, "NoSuchKey", "there is no such object"}
	default:
		said = &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	writeXML(w, said.status, struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: said.code, Message: said.detail})
}

// missing: nothing has this name. A file is no folder: an object "a" does not keep "a/b" from being asked for.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, now fate) error {
	if now.unavailable {
		s.counts.unavailable.Add(1)
		return &apiError{http.StatusServiceUnavailable, "SlowDown", "please reduce your request rate"}
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !bucketName.MatchString(bucket) {
		return notImplemented("no bucket in the path %q", r.URL.Path)
	}
	if info, err := s.root.Stat(bucket); err != nil || !info.IsDir() {
		return &apiError{http.StatusNotFound, "NoSuchBucket", bucket}
	}
	if key == "" {
		return s.serveBucket(w, r, bucket)
	}
	name := bucket + "/" + key
	if !fs.ValidPath(name) {
		return &apiError{http.StatusBadRequest, "InvalidArgument", fmt.Sprintf("the key %q is no path", key)}
	}
	if r.URL.RawQuery != "" && r.URL.Query().Get("x-id") == "" { // the SDK names the operation
		return notImplemented("%s of an object with ?%s", r.Method, r.URL.RawQuery)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return s.get(w, r, name, now)
	case http.MethodPut:
		return s.put(r, name)
	case http.MethodDelete:
		if err := s.root.Remove(name); err != nil && !missing(err) {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return notImplemented("%s of an object", r.Method)
}

func (s *Server) serveBucket(w http.ResponseWriter, r *http.Request, bucket string) error {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodHead:
		return nil
	case r.Method == http.MethodGet && q.Get("list-type") == "2":
		return s.list(w, bucket, q)
	case r.Method == http.MethodPost && q.Has("delete"):
		return s.deleteMany(w, r, bucket)
	}
	return notImplemented("%s of a bucket with ?%s", r.Method, r.URL.RawQuery)
}

// get answers GET and HEAD.
func (s *Server) get(w http.ResponseWriter, r *http.Request, name string, now fate) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fs.ErrNotExist // a folder is no object
	}
	w.Header().Set("Content-Type", "binary/octet-stream")
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()))
	if r.Method == http.MethodHead {
		http.ServeContent(w, r, "", info.ModTime(), f)
		return nil
	}
	body := &pacedBody{ResponseWriter: w, ctx: r.Context(), fate: now}
	defer func() { s.counts.add(name, body.sent, body.cut) }() // also when the connection is cut
	http.ServeContent(body, r, "", info.ModTime(), f)
	return nil
}

// put stores an object as a whole, or not at all.
func (s *Server) put(r *http.Request, name string) error {
	if sum := r.Header.Get("X-Amz-Content-Sha256"); strings.HasPrefix(sum, "STREAMING-") {
		return notImplemented("a body in chunks (%s)", sum)
	}
	temporary := fmt.Sprintf("%s/%d", uploads, s.uploads.Add(1))
	f, err := s.root.Create(temporary)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r.Body)
	err = errors.Join(err, f.Close())
	if err == nil && r.ContentLength >= 0 && n != r.ContentLength {
		err = &apiError{http.StatusBadRequest, "IncompleteBody", fmt.Sprintf("%d bytes of %d", n, r.ContentLength)}
	}
	if err == nil {
		err = s.root.MkdirAll(path.Dir(name), 0o777)
	}
	if err == nil {
		err = s.root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, s.root.Remove(temporary))
	}
	return nil
}

// deleteMany answers DeleteObjects.
func (s *Server) deleteMany(w http.ResponseWriter, r *http.Request, bucket string) error {
	type object struct{ Key string }
	var request struct {
		Quiet   bool
		Objects []object `xml:"Object"`
	}
	if err := xml.NewDecoder(io.LimitReader(r.Body, requestMax)).Decode(&request); err != nil || len(request.Objects) > deletesMax {
		return &apiError{http.StatusBadRequest, "MalformedXML", fmt.Sprintf("%d objects, %v", len(request.Objects), err)}
	}
	var answer struct {
		XMLName xml.Name `xml:"DeleteResult"`
		Deleted []object
		Error   []struct{ Key, Code, Message string }
	}
	for _, o := range request.Objects {
		err := error(&apiError{code: "InvalidArgument", detail: "no path"})
		if name := bucket + "/" + o.Key; fs.ValidPath(name) {
			err = s.root.Remove(name)
		}
		if err != nil && !missing(err) {
			answer.Error = append(answer.Error, struct{ Key, Code, Message string }{o.Key, "InternalError", err.Error()})
		} else if !request.Quiet {
			answer.Deleted = append(answer.Deleted, o)
		}
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}

func writeXML(w http.ResponseWriter, status int, v any) {
	text, err := xml.Marshal(v)
	if err != nil {
		panic(err) // structs of strings
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = w.Write(append([]byte(xml.Header), text...)) // to a client that may have left
}
