// SPDX-License-Identifier: Apache-2.0

package objectstore

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const bucket = "logs"

// start serves a new folder with a bucket.
func start(t *testing.T) (s *Server, dir, url string) {
	dir = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, bucket), 0o777))
	s, err := New(dir)
	require.NoError(t, err)
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		web.Close()
		require.NoError(t, s.Close())
	})
	return s, dir, web.URL
}

// reply is an answer, as far as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of the body
}

func do(t *testing.T, method, url, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	r, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer r.Body.Close()
	got := reply{status: r.StatusCode, header: r.Header}
	got.body, got.err = io.ReadAll(r.Body)
	return got
}

func get(t *testing.T, url string, status int) string {
	t.Helper()
	r := do(t, http.MethodGet, url, "")
	require.NoError(t, r.err)
	require.Equal(t, status, r.status, "%s: %s", url, r.body)
	return string(r.body)
}

func TestPutGetDelete(t *testing.T) {
	s, dir, url := start(t)
	const key = "tenant/1a2b/190e:1911:dead" // as a chunk's
	object := url + "/" + bucket + "/" + key
	want := strings.Repeat("0123456789", 20_000)
	require.Equal(t, http.StatusOK, do(t, http.MethodPut, object+"?x-id=PutObject", want).status)
	onDisk, err := os.ReadFile(filepath.Join(dir, bucket, key))
	require.NoError(t, err)
	require.Equal(t, want, string(onDisk))
	left, err := os.ReadDir(filepath.Join(dir, uploads))
	require.NoError(t, err)
	require.Empty(t, left)

	require.Equal(t, want, get(t, object+"?x-id=GetObject", http.StatusOK))
	part := do(t, http.MethodGet, object, "", "Range", "bytes=15-21")
	require.Equal(t, http.StatusPartialContent, part.status)
	require.Equal(t, "5678901", string(part.body))
	require.Equal(t, map[string]Count{bucket + "/" + key: {GETs: 2, Bytes: int64(len(want)) + 7}}, s.Counts().Objects)
	head := do(t, http.MethodHead, object, "")
	require.Equal(t, http.StatusOK, head.status)
	require.Equal(t, fmt.Sprint(len(want)), head.header.Get("Content-Length"))
	require.NotEmpty(t, head.header.Get("ETag"))

	require.Equal(t, http.StatusNoContent, do(t, http.MethodDelete, object, "").status)
	require.Equal(t, http.StatusNoContent, do(t, http.MethodDelete, object, "").status, "S3 knows no second time")
	require.Equal(t, http.StatusNotFound, do(t, http.MethodHead, object, "").status)
	require.Contains(t, get(t, object, http.StatusNotFound), "<Code>NoSuchKey</Code>")
	require.Equal(t, http.StatusOK, do(t, http.MethodHead, url+"/"+bucket, "").status)
}

func TestListIsInTheOrderOfKeysAndInPages(t *testing.T) {
	_, _, url := start(t)
	// A walk has a/ before a-b: its order is that of names, and '-' < '/'.
	keys := []string{"a-b", "a.b", "a/1", "a/2", "a/c/3", "b"}
	for _, k := range keys {
		require.Equal(t, http.StatusOK, do(t, http.MethodPut, url+"/"+bucket+"/"+k, k).status)
	}
	objects := keys
	list := func(query string) (keys, prefixes []string) {
		for token, pages := "", 0; ; pages++ {
			require.LessOrEqual(t, pages, 2*len(objects), "the same pages again and again")
			text := get(t, url+"/"+bucket+"?list-type=2&"+query+"&continuation-token="+token, http.StatusOK)
			p := parsePage(t, text)
			require.Equal(t, p.KeyCount, len(p.Contents)+len(p.CommonPrefixes))
			for _, o := range p.Contents {
				keys = append(keys, o.Key)
				require.EqualValues(t, len(o.Key), o.Size)
			}
			for _, c := range p.CommonPrefixes {
				prefixes = append(prefixes, c.Prefix)
			}
			if !p.IsTruncated {
				return keys, prefixes
			}
			token = p.NextContinuationToken
		}
	}
	for max := 1; max <= len(keys)+1; max++ {
		limit := fmt.Sprintf("max-keys=%d", max)
		all, none := list(limit)
		require.Equal(t, keys, all)
		require.Empty(t, none)
		all, folders := list(limit + "&delimiter=/")
		require.Equal(t, []string{"a-b", "a.b", "b"}, all)
		require.Equal(t, []string{"a/"}, folders)
		all, folders = list(limit + "&delimiter=/&prefix=a/")
		require.Equal(t, []string{"a/1", "a/2"}, all)
		require.Equal(t, []string{"a/c/"}, folders)
		all, _ = list(limit + "&prefix=a/c/3")
		require.Equal(t, []string{"a/c/3"}, all)
		all, _ = list(limit + "&prefix=a/1/x/") // a file is no folder
		require.Empty(t, all)
		all, _ = list(limit + "&prefix=nowhere/at/all")
		require.Empty(t, all)
		all, _ = list(limit + "&start-after=a/2")
		require.Equal(t, []string{"a/c/3", "b"}, all)
	}
}

