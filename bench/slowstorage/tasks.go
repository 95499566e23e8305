// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// tasks are the threads of one process.
type tasks struct {
	Own    int `json:"own"`    // Go's and C's
	Kernel int `json:"kernel"` // io_uring's workers, which the kernel starts on the process's account
}

func (t tasks) most(o tasks) tasks { return tasks{max(t.Own, o.Own), max(t.Kernel, o.Kernel)} }

// countTasks counts a process's threads now.
func countTasks(pid int) (t tasks, err error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return t, err
	}
	for _, e := range entries {
		name, err := os.ReadFile(dir + "/" + e.Name() + "/comm")
		switch {
		case err != nil: // it has ended
		case strings.HasPrefix(string(name), "iou-"):
			t.Kernel++
		default:
			t.Own++
		}
	}
	return t, nil
}

// watchTasks counts a process's threads until stop, which returns the most there were at once. That takes
// CPU time of its own: nothing is timed meanwhile.
func watchTasks(pid int) (stop func() (tasks, error)) {
	const pause = time.Millisecond
	end, ended := make(chan struct{}), make(chan struct{})
	var most tasks
	var failed error
	go func() {
		defer close(ended)
		for failed == nil {
			var now tasks
			now, failed = countTasks(pid)
			most = most.most(now)
			select {
			case <-end:
				return
			case <-time.After(pause):
			}
		}
	}()
	return func() (tasks, error) {
		close(end)
		<-ended
		return most, failed
	}
}
