// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A metric query over gigabytes takes its time; what must be quicker has a context that ends.
var httpClient = &http.Client{Timeout: 2 * time.Minute}

// Get returns the status code and the body.
func Get(ctx context.Context, url, tenant string) (int, []byte, error) {
	return Do(ctx, http.MethodGet, url, tenant, nil)
}

// Do sends a body, which is JSON or nil.
func Do(ctx context.Context, method, url, tenant string, body []byte) (int, []byte, error) {
	return send(ctx, method, url, tenant, "application/json", body)
}

func send(ctx context.Context, method, url, tenant, contentType string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if tenant != "" {
		req.Header.Set("X-Scope-OrgID", tenant)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

// Metrics are the samples of /metrics: name{labels} to value.
type Metrics map[string]float64

// Metrics asks for them.
func (p *Proc) Metrics(ctx context.Context) (Metrics, error) {
	code, body, err := Get(ctx, p.URL("/metrics"), "")
	if err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("%s: /metrics: %d %w", p.Label, code, err)
	}
	m := Metrics{}
	for s := bufio.NewScanner(bytes.NewReader(body)); s.Scan(); {
		line := s.Text()
		space := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || space < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(line[space+1:], 64); err == nil {
			m[line[:space]] = v
		}
	}
	return m, nil
}

// Sum adds the samples of a metric whose labels contain all of these.
func (m Metrics) Sum(name string, labels ...string) float64 {
	total := 0.0
next:
	for sample, v := range m {
		base, rest, _ := strings.Cut(sample, "{")
		if base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue next
			}
		}
		total += v
	}
	return total
}

// Label is a label's value in a metric that says something by its labels, "" if there is no such metric.
func (m Metrics) Label(name, label string) string {
	for sample, v := range m {
		labels, ok := strings.CutPrefix(sample, name+"{")
		if v == 1 && ok {
			_, rest, _ := strings.Cut(","+labels, ","+label+`="`)
			value, _, _ := strings.Cut(rest, `"`)
			return value
		}
	}
	return ""
}

// Backend is the back-end of chunkring in use, "" if there is none.
func (m Metrics) Backend() string { return m.Label("chunkring_backend_info", "backend") }

// Version is that of Loki, as its build was told; an unpatched one may not have been.
func (m Metrics) Version() string { return m.Label("loki_build_info", "version") }
