// SPDX-License-Identifier: Apache-2.0

package chunkring

import "strconv"

// Switch is a bool whose zero value means true: what is on unless somebody switched it off, also in
// configurations that are made as Go values.
type Switch struct{ off bool }

// Off is false.
var Off = Switch{off: true}

// On tells whether it is on.
func (s Switch) On() bool { return !s.off }

// String implements flag.Value.
func (s Switch) String() string { return strconv.FormatBool(!s.off) }

// Set implements flag.Value.
func (s *Switch) Set(v string) error {
	on, err := strconv.ParseBool(v)
	if err == nil {
		s.off = !on
	}
	return err
}

// IsBoolFlag lets a flag be given without a value.
func (s Switch) IsBoolFlag() bool { return true }

// UnmarshalYAML implements the interface of yaml.v2, which yaml.v3 takes as well.
func (s *Switch) UnmarshalYAML(unmarshal func(any) error) error {
	var on bool
	err := unmarshal(&on)
	if err == nil {
		s.off = !on
	}
	return err
}

// MarshalYAML writes true or false.
func (s Switch) MarshalYAML() (any, error) { return !s.off, nil }
