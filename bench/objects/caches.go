// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/chunkring/chunkring/bench/internal/corpus"
	"github.com/chunkring/chunkring/go/test/lokiproc"
)

// extstoreGB is the room in memcached's file. It takes what is used of it.
const extstoreGB = 4

// nginxConf caches the chunks, and passes on everything else: the index is Loki's to cache. What several ask
// for at once is fetched once.
var nginxConf = template.Must(template.New("").Parse(`
daemon off;
worker_processes 2;
{{if .User}}user {{.User}};{{end}}
pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  client_max_body_size 0;
  client_body_temp_path {{.Dir}}/body;
  proxy_temp_path {{.Dir}}/proxy;
  fastcgi_temp_path {{.Dir}}/fastcgi;
  uwsgi_temp_path {{.Dir}}/uwsgi;
  scgi_temp_path {{.Dir}}/scgi;
  proxy_cache_path {{.Dir}}/cache levels=1:2 keys_zone=chunks:32m max_size=50g inactive=30d use_temp_path=off;
  upstream objects { server {{.Objects}}; keepalive 256; }
  server {
    listen {{.Address}};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    location / { proxy_pass http://objects; }
    location ~ ^/[^/]+/{{.Tenant}}/ {
      proxy_pass http://objects;
      proxy_cache chunks;
      proxy_cache_key $uri;
      proxy_cache_valid 200 30d;
      proxy_cache_lock on;
    }
  }
}
`))

// startCache starts the cache of a setup over a folder, on a port of its own.
func (b *bench) startCache(ctx context.Context, f *lokiproc.Fleet, program, dir string) (*lokiproc.Service, error) {
	path, err := programPath(program)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	ports, err := lokiproc.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address, argv := fmt.Sprintf("127.0.0.1:%d", ports[0]), []string(nil)
	user := ""
	if os.Geteuid() == 0 {
		user = "root" // else they become somebody who may not write here
	}
	switch program {
	case memcachedProgram:
		// -I: by default most chunks are too large. The rest as Loki's guide has it.
		argv = []string{path, "-l", "127.0.0.1", "-p", fmt.Sprint(ports[0]), "-m", fmt.Sprint(b.memcachedMB), "-I", "2m", "-c", "1024",
			"-o", fmt.Sprintf("ext_path=%s:%dG,ext_wbuf_size=32,ext_threads=10,ext_recache_rate=0", filepath.Join(dir, "extstore"), extstoreGB)}
		if user != "" {
			argv = append(argv, "-u", user)
		}
	case nginxProgram:
		var conf strings.Builder
		if err := nginxConf.Execute(&conf, map[string]string{"Dir": dir, "User": user, "Objects": b.address, "Address": address, "Tenant": corpus.Tenant}); err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(file, []byte(conf.String()), 0o666); err != nil {
			return nil, err
		}
		argv = []string{path, "-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", file}
	}
	return f.StartService(ctx, program, address, argv...)
}

// programVersion is what a server says of itself, on either stream.
func programVersion(ctx context.Context, program string) (string, error) {
	path, err := programPath(program)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	flag := "-V"
	if program == nginxProgram {
		flag = "-v"
	}
	out, err := exec.CommandContext(ctx, path, flag).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
