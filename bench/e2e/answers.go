// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// answer is what a Loki said, without statistics, in a form that can be compared.
type answer struct {
	text       []byte // canonical JSON
	items      int    // in the outermost list
	downloaded int    // chunks, as Loki's own statistics count them
}

// ask sends one query.
func ask(ctx context.Context, p *proc, tenant string, q query) (answer, error) {
	code, body, err := get(ctx, p.url(q.path)+"?"+q.params.Encode(), tenant)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %s: %w", p.label, q.name, err)
	}
	if code != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %s: HTTP %d: %s", p.label, q.name, code, bytes.TrimSpace(body))
	}
	a, err := parseAnswer(body, q.unordered)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %s: %w: %.300s", p.label, q.name, err, body)
	}
	if a.items == 0 && !q.mayBeEmpty {
		return a, fmt.Errorf("%s: %s: an empty answer proves nothing", p.label, q.name)
	}
	return a, nil
}

// parseAnswer drops the statistics. All else stays as it is, numbers as they are spelled; lists without
// an order are sorted, and so are the keys of objects.
func parseAnswer(body []byte, unordered bool) (answer, error) {
	var a answer
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
		a.downloaded = chunksDownloaded(data["stats"])
		delete(data, "stats")
		a.items = length(data["result"])
	} else {
		for _, v := range top {
			a.items = max(a.items, length(v))
		}
	}
	if unordered {
		sortLists(doc)
	}
	var err error
	a.text, err = json.Marshal(doc)
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

// chunksDownloaded follows data.stats.querier.store.totalChunksDownloaded.
func chunksDownloaded(v any) int {
	for _, key := range []string{"querier", "store", "totalChunksDownloaded"} {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	n, _ := v.(json.Number)
	count, _ := strconv.Atoi(n.String()) // absent is none
	return count
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

// difference shows where two answers part, with some text around it.
func difference(want, got []byte) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	window := func(b []byte) []byte { return b[min(max(0, i-120), len(b)):min(i+120, len(b))] }
	return fmt.Sprintf("at byte %d of %d and %d\n    want ...%s...\n    got  ...%s...", i, len(want), len(got), window(want), window(got))
}
