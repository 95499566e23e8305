// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
)

// checkStatic fails unless a file is a program that the kernel starts without a loader.
func checkStatic(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := elf.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	if err := staticProgram(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("%s: %s, static, %.1f MB\n", name, f.Machine, float64(info.Size())/1e6)
	return nil
}

// staticProgram looks at what the kernel and a loader look at. A static program that can be put anywhere (static-pie)
// has a dynamic section, but needs no library.
func staticProgram(f *elf.File) error {
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("%s is no program", f.Type)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("has an interpreter: it is linked dynamically")
		}
		if p.Type == elf.PT_GNU_STACK && p.Flags&elf.PF_X != 0 {
			return errors.New("has an executable stack")
		}
	}
	libraries, err := f.DynString(elf.DT_NEEDED)
	if err != nil && f.SectionByType(elf.SHT_DYNAMIC) != nil {
		return err
	}
	if len(libraries) > 0 {
		return fmt.Errorf("needs shared libraries: %v", libraries)
	}
	return nil
}
