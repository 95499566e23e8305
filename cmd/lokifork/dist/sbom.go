// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

// The parts of CycloneDX 1.5 that are used: https://cyclonedx.org/docs/1.5/json/
type (
	bom struct {
		Schema       string          `json:"$schema"`
		Format       string          `json:"bomFormat"`
		Spec         string          `json:"specVersion"`
		Serial       string          `json:"serialNumber"`
		Version      int             `json:"version"`
		Metadata     bomMetadata     `json:"metadata"`
		Components   []bomComponent  `json:"components"`
		Dependencies []bomDependency `json:"dependencies"`
	}
	bomMetadata struct {
		Timestamp string       `json:"timestamp"`
		Component bomComponent `json:"component"`
	}
	bomComponent struct {
		Ref        string        `json:"bom-ref"`
		Type       string        `json:"type"`
		Name       string        `json:"name"`
		Version    string        `json:"version"`
		Hashes     []bomHash     `json:"hashes,omitempty"`
		Licenses   []bomLicense  `json:"licenses"`
		PURL       string        `json:"purl,omitempty"`
		Properties []bomProperty `json:"properties,omitempty"`
	}
	bomHash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	bomLicense struct {
		Expression string `json:"expression"`
	}
	bomProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	bomDependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// billOfMaterials lists what a program is made of. The same program has the same list, its number included.
func billOfMaterials(o *options, name, version, licence, program string, components []component) ([]byte, error) {
	digest, _, err := digestOf(program)
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256([]byte("chunkring sbom " + name + digest))
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUID of version 8, which is one's own
	self := bomComponent{
		Ref: name, Type: "application", Name: name, Version: version,
		Hashes:     []bomHash{{"SHA-256", digest}},
		Licenses:   []bomLicense{{licence}},
		Properties: []bomProperty{{"chunkring:commit", o.commit}, {"chunkring:architecture", o.arch}},
	}
	b := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.5.schema.json", Format: "CycloneDX", Spec: "1.5", Version: 1,
		Serial:       fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16]),
		Metadata:     bomMetadata{o.time().Format(time.RFC3339), self},
		Dependencies: []bomDependency{{Ref: name}},
	}
	for _, c := range components {
		entry := bomComponent{
			Ref: c.purl, Type: "library", Name: c.name, Version: c.version, Licenses: []bomLicense{{c.licence}}, PURL: c.purl,
		}
		if c.sum != "" {
			entry.Properties = []bomProperty{{"go:sum", c.sum}}
		}
		b.Components = append(b.Components, entry)
		b.Dependencies[0].DependsOn = append(b.Dependencies[0].DependsOn, c.purl)
		b.Dependencies = append(b.Dependencies, bomDependency{Ref: c.purl})
	}
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}
