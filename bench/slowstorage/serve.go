// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/chunkring/chunkring/go/test/slowfs"
)

// serve is the storage until in ends. An interrupt is for the driver, which then closes in: a mount that
// outlived its process would hang whoever touches it.
func serve(_ context.Context, arg []byte, in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	cfg, err := decode[serveConfig](arg)
	if err != nil {
		return err
	}
	f, err := slowfs.Mount(cfg.Dir, cfg.At, slowfs.Options{
		Latency:   map[slowfs.Op]time.Duration{slowfs.Lookup: cfg.Latency, slowfs.Open: cfg.Latency, slowfs.Read: cfg.Latency},
		CacheTime: cfg.CacheTime, KeepCache: true,
	})
	if err != nil {
		return errors.Join(err, json.NewEncoder(out).Encode(reply{Err: err.Error()}))
	}
	err = answer(in, out, reply{}, func(req request) (reply, error) {
		switch req.Do {
		case doForget:
			err := f.Forget()
			f.Reset()
			return reply{}, err
		case doCounts:
			return reply{Counts: f.Counts()}, nil
		}
		return reply{}, fmt.Errorf("unknown request %q", req.Do)
	})
	return errors.Join(err, f.Close())
}