func TestDeleteObjects(t *testing.T) {
	_, dir, url := start(t)
	for _, name := range []string{"one", "two", "three"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, bucket, name), nil, 0o666))
	}
	text := do(t, http.MethodPost, url+"/"+bucket+"?delete",
		`<Delete><Object><Key>one</Key></Object><Object><Key>gone</Key></Object><Object><Key>../../x</Key></Object><Object><Key>three</Key></Object></Delete>`).body
	require.Equal(t, 3, strings.Count(string(text), "<Deleted>"), string(text))
	require.Equal(t, 1, strings.Count(string(text), "<Error><Key>../../x</Key>"), string(text))
	left, err := os.ReadDir(filepath.Join(dir, bucket))
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "two", left[0].Name())
}

func TestWhatItDoesNotKnowIsRefused(t *testing.T) {
	s, dir, url := start(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, bucket, "plain"), []byte("x"), 0o666))
	for path, status := range map[string]int{
		"/nosuchbucket/key":                          http.StatusNotFound,
		"/" + bucket + "/nosuchkey":                  http.StatusNotFound,
		"/" + bucket + "/plain/below":                http.StatusNotFound,
		"/" + bucket + "?acl":                        http.StatusNotImplemented,
		"/" + bucket + "/plain?acl":                  http.StatusNotImplemented,
		"/" + bucket + "?list-type=2&max-keys=x":     http.StatusBadRequest,
		"/" + bucket + "/a//b":                       http.StatusBadRequest,
		"/" + uploads + "/1":                         http.StatusNotImplemented,
		"/" + bucket + "?list-type=2&prefix=../../":  http.StatusOK,
		"/" + bucket + "?list-type=2&prefix=../logs": http.StatusOK,
	} {
		text := get(t, url+path, status)
		require.NotContains(t, text, "plain</Key>", path)
		require.NotContains(t, text, "secret", path)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: httptest.NewRequest(http.MethodGet, "/"+bucket+"/%2e%2e/secret", nil).URL})
	require.Equal(t, http.StatusBadRequest, w.Code)

	r := do(t, http.MethodPut, url+"/"+bucket+"/streamed", "3;chunk-signature=x\r\n", "X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	require.Equal(t, http.StatusNotImplemented, r.status)
	_, err := os.Stat(filepath.Join(dir, bucket, "streamed"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCountsAreReadOverHTTP(t *testing.T) {
	s, dir, url := start(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, bucket, "one"), []byte("12345"), 0o666))
	get(t, url+"/"+bucket+"/one", http.StatusOK)
	get(t, url+"/"+bucket+"/one", http.StatusOK)
	var got Counts
	require.NoError(t, json.Unmarshal([]byte(get(t, url+countsPath, http.StatusOK)), &got))
	require.Equal(t, Counts{Objects: map[string]Count{bucket + "/one": {2, 10}}}, got)
	require.Equal(t, got, s.Counts())
	require.Equal(t, http.StatusNoContent, do(t, http.MethodDelete, url+countsPath, "").status)
	require.Empty(t, s.Counts().Objects)
	get(t, url+"/-/other", http.StatusNotFound)
}

// A body that was cut is an error to its reader: never a shorter object.
func TestFaultsAreThoseOfTheSeed(t *testing.T) {
	s, dir, url := start(t)
	want := bytes.Repeat([]byte("x"), 100_000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, bucket, "one"), want, 0o666))
	const gets = 40
	run := func(conditions Conditions) (Counts, string) {
		s.ResetCounts()
		s.SetConditions(conditions)
		results := ""
		for range gets {
			r := do(t, http.MethodGet, url+"/"+bucket+"/one", "")
			switch {
			case r.status == http.StatusServiceUnavailable:
				require.Contains(t, string(r.body), "<Code>SlowDown</Code>")
				results += "u"
			case r.err != nil:
				require.ErrorIs(t, r.err, io.ErrUnexpectedEOF)
				require.Less(t, len(r.body), len(want))
				results += "c"
			default:
				require.Equal(t, want, r.body)
				results += "."
			}
		}
		return s.Counts(), results
	}
	bad := Conditions{Unavailable: 0.3, Truncated: 0.3, Seed: 7}
	counts, results := run(bad)
	for what, n := range map[string]int64{"u": counts.Unavailable, "c": counts.Truncated} {
		require.EqualValues(t, strings.Count(results, what), n)
		require.True(t, 0 < n && n < gets/2, "%d of %d at 0.3 each: %s", n, gets, results)
	}
	require.Equal(t, Count{GETs: gets - int(counts.Unavailable),
		Bytes: int64(strings.Count(results, "."))*int64(len(want)) + counts.Truncated*int64(len(want)/2)}, counts.Objects[bucket+"/one"])
	again, same := run(bad)
	require.Equal(t, results, same)
	require.Equal(t, counts, again)
	bad.Seed++
	_, other := run(bad)
	require.NotEqual(t, results, other)
	_, results = run(Conditions{Seed: 7})
	require.Equal(t, strings.Repeat(".", gets), results)
}

// Lower bounds only: a busy machine is slower than asked, never faster.
func TestAnswersAreLateAndSlow(t *testing.T) {
	s, dir, url := start(t)
	const size = 1_000_000
	require.NoError(t, os.WriteFile(filepath.Join(dir, bucket, "one"), make([]byte, size), 0o666))
	took := func(c Conditions, streams int) time.Duration {
		s.SetConditions(c)
		begin := time.Now()
		var all sync.WaitGroup
		for range streams {
			all.Go(func() {
				r, err := http.Get(url + "/" + bucket + "/one")
				if err != nil {
					t.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, r.Body)
				if n != size || err != nil || r.Body.Close() != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
		all.Wait()
		return time.Since(begin)
	}
	require.GreaterOrEqual(t, took(Conditions{FirstByte: 80 * time.Millisecond}, 1), 80*time.Millisecond)
	require.GreaterOrEqual(t, took(Conditions{StreamBytesPerSec: 10 * size}, 3), 95*time.Millisecond)
	require.GreaterOrEqual(t, took(Conditions{TotalBytesPerSec: 20 * size}, 4), 190*time.Millisecond)
}

func TestAClientThatLeavesIsNotWaitedFor(t *testing.T) {
	s, dir, url := start(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, bucket, "one"), make([]byte, 1<<20), 0o666))
	s.SetConditions(Conditions{StreamBytesPerSec: 1 << 10}) // 17 minutes
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/"+bucket+"/one", nil)
	require.NoError(t, err)
	leaving := time.AfterFunc(50*time.Millisecond, cancel)
	defer leaving.Stop()
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close() // the request is given up
	}
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return len(s.Counts().Objects) == 1 }, time.Minute, time.Millisecond, "the handler went on sending")
}

func parsePage(t *testing.T, text string) (p page) {
	t.Helper()
	require.NoError(t, xml.Unmarshal([]byte(text), &p))
	return p
}
