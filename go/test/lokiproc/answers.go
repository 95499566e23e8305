// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Answer is what a Loki said, without statistics, in a form that can be compared.
type Answer struct {
	Text       []byte        // canonical JSON
	Items      int           // in the outermost list
	Downloaded int           // chunks, as Loki's own statistics count them
	Fetching   time.Duration // in GetChunks, all parts of the query together, by the same statistics
	Wall       time.Duration // from the request to the last byte of the answer
}

// HTTPError is an answer that is none.
type HTTPError struct {
	Code int
	Body []byte
}

func (e *HTTPError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Code, e.Body) }

// Ask sends one query.
func Ask(ctx context.Context, p *Proc, tenant string, q Query) (Answer, error) {
	begin := time.Now()
	code, body, err := Get(ctx, p.URL(q.Path)+"?"+q.Params.Encode(), tenant)
	wall := time.Since(begin)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %s: %w", p.Label, q.Name, err)
	}
	if code != http.StatusOK {
		return Answer{}, fmt.Errorf("%s: %s: %w", p.Label, q.Name, &HTTPError{code, bytes.TrimSpace(body)})
	}
	a, err := ParseAnswer(body, q.Unordered)
	a.Wall = wall
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %s: %w: %.300s", p.Label, q.Name, err, body)
	}
	if a.Items == 0 && !q.MayBeEmpty {
		return a, fmt.Errorf("%s: %s: an empty answer proves nothing", p.Label, q.Name)
	}
	return a, nil
}

// ParseAnswer drops the statistics. All else stays as it is, numbers as they are spelled; lists without
// an order are sorted, and so are the keys of objects.
func ParseAnswer(body []byte, unordered bool) (Answer, error) {
	var a Answer
	var doc any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return a, err
	}
	top, ok := doc.(map[string]any)
	if !ok {
		return a, fmt.Errorf("not a JSON object")
	}
	if data, ok := top["data"].(map[string]any); ok {
		a.Downloaded = int(storeStatistic(data["stats"], "totalChunksDownloaded"))
		a.Fetching = time.Duration(storeStatistic(data["stats"], "chunksDownloadTime"))
		delete(data, "stats")
		a.Items = length(data["result"])
	} else {
		for _, v := range top {
			a.Items = max(a.Items, length(v))
		}
	}
	if unordered {
		sortLists(doc)
	}
	var err error
	a.Text, err = json.Marshal(doc)
	return a, err
}

// length counts what an answer holds; index stats are an object of counters.
func length(v any) int {
	switch v := v.(type) {
	case []any:
		return len(v)
	case json.Number:
		if v != "0" {
			return 1
		}
	}
	return 0
}

// storeStatistic follows data.stats.querier.store.
func storeStatistic(v any, name string) float64 {
	for _, key := range []string{"querier", "store", name} {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	n, _ := v.(json.Number)
	f, _ := n.Float64() // absent is none
	return f
}

func sortLists(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, child := range v {
			sortLists(child)
		}
	case []any:
		for _, child := range v {
			sortLists(child)
		}
		slices.SortFunc(v, func(a, b any) int {
			x, _ := json.Marshal(a) // came from JSON
			y, _ := json.Marshal(b)
			return bytes.Compare(x, y)
		})
	}
}

// Difference shows where two answers part, with some text around it.
func Difference(want, got []byte) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	window := func(b []byte) []byte { return b[min(max(0, i-120), len(b)):min(i+120, len(b))] }
	return fmt.Sprintf("at byte %d of %d and %d\n    want ...%s...\n    got  ...%s...", i, len(want), len(got), window(want), window(got))
}

// VectorValue is the number in an instant query's answer.
func VectorValue(text []byte) (int, error) {
	var doc struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return 0, err
	}
	if len(doc.Data.Result) != 1 {
		return 0, errors.New("not a vector of one")
	}
	s, _ := doc.Data.Result[0].Value[1].(string)
	return strconv.Atoi(s)
}
