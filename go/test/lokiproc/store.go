// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"io/fs"
	"path/filepath"
)

// ChunkFiles returns the chunk files of a tenant and their size together. Schema v13 puts them in
// folders below one named after the tenant.
func ChunkFiles(store, tenant string) ([]string, int64, error) {
	var names []string
	var size int64
	err := filepath.WalkDir(filepath.Join(store, tenant), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		names = append(names, path)
		size += info.Size()
		return nil
	})
	return names, size, err
}
