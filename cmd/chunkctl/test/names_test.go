// SPDX-License-Identifier: Apache-2.0

package chunkctltest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/grafana/loki/v3/pkg/chunkenc"
	"github.com/grafana/loki/v3/pkg/compression"
	"github.com/grafana/loki/v3/pkg/logproto"
	"github.com/grafana/loki/v3/pkg/logql/syntax"
	"github.com/grafana/loki/v3/pkg/storage/chunk"
	"github.com/grafana/loki/v3/pkg/util"

	"github.com/chunkring/chunkring/go/chunkgen"
)

// hostile is what a name or a value may be.
var hostile = []string{
	"k8s.pod/name", "größe", "two\nlines", "nul\x00nul", "no utf8 \xff\xfe", "\x1b]0;owned\x07", "\u009b31m", "\u202eevil",
	`quo"te\back`, "a=b, c", "{}", " ", "\t\r\v\a\b\f\x7f", "9digit", "", "\U0001f600", "a_base64", "\xed\xa0\x80",
}

// labelled writes a store of one chunk a label set, with its own line in it, and returns where it is.
func labelled(t *testing.T, sets ...labels.Labels) (dir string, paths []string) {
	t.Helper()
	dir = t.TempDir()
	for i, set := range sets {
		mc := chunkenc.NewMemChunk(4, compression.Snappy, chunkenc.ChunkHeadFormatFor(4), 4096, 0)
		e := logproto.Entry{Timestamp: time.Unix(1710237600, int64(i)*1e6), Line: fmt.Sprintf("line of %d", i)}
		_, err := mc.Append(&e)
		require.NoError(t, err)
		require.NoError(t, mc.Close())
		from, through := util.RoundToMilliseconds(mc.Bounds())
		c := chunk.NewChunk("fake", 0xabc, set, chunkenc.NewFacade(mc, 4096, 0), from, through)
		require.NoError(t, c.Encode())
		file, err := c.Encoded()
		require.NoError(t, err)
		ref := chunkgen.Ref{Tenant: "fake", Fingerprint: 0xabc, From: int64(c.From), Through: int64(c.Through), Schema: "v13"}
		require.NoError(t, ref.Checksum.UnmarshalText(strconv.AppendUint(nil, uint64(c.Checksum), 16)))
		paths = append(paths, filepath.Join(dir, fileName(ref)))
		write(t, paths[i], file)
	}
	return dir, paths
}

func hostileSets() (sets []labels.Labels) {
	for i, s := range hostile {
		if s == "" {
			s = "empty"
		}
		sets = append(sets, labels.FromStrings("app", "x"+strconv.Itoa(i), s, hostile[(i+1)%len(hostile)]+"."))
	}
	return sets
}

// requireSafe: as many lines as there should be, all of UTF-8, nothing that a terminal obeys.
func requireSafe(t *testing.T, text string, lines int) {
	t.Helper()
	require.Equal(t, lines, strings.Count(text, "\n"), "%q", text)
	require.True(t, utf8.ValidString(text), "%q", text)
	for _, c := range text {
		require.True(t, c == '\n' || strconv.IsPrint(c), "%q in %q", c, text)
	}
}

// What people see is one line a record, safe, and exactly what --match takes back; Loki, which reads the labels of
// a push so, reads the same labels in it.
func TestHostileLabels(t *testing.T) {
	sets := hostileSets()
	dir, paths := labelled(t, sets...)
	require.Equal(t, exitSound, verify(t, "--deep", dir).code)
	listed := run(t, "ls", dir)
	require.Equal(t, exitSound, listed.code, listed.stderr)
	requireSafe(t, listed.stdout, len(sets))
	totals := run(t, "ls", "--totals", "stream", dir)
	requireSafe(t, totals.stdout, 1+len(sets)+2+8)
	for i, path := range paths {
		info := run(t, "info", path)
		requireSafe(t, info.stdout, strings.Count(info.stdout, "\n"))
		_, text, ok := strings.Cut(info.stdout, "  labels       ")
		require.True(t, ok)
		text, _, _ = strings.Cut(text, "\n")
		require.Contains(t, listed.stdout, text+"  "+path)
		require.Contains(t, totals.stdout, "fake/abc "+text+"\n")
		require.Equal(t, sets[i].String(), text, "as Loki shows them")
		if utf8.ValidString(text) && !strings.Contains(text, `\x`) {
			read, err := syntax.ParseLabels(text)
			require.NoError(t, err, text)
			require.Equal(t, sets[i], read)
		}
		r := run(t, "cat", "--match", text, dir)
		require.Equal(t, exitSound, r.code, "%s: %s", text, r.stderr)
		require.Equal(t, fmt.Sprintf("line of %d\n", i), r.stdout, text)
		requireSafe(t, run(t, "cat", "--format", "logfmt", path).stdout, 1)
	}
}

// pairsOf is an object of names and values, exact.
func pairsOf(t *testing.T, o object, name string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if exact, ok := o[name+"_base64"].([]any); ok {
		for _, p := range exact {
			var pair [2]string
			for i, s := range p.([]any) {
				b, err := base64.StdEncoding.DecodeString(s.(string))
				require.NoError(t, err)
				pair[i] = string(b)
			}
			all[pair[0]] = pair[1]
		}
		return all
	}
	for k, v := range o[name].(map[string]any) {
		all[k] = v.(string)
	}
	return all
}

