// SPDX-License-Identifier: Apache-2.0

package chunkgen

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/grafana/loki/v3/pkg/logproto"
)

// badBlockBytes makes blocks of about three of badLines. The files are much smaller than the good
// ones, since there are hundreds of them.
const badBlockBytes = 110

// badLines is the log that is damaged.
func badLines(yield func(logproto.Entry) bool) {
	for i := range 12 {
		e := logproto.Entry{
			Timestamp:          storeBegin.Add(time.Duration(i) * time.Second),
			Line:               fmt.Sprintf("level=info msg=\"line %d\" id=%016x", i, seedOf(strconv.Itoa(i))),
			StructuredMetadata: []logproto.LabelAdapter{{Name: "detected_level", Value: "info"}, {Name: "n", Value: strconv.Itoa(i)}},
		}
		if !yield(e) {
			return
		}
	}
}

// defect is a file of testdata/bad.
type defect struct {
	sample
	why  string
	must string // "" for what follows from stock's behaviour
}

// badSamples makes all files of testdata/bad: each is a good one, damaged.
func badSamples() ([]defect, error) {
	var good []sample
	for _, g := range everyEncoding() {
		g.enc.BlockBytes, g.entries = badBlockBytes, badLines
		// The second label is there to make the JSON worth compressing.
		g.labels = labels.FromStrings("app", g.name, "job", strings.Repeat("chunkring/", 10))
		s, err := g.build()
		if err != nil {
			return nil, err
		}
		good = append(good, s)
	}
	outer, err := badOuter(good)
	if err != nil {
		return nil, err
	}
	inner, err := badInner(good)
	if err != nil {
		return nil, err
	}
	all := append(outer, inner...)
	for i := range all {
		if err := inPart(&all[i].sample); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// badOuter are files whose checksum is not their key's: what torn writes, bad disks and mixed-up
// files leave behind. A reader that compares the checksum first never looks inside.
func badOuter(good []sample) ([]defect, error) {
	base := find(good, "v4-snappy")
	p, err := Split(base.bytes)
	if err != nil {
		return nil, err
	}
	var all []defect
	add := func(name, why string, b []byte) {
		s := derive(base, "outer-"+name, b)
		s.ref.Checksum = base.ref.Checksum
		all = append(all, defect{sample: s, why: why})
	}
	whole := base.bytes
	sections := fineSections(p)

	add("empty", "no bytes at all, as after a crash before the data reached the disk", nil)
	cut := map[int]bool{0: true, len(whole): true}
	for _, s := range sections {
		for _, n := range []int{s.Start - 1, s.Start, s.Start + 1} {
			if n < 0 || cut[n] {
				continue
			}
			cut[n] = true
			at := ""
			if n != s.Start {
				at = fmt.Sprintf("%+d", n-s.Start)
			}
			add("cut-"+slug(s.Name)+at, fmt.Sprintf("cut at %d, where %q begins (%+d)", n, s.Name, n-s.Start), whole[:n])
		}
	}
	add("cut-end-1", "the last byte is missing", whole[:len(whole)-1])
	for _, s := range sections {
		b := bytes.Clone(whole)
		mid := (s.Start + s.End) / 2
		b[mid] ^= 0x10
		add("flip-"+slug(s.Name), fmt.Sprintf("one bit flipped in %q", s.Name), b)
	}
	add("trailing-byte", "one byte too many", append(bytes.Clone(whole), 0))
	add("other-chunk", "the content of another chunk, itself good", find(good, "v4-gzip").bytes)
	add("zeros", "the right size, all zeros: metadata was flushed, data was not", make([]byte, len(whole)))
	half := bytes.Clone(whole)
	clear(half[len(half)/2:])
	add("half-zeros", "the second half is zeros", half)
	add("twice", "the file's content twice", slices.Concat(whole, whole))
	return all, nil
}

// fineSections are p's sections with the envelope's frames taken apart.
func fineSections(p *Parts) []Section {
	var fine []Section
	for _, s := range p.Sections() {
		if s.Name == "frames" {
			fine = append(fine, p.FrameSections()...)
			continue
		}
		fine = append(fine, s)
	}
	return fine
}

// slug makes a section's name fit for a file name.
func slug(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }
