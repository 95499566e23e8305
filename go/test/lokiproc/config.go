// SPDX-License-Identifier: Apache-2.0

package lokiproc

import (
	"fmt"
	"strings"
	"text/template"
)

// Config is what differs between the Lokis of this test. Ports are on 127.0.0.1.
type Config struct {
	HTTP, GRPC int
	Dir        string // private: WAL, index cache, compactor
	Store      string // chunks and index; may be shared
	S3, Bucket string // address of an S3 server, which has them instead
	Codec      string
	ChunkBytes int    // at which a chunk is cut, and
	BlockBytes int    // a block of it; 0: small ones
	CacheMB    int    // of the chunk cache; 0 is no cache at all
	Memcached  string // address of a memcached, which is the chunk cache instead
	DiskCache  string // directory of chunkring's copies of the S3 server's chunks; needs a patched Loki
	CacheBytes int    // its max_bytes, and
	CacheFree  int    // its min_free_bytes; 0: the defaults
	Ring       string
	RingPort   int // of memberlist
	RingJoin   []int
	Replicas   int
	Name       string // of the ingester
	Frontend   int    // gRPC port of the query-frontend that queriers work for, without a query-scheduler
	Compactor  int    // HTTP port of the compactor
	Deletes    bool   // compact often, apply retention and delete requests
	// KeepLog: an ingester that ends leaves its lines to its log alone, as Loki's default has it, and does not
	// flush them.
	KeepLog bool
}

// What a Loki says to the S3 server.
const (
	S3Region    = "us-east-1"
	S3AccessKey = "chunkring"
	S3SecretKey = "chunkring-e2e"
)

// Where chunks and their blocks are cut, so that a few megabytes of logs make many.
const (
	chunkBytes = 12 << 10
	blockBytes = 4 << 10
)

var lokiYAML = template.Must(template.New("").Parse(`
auth_enabled: true
analytics: {reporting_enabled: false}
server:
  http_listen_address: 127.0.0.1
  http_listen_port: {{.HTTP}}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {{.GRPC}}
  log_level: info
  grpc_server_max_recv_msg_size: 104857600
  grpc_server_max_send_msg_size: 104857600
common:
  path_prefix: {{.Dir}}
  instance_addr: 127.0.0.1
  replication_factor: {{.Replicas}}
{{- if .Compactor}}
  compactor_address: http://127.0.0.1:{{.Compactor}}
{{- end}}
  storage:
{{- if .S3}}
    s3:
      endpoint: {{.S3}}
      bucketnames: {{.Bucket}}
      region: ` + S3Region + `
      access_key_id: ` + S3AccessKey + `
      secret_access_key: ` + S3SecretKey + `
      s3forcepathstyle: true
      insecure: true
{{- else}}
    filesystem: {chunks_directory: {{.Store}}, rules_directory: {{.Dir}}/rules}
{{- end}}
  ring:
    instance_addr: 127.0.0.1
    instance_id: {{.Name}} # else the name of the host, which all processes of a test share
    heartbeat_period: 1s
    kvstore: {store: {{.Ring}}}
{{- if .RingPort}}
memberlist:
  bind_addr: [127.0.0.1]
  advertise_addr: 127.0.0.1
  bind_port: {{.RingPort}}
  advertise_port: {{.RingPort}}
  gossip_interval: 100ms
  join_members: [{{range $i, $p := .RingJoin}}{{if $i}}, {{end}}"127.0.0.1:{{$p}}"{{end}}]
{{- end}}
schema_config:
  configs:
    - from: 2024-01-01
      store: tsdb
      object_store: {{if .S3}}s3{{else}}filesystem{{end}}
      schema: v13
      index: {prefix: index_, period: 24h}
storage_config:
  tsdb_shipper: {resync_interval: 5s}
{{- if .DiskCache}}
  chunkring:
    disk_cache:
      directory: {{.DiskCache}}
{{- if .CacheBytes}}
      max_bytes: {{.CacheBytes}}B
{{- end}}
{{- if .CacheFree}}
      min_free_bytes: {{.CacheFree}}B
{{- end}}
{{- end}}
chunk_store_config:
  chunk_cache_config:
{{- if .Memcached}}
    embedded_cache: {enabled: false}
    memcached: {batch_size: 3, parallelism: 2} # as Loki's guide to extstore has it
    memcached_client: {addresses: "{{.Memcached}}", timeout: 60s}
{{- else}}
    embedded_cache: {enabled: true, max_size_mb: {{.CacheMB}}}
{{- end}}
ingester:
  chunk_encoding: {{.Codec}}
  chunk_block_size: {{.BlockBytes}}
  chunk_target_size: {{.ChunkBytes}}
  chunk_idle_period: 1h
  max_chunk_age: 4h
  chunk_retain_period: 15m
  flush_check_period: 1s
  wal: {enabled: true, flush_on_shutdown: {{not .KeepLog}}, dir: {{.Dir}}/wal}
  lifecycler:
    id: {{.Name}}
    min_ready_duration: 0s
    final_sleep: 0s
    join_after: 0s
    ring: {kvstore: {store: {{.Ring}}}}
querier: {query_ingesters_within: 0s, max_concurrent: 4}
query_range:
  cache_results: false
  cache_index_stats_results: false
  cache_volume_results: false
  cache_series_results: false
  cache_label_results: false
  max_retries: 5
frontend: {max_outstanding_per_tenant: 2048, compress_responses: false}
{{- if .Frontend}}
frontend_worker: {frontend_address: "127.0.0.1:{{.Frontend}}"}
{{- end}}
limits_config:
  reject_old_samples: false
  ingestion_rate_mb: 500
  ingestion_burst_size_mb: 500
  per_stream_rate_limit: 500MB
  per_stream_rate_limit_burst: 500MB
  max_entries_limit_per_query: 20000
  max_global_streams_per_user: 0
  max_line_size: 0
  allow_structured_metadata: true
  discover_log_levels: true
  discover_service_name: []
  volume_enabled: true
  shard_streams: {enabled: false}
  split_queries_by_interval: 1h
  tsdb_max_bytes_per_shard: 1MB
  deletion_mode: filter-and-delete
{{- if .Deletes}}
  retention_stream:
    - {selector: '{env="expired"}', priority: 1, period: 24h}
{{- end}}
compactor:
  working_directory: {{.Dir}}/compactor
  compactor_ring: {kvstore: {store: {{.Ring}}}}
{{- if .Deletes}}
  compaction_interval: 2s
  retention_enabled: true
  retention_delete_delay: 1s
  delete_request_store: filesystem
  delete_request_cancel_period: -60s # Loki adds a minute
{{- else}}
  compaction_interval: 24h
{{- end}}
ruler:
  storage: {type: local, local: {directory: {{.Dir}}/rules}}
  wal: {dir: {{.Dir}}/ruler-wal}
`))

func (c Config) yaml() (string, error) {
	if c.Ring == "" {
		c.Ring = "inmemory"
	}
	if c.Codec == "" {
		c.Codec = "snappy"
	}
	if c.Name == "" {
		c.Name = "single"
	}
	if c.ChunkBytes == 0 {
		c.ChunkBytes, c.BlockBytes = chunkBytes, blockBytes
	}
	c.Replicas = max(c.Replicas, 1)
	var b strings.Builder
	if err := lokiYAML.Execute(&b, c); err != nil {
		return "", fmt.Errorf("configuration of Loki: %w", err)
	}
	return b.String(), nil
}
