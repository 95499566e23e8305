// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	licenceName = regexp.MustCompile(`(?i)^(un)?(licen[sc]e|copying|notice|patents|copyright)s?([-_.][\w.-]*)?$`)
	sourceName  = regexp.MustCompile(`(?i)\.(go|c|h|py|sh|js|json|ya?ml|tmpl|html)$`)
)

// licenceTexts are the licences and notices of a module, those of parts that it copied from others included. They are in
// the order of their paths, those of the module itself first.
func licenceTexts(dir string) ([]text, error) {
	var texts []text
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != dir && (name == "testdata" || name == "test") {
				return filepath.SkipDir // is not linked
			}
			return nil
		}
		if !d.Type().IsRegular() || !licenceName.MatchString(d.Name()) || sourceName.MatchString(d.Name()) {
			return nil
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		texts = append(texts, text{filepath.ToSlash(rel), string(body)})
		return err
	})
	slices.SortStableFunc(texts, func(a, b text) int {
		return strings.Count(a.name, "/") - strings.Count(b.name, "/")
	})
	return texts, err
}

// signs tell a licence by words of its own; the first that fits counts.
var signs = []struct {
	id   string
	sign *regexp.Regexp
}{
	{"AGPL-3.0-only", regexp.MustCompile(`GNU AFFERO GENERAL PUBLIC LICENSE Version 3`)},
	{"LGPL-3.0-only", regexp.MustCompile(`GNU LESSER GENERAL PUBLIC LICENSE Version 3`)},
	{"GPL-3.0-only", regexp.MustCompile(`GNU GENERAL PUBLIC LICENSE Version 3`)},
	{"GPL-2.0-only", regexp.MustCompile(`GNU GENERAL PUBLIC LICENSE Version 2`)},
	{"MPL-2.0", regexp.MustCompile(`(?i)Mozilla Public License,? (Version|v\.) ?2\.0`)},
	{"Apache-2.0", regexp.MustCompile(`(?i)Apache License,? Version 2\.0`)},
	{"BSD-3-Clause", regexp.MustCompile(`Redistribution and use in source and binary forms.*(Neither the name|names? of .* (may|must) not|contributors may be used to endorse)`)},
	{"BSD-2-Clause", regexp.MustCompile(`Redistribution and use in source and binary forms`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any person obtaining a copy`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify,? and( or)? distribute this software for any purpose with or without fee`)},
	{"CC0-1.0", regexp.MustCompile(`CC0 1\.0 Universal`)},
	{"Unlicense", regexp.MustCompile(`This is free and unencumbered software released into the public domain`)},
	{"Zlib", regexp.MustCompile(`This software is provided 'as-is', without any express or implied warranty`)},
}

var space = regexp.MustCompile(`[\s*#/]+`)

// classify is the licence of a component: that of its uppermost texts, as an SPDX expression. One that nothing is known of
// is an error: somebody has to look.
func classify(name string, texts []text) (string, error) {
	var ids []string
	for _, t := range texts {
		if len(ids) > 0 && strings.Contains(t.name, "/") {
			break // of a part
		}
		flat := space.ReplaceAllString(t.body, " ")
		for _, s := range signs {
			if s.sign.MatchString(flat) {
				if !slices.Contains(ids, s.id) && !regexp.MustCompile(`(?i)^(notice|patents)`).MatchString(t.name) {
					ids = append(ids, s.id)
				}
				break
			}
		}
	}
	if len(ids) == 0 {
		return "", fmt.Errorf("%s: no licence that is known among its %d texts; see signs in cmd/lokifork/dist/licences.go", name, len(texts))
	}
	slices.Sort(ids)
	return strings.Join(ids, " AND "), nil
}

// licencesFile is one text with the licences of all components. A text that several have is there once.
func licencesFile(what string, components []component) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "What is linked into %s, and under which licences. The texts follow, by number.\n\n", what)
	numbers, bodies := map[string]int{}, []string{}
	for _, c := range components {
		fmt.Fprintf(&b, "%s %s: %s", c.name, c.version, c.licence)
		for i, t := range c.texts {
			body := strings.TrimSpace(strings.ReplaceAll(t.body, "\r\n", "\n"))
			if _, ok := numbers[body]; !ok {
				bodies = append(bodies, body)
				numbers[body] = len(bodies)
			}
			fmt.Fprintf(&b, "%s %s [%d]", map[bool]string{true: "; texts:", false: ","}[i == 0], t.name, numbers[body])
		}
		b.WriteByte('\n')
	}
	for i, body := range bodies {
		fmt.Fprintf(&b, "\n%s\n[%d]\n\n%s\n", strings.Repeat("=", 100), i+1, body)
	}
	return []byte(b.String())
}