// JSON has every name and value whole.
func TestHostileLabelsInJSON(t *testing.T) {
	sets := hostileSets()
	// names that differ only where they are no UTF-8, and one that looks like another's exact bytes
	sets = append(sets, labels.FromStrings("x\xff", "1", "x\xfe", "2"), labels.FromStrings("v", "\xff", "v_base64", "mine"))
	dir, paths := labelled(t, sets...)
	byPath := map[string]object{}
	for _, o := range objects(t, run(t, "ls", "--json", dir).stdout) {
		byPath[o.str("path")] = o
	}
	for i, path := range paths {
		want := sets[i].Map()
		require.Equal(t, want, pairsOf(t, byPath[path], "labels"))
		for _, args := range [][]string{{"info", "--json", path}, {"cat", "--format", "json", path}, {"salvage", "--format", "json", path, "-o", "-"}} {
			r := run(t, args...)
			require.Equal(t, want, pairsOf(t, objects(t, r.stdout)[0], "labels"), "%v", args)
			requireSafe(t, r.stdout, 1)
		}
		requireSafe(t, run(t, "ls", "--json", path).stdout, 1)
	}
}

func TestMatchNames(t *testing.T) {
	sets := []labels.Labels{
		labels.FromStrings("a.b", "c"), labels.FromStrings("a_b", "c"), labels.FromStrings("größe", "xl"),
		labels.FromStrings("nul\x00x", "v\x00w"), labels.FromStrings("nul", "v"), labels.FromStrings("n", "tab\there"),
	}
	dir, _ := labelled(t, sets...)
	for match, want := range map[string]string{
		`{"a.b"="c"}`: "0", "{`a.b`=`c`}": "0", `{a_b="c"}`: "1", `{"a_b"="c"}`: "1", `{größe="xl"}`: "2", `{"gr\u00f6\xc3\x9fe"="xl"}`: "2",
		`{"nul\x00x"="v\000w"}`: "3", `{"nul\u0000x"=~"v.w"}`: "3", `{nul="v"}`: "4", `{"nul\x00x"="v"}`: "", `{ "a.b" =~ "c|d" , a_b="" }`: "0",
		`{"a.b"!="c", n="tab\there"}`: "5", `{n=~"tab.*"}`: "5", `{"a.b"!~"c", "a_b"!="c", nul!="v", n="", größe=""}`: "3",
	} {
		r := run(t, "cat", "--allow-empty", "--match", match, dir)
		require.Equal(t, exitSound, r.code, "%s: %s", match, r.stderr)
		var got []string
		for _, line := range strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n") {
			got = append(got, strings.TrimPrefix(line, "line of "))
		}
		require.Equal(t, want, strings.Join(got, " "), match)
	}
	for _, match := range []string{`{a.b="c"}`, `{"a.b="c"}`, `{"a\qb"="c"}`, `{"a\x0"="c"}`, `{"a"="\ud83d\`, `{'a'="c"}`, `{a=~"\x00"}`, "{`a=\"c\"}", "{\xff=\"c\"}"} {
		r := run(t, "cat", "--match", match, dir)
		require.Equal(t, exitTrouble, r.code, match)
		requireSafe(t, r.stderr, 2)
	}
}

// Tenants and files of any name: in tables, reports and messages, and through quarantine and back.
func TestHostilePaths(t *testing.T) {
	x := generate(t, chunkgen.Options{Count: 4, Size: 2000, Tenants: 1})
	ref := x.Refs[0]
	for i, tenant := range hostile {
		if tenant == "" || strings.ContainsAny(tenant, "/\x00") {
			continue
		}
		dir := t.TempDir()
		path := filepath.Join(dir, tenant, strings.TrimPrefix(fileName(ref), ref.Tenant+"/"))
		write(t, path, read(t, x.Path(ref)))
		for _, args := range [][]string{{"verify", "--settle", "0"}, {"ls"}, {"ls", "--totals", "tenant"}, {"ls", "--totals", "stream"}, {"cat", "--match", `{app!=""}`, "--format", "logfmt"}} {
			r := run(t, append(args, dir)...)
			requireSafe(t, r.stdout+r.stderr, strings.Count(r.stdout+r.stderr, "\n"))
		}
		require.Equal(t, 1, strings.Count(run(t, "ls", dir).stdout, "\n"), "%q", tenant)
		for _, command := range []string{"verify", "ls", "cat", "info"} { // what is not there
			r := run(t, command, path+"x")
			requireSafe(t, r.stderr, 2)
			require.Contains(t, r.stderr, "No such file")
		}
		r := verify(t, dir)
		require.Equal(t, []string{"wrong_key"}, r.kinds(), "%q", tenant)
		require.Contains(t, r.findings[0].str("detail"), strconv.Quote(ref.Tenant))
		require.True(t, utf8.ValidString(r.findings[0].str("detail")))

		report := filepath.Join(t.TempDir(), "report.json")
		write(t, report, []byte(run(t, "verify", "--json", "--settle", "0", dir).stdout))
		q := run(t, "quarantine", dir, "--from", report, "--yes")
		require.Equal(t, exitSound, q.code, "%q: %s", tenant, q.stderr)
		requireSafe(t, q.stdout, 3)
		require.NoFileExists(t, path)
		q = run(t, "quarantine", dir, "--restore", "--yes")
		require.Equal(t, exitSound, q.code, "%d %q: %s", i, tenant, q.stderr)
		requireSafe(t, q.stdout, 2)
		require.FileExists(t, path)
		require.NoError(t, os.RemoveAll(dir))
	}
}
