// SPDX-License-Identifier: Apache-2.0

package main

// edit is one change to a file of Loki's. Its anchor is a piece of code that must occur exactly once
// in one declaration; both are found by Go's own parser and scanner, so white space and comments
// there don't matter. What it inserts is formatted by gofmt afterwards.
type edit struct {
	file string // below Loki's root
	why  string
	part *part
	in   string // the declaration: "func Name", "func Type.Name" or "type Name"
	at   string // the anchor
	put  place
	text string // has a comment that begins with "chunkring:"
	alt  string // of several edits of the same name, for Lokis that differ, the first that fits is made
	with string // an added file that goes with this edit, and is left out without it
}

type place int

const (
	before  place = iota // lines before the one where the anchor begins
	after                // lines after the one where it ends
	instead              // in the anchor's place
	nowhere              // the anchor tells Lokis apart, and the edit only brings a file
)

// edits is everything that is changed in Loki's own files. The code behind it is in files/, which
// mirrors Loki's tree.
var edits = []edit{
	{
		file: "cmd/loki/main.go",
		why:  "loki -version says which parts of chunkring are in it",
		part: chunkClient,
		in:   "func main",
		at:   `fmt.Println(version.Print("loki"))`,
		put:  after,
		text: `fmt.Println(lokiParts) // chunkring: which parts of it are in this Loki`,
	},

	// The block path: for all chunks, from before the first store of a process is open. A compactor on
	// its own opens none, and keeps Loki's own readers for what it rewrites.
	{
		file: "pkg/storage/factory.go",
		why:  "storage_config.chunkring: what holds for every store",
		part: blockPath,
		in:   "type Config",
		at:   "UseThanosObjstore bool `yaml:\"use_thanos_objstore\"`",
		put:  before,
		text: "// chunkring: what holds for every store.\n" +
			"Chunkring chunkringConfig `yaml:\"chunkring\" doc:\"description=Configures what chunkring does with the chunks of every store.\"`\n\n",
	},
	{
		file: "pkg/storage/factory.go",
		why:  "-store.chunkring.* flags",
		part: blockPath,
		in:   "func Config.RegisterFlags",
		at:   `cfg.CongestionControl.RegisterFlagsWithPrefix("store.", f)`,
		put:  after,
		text: `cfg.Chunkring.RegisterFlagsWithPrefix("store.", f) // chunkring:`,
	},
	{
		file: "pkg/storage/factory.go",
		why:  "a wrong configuration of the process is reported at start",
		part: blockPath,
		in:   "func Config.Validate",
		at:   "if err := cfg.TSDBShipperConfig.Validate(); err != nil {",
		put:  before,
		text: `// chunkring: the process has a configuration that can be wrong.
	if err := cfg.Chunkring.Validate(); err != nil {
		return errors.Wrap(err, "invalid chunkring config")
	}`,
	},
	{
		file: "pkg/storage/store.go",
		why:  "the block path is on before anything reads a chunk",
		part: blockPath,
		in:   "func NewStore",
		at:   "if len(schemaCfg.Configs) != 0 {",
		put:  before,
		text: `// chunkring: the process's; queriers, rulers, ingesters and bloom builders come here.
	if err := setBlockPath(cfg.Chunkring, storeCfg); err != nil {
		return nil, err
	}

`,
	},

	// Storage: the chunks of filesystem stores go to chunkring, and nothing else does.
	{
		file: "pkg/storage/chunk/client/local/fs_object_client.go",
		why:  "storage_config.filesystem.chunkring, also in named stores",
		part: chunkClient,
		in:   "type FSConfig",
		at:   "Directory string `yaml:\"directory\"`",
		put:  after,
		text: "\n// chunkring: how chunks are read and written.\n" +
			"Chunkring chunkringConfig `yaml:\"chunkring\" doc:\"description=Configures chunkring, which reads and writes the chunks of filesystem stores.\"`",
	},
	{
		file: "pkg/storage/chunk/client/local/fs_object_client.go",
		why:  "-local.chunkring.* flags, and the defaults of named stores",
		part: chunkClient,
		in:   "func FSConfig.RegisterFlagsWithPrefix",
		at:   `f.StringVar(&cfg.Directory, prefix+"local.chunk-directory", "", "Directory to store chunks in.")`,
		put:  after,
		text: `cfg.Chunkring.RegisterFlagsWithPrefix(prefix+"local.", f) // chunkring:`,
	},
	{
		file: "pkg/storage/factory.go",
		why:  "a wrong named filesystem store is reported at start",
		part: chunkClient,
		in:   "func NamedStores.Validate",
		at:   "return ns.populateStoreType()",
		put:  before,
		text: `
	// chunkring: the filesystem has a configuration that can be wrong.
	for name, fsCfg := range ns.Filesystem {
		if err := (*local.FSConfig)(&fsCfg).Validate(); err != nil {
			return errors.Wrap(err, fmt.Sprintf("invalid filesystem config with name %s", name))
		}
	}
`,
	},
	{
		file: "pkg/storage/factory.go",
		why:  "a wrong filesystem is reported at start",
		part: chunkClient,
		in:   "func Config.Validate",
		at:   "return cfg.NamedStores.Validate()",
		put:  before,
		text: `
	// chunkring: the filesystem has a configuration that can be wrong.
	if err := cfg.FSConfig.Validate(); err != nil {
		return errors.Wrap(err, "invalid filesystem config")
	}
`,
	},
	{
		file: "pkg/storage/factory.go",
		why:  "filesystem stores with use_thanos_objstore",
		part: chunkClient,
		in:   "func NewChunkClient",
		at:   "return client.NewClientWithMaxParallel(c, encoder, cfg.MaxParallelGetChunk, schemaCfg), nil",
		put:  before,
		alt:  "chunks of use_thanos_objstore",
		text: `
		// chunkring: takes the chunks of a filesystem unless it is switched off.
		if own, err := chunkringClient(c, schemaCfg); own != nil || err != nil {
			return own, err
		}
`,
	},
	{
		file: "pkg/storage/factory.go",
		why:  "the edit below is for both kinds of filesystem, after 3.8.0",
		part: chunkClient,
		in:   "func NewChunkClient",
		at:   "if storeType == types.StorageTypeFileSystem {",
		put:  nowhere,
		alt:  "chunks of use_thanos_objstore",
	},
	{
		file: "pkg/storage/factory.go",
		why:  "filesystem stores, named ones too",
		part: chunkClient,
		in:   "func NewChunkClient",
		at:   "return client.NewClientWithMaxParallel(c, client.FSEncoder, cfg.MaxParallelGetChunk, schemaCfg), nil",
		put:  before,
		text: `
			// chunkring: takes the chunks unless it is switched off.
			if own, err := chunkringClient(c, schemaCfg); own != nil || err != nil {
				return own, err
			}
`,
	},
	{
		file: "pkg/storage/factory.go",
		why:  "for tests: a chunk client is made with its period, from 3.6 on",
		part: blockPath,
		in:   "func NewChunkClient",
		at:   "p config.PeriodConfig",
		put:  nowhere,
		alt:  "arguments of NewChunkClient",
		with: "pkg/storage/chunkring_newclient_test.go",
	},
	{
		file: "pkg/storage/factory.go",
		why:  "for tests: and with a congestion controller before",
		part: blockPath,
		in:   "func NewChunkClient",
		at:   "cc congestion.Controller, registerer prometheus.Registerer",
		put:  nowhere,
		alt:  "arguments of NewChunkClient",
		with: "pkg/storage/chunkring_newclient_plain_test.go",
	},
	{
		file: "pkg/storage/factory.go",
		why:  "storage_config.filesystem.chunkring counts for filesystems behind use_thanos_objstore, too",
		part: chunkClient,
		in:   "func NewObjectClient",
		at:   "return bucket.NewObjectClient(context.Background(), name, cfg.ObjectStore, component, cfg.Hedging, false, util_log.Logger)",
		put:  instead,
		text: `// chunkring: a client over a filesystem knows how its chunks are read.
		c, err := bucket.NewObjectClient(context.Background(), name, cfg.ObjectStore, component, cfg.Hedging, false, util_log.Logger)
		if err != nil {
			return nil, err
		}
		return c.WithChunkring(cfg.FSConfig.Chunkring), nil`,
		alt: "NewObjectClient",
	},
	{
		file: "pkg/storage/factory.go",
		why:  "the same, after 3.8.0",
		part: chunkClient,
		in:   "func NewObjectClient",
		at:   "return c, err",
		put:  instead,
		text: `if err != nil {
			return nil, err
		}
		// chunkring: a client over a filesystem knows how its chunks are read.
		return c.WithChunkring(cfg.FSConfig.Chunkring), nil`,
		alt: "NewObjectClient",
	},
	{
		file: "pkg/storage/bucket/object_client_adapter.go",
		why:  "remembers the directory, which only NewObjectClient knows",
		part: chunkClient,
		in:   "type ObjectClientAdapter",
		at:   "isRetryableErr func(err error) bool",
		put:  after,
		text: `
	// chunkring: how and where chunks are read if this is a filesystem.
	chunkring chunkringConfig`,
	},
	{
		file: "pkg/storage/bucket/object_client_adapter.go",
		why:  "remembers the directory, which only NewObjectClient knows",
		part: chunkClient,
		in:   "func NewObjectClient",
		at:   "switch storeType { case GCS:",
		put:  before,
		text: `o.chunkring.Directory = chunkDirectory(storeType, storeCfg) // chunkring:
`,
	},
	{
		file: "pkg/compactor/compactor.go",
		why:  "the compactor's own client reads and deletes chunks",
		part: chunkClient,
		in:   "func Compactor.init",
		at:   "chunkClient := client.NewClient(objectClient, encoder, schemaConfig)",
		put:  after,
		text: `// chunkring: takes the chunks of a filesystem unless it is switched off.
			if own, err := chunkringClient(objectClient, schemaConfig); err != nil {
				return fmt.Errorf("failed to init chunk client: %w", err)
			} else if own != nil {
				chunkClient = own
			}
`,
	},

	// The disk cache: in front of every object store that a process reads chunks of for queries, not the compactor's,
	// whose client is its own.
	{
		file: "pkg/storage/store.go",
		why:  "a disk cache in front of object stores",
		part: diskCache,
		in:   "func LokiStore.chunkClientForPeriod",
		at:   "chunks = client.NewMetricsChunkClient(chunks, s.chunkClientMetrics)",
		put:  before,
		text: `// chunkring: in front of an object store, if there is a folder for it.
	if chunks, err = s.diskCached(chunks, objectStoreType); err != nil {
		return nil, err
	}

`,
	},
	{
		file: "pkg/loki/modules.go",
		why:  "the disk cache copies what is stored where one process writes and reads",
		part: diskCache,
		in:   "func Loki.initStore",
		at:   "store, err := storage.NewStore(t.Cfg.StorageConfig, t.Cfg.ChunkStoreConfig, t.Cfg.SchemaConfig, t.Overrides, t.ClientMetrics, prometheus.DefaultRegisterer, util_log.Logger, t.Cfg.MetricsNamespace)",
		put:  before,
		text: `t.Cfg.StorageConfig.Chunkring.DiskCache.SingleProcess = t.Cfg.isTarget(All) // chunkring:
	`,
	},

	// Which bucket a cache belongs to is said by the store's configuration.
	{
		file: "pkg/storage/factory.go",
		why:  "the configuration of S3 has DynamoDB's beside it, up to 3.8.0",
		part: diskCache,
		in:   "type Config",
		at:   "AWSStorageConfig aws.StorageConfig",
		put:  nowhere,
		alt:  "configuration of S3",
		with: "pkg/storage/chunkring_s3_dynamodb.go",
	},
	{
		file: "pkg/storage/factory.go",
		why:  "it is S3's alone, after 3.8.0",
		part: diskCache,
		in:   "type Config",
		at:   "S3Config aws.S3Config",
		put:  nowhere,
		alt:  "configuration of S3",
		with: "pkg/storage/chunkring_s3.go",
	},

	// chunk.DecodeVerified and SetVerifier are all in files/; this is who asks, for chunks that come from
	// object stores and caches, and what is handed on.
	{
		file: "pkg/storage/chunk/chunk.go",
		why:  "all checksums of a chunk with one pass over its bytes",
		part: verifiedDecode,
		in:   "func Chunk.Decode",
		at:   "func (c *Chunk) Decode(decodeContext *DecodeContext, input []byte) error {",
		put:  instead,
		text: `func (c *Chunk) Decode(decodeContext *DecodeContext, input []byte) error {
	if c.verified(input) {
		return c.DecodeVerified(decodeContext, input, true)
	}
	return c.decodeUnverified(decodeContext, input)
}

// chunkring: all of Decode, for bytes that no verifier found sound.
func (c *Chunk) decodeUnverified(decodeContext *DecodeContext, input []byte) error {`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "lets DecodeVerified say how the chunk is decoded",
		part: verifiedDecode,
		in:   "func newByteChunk",
		at:   "func newByteChunk(b []byte, blockSize, targetSize int, fromCheckpoint bool) (*MemChunk, error) {",
		put:  instead,
		text: `func newByteChunk(b []byte, blockSize, targetSize int, fromCheckpoint bool) (*MemChunk, error) {
	return newByteChunkMode(b, blockSize, targetSize, fromCheckpoint, decodeStock)
}

// chunkring: all of newByteChunk; what depends on the mode is in chunkring.go.
func newByteChunkMode(b []byte, blockSize, targetSize int, fromCheckpoint bool, mode decodeMode) (*MemChunk, error) {`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "three allocations that formats from v4 on throw away",
		part: verifiedDecode,
		in:   "func newByteChunk",
		at:   "symbolizer: newSymbolizer(),",
		put:  instead,
		text: `symbolizer: mode.newSymbolizer(b), // chunkring: was newSymbolizer()`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "blocks that were verified are not checksummed again; the recovery below stays",
		part: verifiedDecode,
		in:   "func newByteChunk",
		at:   "invalidBlockErr := validateBlock(b, blk.offset, l)",
		put:  instead,
		text: `invalidBlockErr := mode.validateBlock(b, blk.offset, l) // chunkring: was validateBlock`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "one string for all symbols of a chunk instead of one each",
		part: verifiedDecode,
		in:   "func newByteChunk",
		at:   "symbolizer, err := symbolizerFromEnc(lb, compression.GetReaderPool(bc.encoding))",
		put:  instead,
		text: `// chunkring: was symbolizerFromEnc. GetPool is never a decoder in C, so that decoding a batch of
		// chunks makes no calls into C.
		symbolizer, err := mode.symbolizerFromEnc(lb, compression.GetPool(bc.encoding).(compression.ReaderPool))`,
	},

	// What leanSymbolizer makes is what Loki's own makes.
	{
		file: "pkg/chunkenc/symbols.go",
		why:  "a symbolizer that normalizes names, from 3.6 on",
		part: verifiedDecode,
		in:   "type symbolizer",
		at:   "normalizedNames map[uint32]string",
		put:  nowhere,
		alt:  "symbolizer",
		with: "pkg/chunkenc/chunkring_symbolizer.go",
	},
	{
		file: "pkg/chunkenc/symbols.go",
		why:  "a symbolizer that does not",
		part: verifiedDecode,
		in:   "type symbolizer",
		at:   "compressedSize int",
		put:  nowhere,
		alt:  "symbolizer",
		with: "pkg/chunkenc/chunkring_symbolizer_plain.go",
	},

	// Partial reads: a chunk of which only the ends were read has placeholders for its blocks. Whoever needs their
	// bytes gets the whole file, or an error.
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "a block that is read when an iterator comes to it",
		part: partialReads,
		in:   "type block",
		at:   "uncompressedSize int",
		put:  after,
		text: `
	lazy *lazyBlock // chunkring: where the block is, if b is only as long as it is`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "placeholders are never written",
		part: partialReads,
		in:   "func MemChunk.writeTo",
		at:   "crc32Hash := crc32HashPool.Get().(hash.Hash32)",
		put:  before,
		text: `// chunkring: of a chunk that was read by its ends.
	if err := c.loadBlocks(); err != nil {
		return 0, err
	}

`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "placeholders are never copied, and no block is left out of what is rewritten",
		part: partialReads,
		in:   "func MemChunk.Rewrite",
		at:   "newChunk := NewMemChunk(c.format, c.Encoding(), c.headFmt, math.MaxInt, math.MaxInt)",
		put:  before,
		text: `// chunkring: of a chunk that was read by its ends.
	if err := c.loadBlocks(); err != nil {
		return nil, err
	}

`,
		alt:  "rewrite",
		with: "pkg/chunkenc/chunkring_rewrites_test.go",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "before 3.6 chunks are rewritten by Rebound only",
		part: partialReads,
		in:   "func MemChunk.Rebound",
		at:   "return nil, chunk.ErrSliceNoDataInRange",
		put:  nowhere,
		alt:  "rewrite",
		with: "pkg/chunkenc/chunkring_rewrites_plain_test.go",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "no block is left out of what is rewritten",
		part: partialReads,
		in:   "func MemChunk.Rebound",
		at:   "itr, err := c.Iterator(context.Background(), start, end.Add(time.Millisecond), logproto.FORWARD, log.NewNoopPipeline().ForStream(labels.Labels{}))",
		put:  before,
		text: `// chunkring: of a chunk that was read by its ends.
	if err := c.loadBlocks(); err != nil {
		return nil, err
	}

`,
		alt: "rebound",
	},
	{
		file: "pkg/chunkenc/interface.go",
		why:  "there is no Rebound where chunks take one extractor, after 3.8.0",
		part: partialReads,
		in:   "type Chunk",
		at:   "SampleIterator(ctx context.Context, from, through time.Time, extractor log.StreamSampleExtractor) iter.SampleIterator",
		put:  nowhere,
		alt:  "rebound",
	},
	{
		file: "pkg/storage/chunk/chunk.go",
		why:  "a chunk that was read by its ends is not encoded anew, which could change its checksum",
		part: partialReads,
		in:   "func Chunk.Encoded",
		at:   "if c.encoded == nil {",
		put:  before,
		text: `// chunkring: of a chunk that was read by its ends.
	if source := c.partlyRead(); source != nil {
		return source.Whole()
	}
`,
	},
	{
		file: "pkg/storage/chunk/fetcher/fetcher.go",
		why:  "chunks that were read by their ends are not cached",
		part: partialReads,
		in:   "func Fetcher.FetchChunks",
		at:   "if cacheErr := c.WriteBackCache(ctx, fromStorage); cacheErr != nil {",
		put:  instead,
		text: `// chunkring: chunks that were read by their ends are not cached.
	if cacheErr := c.WriteBackCache(ctx, chunk.WholeOnly(fromStorage)); cacheErr != nil {`,
	},

	{
		file: "pkg/storage/store.go",
		why:  "chunks may be read by their ends for queries, and for nobody else",
		part: partialReads,
		in:   "func LokiStore.SelectLogs",
		at:   "return newLogBatchIterator(ctx, s.schemaCfg, s.chunkMetrics, lazyChunks, s.cfg.MaxChunkBatchSize, matchers, pipeline, req.Direction, req.Start, req.End, chunkFilterer)",
		put:  before,
		text: `// chunkring: chunks may be read by their ends.
	ctx = s.wanted(ctx, req.Start, req.End, req.Direction, expr.HasFilter())

`,
	},
	{
		file: "pkg/storage/store.go",
		why:  "chunks may be read by their ends for queries, and for nobody else",
		part: partialReads,
		in:   "func LokiStore.SelectSamples",
		at:   "return newSampleBatchIterator(",
		put:  before,
		text: `// chunkring: chunks may be read by their ends.
	ctx = s.wanted(ctx, req.Start, req.End, logproto.FORWARD, true)

`,
	},
	{
		file: "pkg/storage/batch.go",
		why:  "strict_blocks: a block that can't be read fails the query",
		part: partialReads,
		in:   "func logBatchIterator.Err",
		at:   "if it.ctx.Err() != nil {",
		put:  before,
		text: `// chunkring: of a block that could not be read.
	if err := blockError(it.ctx); err != nil {
		return err
	}
`,
	},
	{
		file: "pkg/storage/batch.go",
		why:  "strict_blocks: a block that can't be read fails the query",
		part: partialReads,
		in:   "func sampleBatchIterator.Err",
		at:   "if it.ctx.Err() != nil {",
		put:  before,
		text: `// chunkring: of a block that could not be read.
	if err := blockError(it.ctx); err != nil {
		return err
	}
`,
	},
	{
		file: "pkg/compactor/retention/retention.go",
		why:  "for tests: a rewriter that may go on without a chunk, from 3.7.7 on",
		part: partialReads,
		in:   "func newChunkRewriter",
		at:   "ignoreMissingChunks bool",
		put:  nowhere,
		alt:  "arguments of newChunkRewriter",
		with: "pkg/compactor/retention/chunkring_rewriter_test.go",
	},
	{
		file: "pkg/compactor/retention/retention.go",
		why:  "for tests: and one that never does before",
		part: partialReads,
		in:   "func newChunkRewriter",
		at:   "chunkIndexer chunkIndexer",
		put:  nowhere,
		alt:  "arguments of newChunkRewriter",
		with: "pkg/compactor/retention/chunkring_rewriter_plain_test.go",
	},
	{
		file: "pkg/compactor/retention/retention.go",
		why:  "for tests: a chunk is indexed by its reference and labels, from 3.6.0 on",
		part: partialReads,
		in:   "type chunkIndexer",
		at:   "IndexChunk(chunkRef logproto.ChunkRef, lbls labels.Labels, sizeInKB uint32, logEntriesCount uint32) (chunkIndexed bool, err error)",
		put:  nowhere,
		alt:  "arguments of IndexChunk",
		with: "pkg/compactor/retention/chunkring_indexer_test.go",
	},
	{
		file: "pkg/compactor/retention/retention.go",
		why:  "for tests: as a whole before",
		part: partialReads,
		in:   "type chunkIndexer",
		at:   "IndexChunk(chunk chunk.Chunk) (chunkIndexed bool, err error)",
		put:  nowhere,
		alt:  "arguments of IndexChunk",
		with: "pkg/compactor/retention/chunkring_indexer_plain_test.go",
	},
	{
		file: "pkg/compactor/retention/retention.go",
		why:  "for tests: with the time of ingestion after 3.8.0",
		part: partialReads,
		in:   "type chunkIndexer",
		at:   "IndexChunk(chunkRef logproto.ChunkRef, lbls labels.Labels, ingestedAt model.Time, sizeInKB uint32, logEntriesCount uint32) (chunkIndexed bool, err error)",
		put:  nowhere,
		alt:  "arguments of IndexChunk",
		with: "pkg/compactor/retention/chunkring_indexer_ingested_test.go",
	},
	{
		file: "pkg/logql/engine.go",
		why:  "strict_blocks: Loki's merge of samples loses the errors of iterators",
		part: partialReads,
		in:   "func query.Exec",
		at:   "data, err := q.Eval(ctx)",
		put:  instead,
		text: "data, err := q.evalBlocks(ctx) // chunkring:",
	},
	{
		file: "pkg/ingester/ingester.go",
		why:  "strict_blocks: in a Loki of one process the ingester reads the store for metric queries",
		part: partialReads,
		in:   "func Ingester.QuerySample",
		at:   "_, ctx = metadata.NewContext(ctx)",
		put:  instead,
		text: `_, ctx = metadata.NewContext(withBlockErrors(ctx)) // chunkring: was ctx`,
	},
	{
		file: "pkg/ingester/ingester.go",
		why:  "strict_blocks: and the query fails if a block can't be read",
		part: partialReads,
		in:   "func Ingester.QuerySample",
		at:   "return sendSampleBatches(ctx, it, queryServer)",
		put:  instead,
		text: `return sendSamples(ctx, it, queryServer) // chunkring: was sendSampleBatches`,
	},
	{
		file: "pkg/querier/ingester_querier.go",
		why:  "strict_blocks: the querier hears of it",
		part: partialReads,
		in:   "func IngesterQuerier.SelectSample",
		at:   "iterators[i] = iter.NewSampleQueryClientIterator(resps[i].response.(logproto.Querier_QuerySampleClient))",
		put:  instead,
		text: `iterators[i] = iter.NewSampleQueryClientIterator(samplesClient{resps[i].response.(logproto.Querier_QuerySampleClient)}) // chunkring: was the response itself`,
	},
	{
		file: "pkg/loki/config_wrapper.go",
		why:  "a cache of whole chunks costs more than it saves where chunks are read by their ends",
		part: partialReads,
		in:   "func applyEmbeddedCacheConfig",
		at:   "if !cache.IsCacheConfigured(chunkCacheConfig) {",
		put:  instead,
		text: `// chunkring: not where all chunks are files that are read by their ends.
	if !cache.IsCacheConfigured(chunkCacheConfig) && !readsPartly(r) {`,
	},

	// Iteration: entries are cut from a block that is decompressed as a whole; see chunkring_flat.go in
	// files/pkg/chunkenc.
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "readers are told how large a block is",
		part: partialReads,
		in:   "func encBlock.Iterator",
		at:   "return newEntryIterator(ctx, compression.GetReaderPool(b.enc), b.b, pipeline, b.format, b.symbolizer)",
		put:  instead,
		text: `return newEntryIterator(ctx, b.readerPool(ctx), b.b, pipeline, b.format, b.symbolizer) // chunkring: was compression.GetReaderPool(b.enc)`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "readers are told how large a block is",
		part: partialReads,
		in:   "func encBlock.SampleIterator",
		at:   "compression.GetReaderPool(b.enc),",
		put:  instead,
		text: `b.readerPool(ctx), // chunkring: was compression.GetReaderPool(b.enc)`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "what an iterator over a flat block knows",
		part: iterator,
		in:   "type bufferedIterator",
		at:   "closed bool",
		put:  before,
		text: `flat flatIterator // chunkring: the block, if it is decompressed as a whole
`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "a block that is decompressed as a whole is iterated in place",
		part: iterator,
		in:   "func bufferedIterator.Next",
		at:   "ts, line, structuredMetadata, ok := si.moveNext()",
		put:  before,
		text: `
	// chunkring: entries of a block that is decompressed as a whole are cut from it.
	if si.flatBegin() {
		if ok, done := si.flatNext(); done {
			return ok
		}
	}
`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "the block's memory is the reader's",
		part: iterator,
		in:   "func bufferedIterator.close",
		at:   "if si.reader != nil {",
		put:  before,
		text: `si.flatEnd() // chunkring: nothing may point into the block from here on
`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "what the pipeline allows to do without it",
		part: iterator,
		in:   "func newEntryIterator",
		at:   "bufferedIterator: newBufferedIterator(ctx, pool, b, format, symbolizer),",
		put:  instead,
		text: `bufferedIterator: newBufferedIterator(ctx, pool, b, format, symbolizer).planEntries(pipeline, skipProcessing), // chunkring: what the pipeline allows`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "backward, an entry is made when it is asked for",
		part: iterator,
		in:   "func MemChunk.Iterator",
		at: `r, err := iter.NewEntryReversedIter(
			iter.NewTimeRangedIterator(it,
				time.Unix(0, mint),
				time.Unix(0, maxt),
			))`,
		put:  instead,
		text: `r, err := Backward(it, time.Unix(0, mint), time.Unix(0, maxt)) // chunkring: was iter.NewEntryReversedIter of iter.NewTimeRangedIterator`,
	},
	{
		file: "pkg/storage/lazy_chunk.go",
		why:  "backward, an entry is made when it is asked for",
		part: iterator,
		in:   "func LazyChunk.Iterator",
		at: `r, err := iter.NewEntryReversedIter(
			iter.NewTimeRangedIterator(it,
				from,
				through,
			))`,
		put:  instead,
		text: `r, err := chunkenc.Backward(it, from, through) // chunkring: was iter.NewEntryReversedIter of iter.NewTimeRangedIterator`,
	},
	{
		file: "pkg/storage/lazy_chunk.go",
		why:  "entries before the range need no pipeline",
		part: iterator,
		in:   "func LazyChunk.Iterator",
		at: `return iter.NewTimeRangedIterator(
			iter.NewNonOverlappingIterator(its),`,
		put: instead,
		text: `return iter.NewTimeRangedIterator(
			iter.NewNonOverlappingIterator(chunkenc.SkipBefore(its, from)), // chunkring: was its`,
	},
	{
		file: "pkg/storage/lazy_chunk.go",
		why:  "entries before the range need no extractor",
		part: iterator,
		in:   "func LazyChunk.SampleIterator",
		at:   "iter.NewNonOverlappingSampleIterator(its),",
		put:  instead,
		text: `iter.NewNonOverlappingSampleIterator(chunkenc.SkipBefore(its, from)), // chunkring: was its`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "the same structured metadata has the same labels",
		part: iterator,
		in:   "func entryBufferedIterator.Next",
		at:   "newLine, lbs, matches := e.pipeline.Process(e.currTs, e.currLine, e.currStructuredMetadata)",
		put:  instead,
		text: `newLine, lbs, matches := e.process() // chunkring: was e.pipeline.Process`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "entries of a flat block share allocations",
		part: iterator,
		in:   "func entryBufferedIterator.Next",
		at: `e.cur.Line = string(newLine)
		e.cur.StructuredMetadata = logproto.FromLabelsToLabelAdapters(lbs.StructuredMetadata())
		e.cur.Parsed = logproto.FromLabelsToLabelAdapters(lbs.Parsed())`,
		put:  instead,
		text: `e.setEntry(newLine, lbs) // chunkring: was string(newLine) and logproto.FromLabelsToLabelAdapters`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "statistics are complete whenever an entry is",
		part: iterator,
		in:   "func entryBufferedIterator.Next",
		at:   "e.cur.StructuredMetadata = logproto.FromLabelsToLabelAdapters(e.currStructuredMetadata)",
		put:  after,
		text: `e.flatCount() // chunkring: statistics are complete whenever an entry is`,
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "what the extractor allows to do without it",
		part: iterator,
		in:   "func newSampleIterator",
		at:   "bufferedIterator: newBufferedIterator(ctx, pool, b, format, symbolizer), extractor: extractors[0],",
		put:  instead,
		text: `bufferedIterator: newBufferedIterator(ctx, pool, b, format, symbolizer).planSamples(extractors[0]), // chunkring: what the extractor allows
		extractor: extractors[0],`,
		alt: "newSampleIterator",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "the same, of the one extractor that there is after 3.8.0",
		part: iterator,
		in:   "func newSampleIterator",
		at:   "bufferedIterator: newBufferedIterator(ctx, pool, b, format, symbolizer), extractor: extractor,",
		put:  instead,
		text: `bufferedIterator: newBufferedIterator(ctx, pool, b, format, symbolizer).planSamples(extractor), // chunkring: what the extractor allows
		extractor: extractor,`,
		alt: "newSampleIterator",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "the same structured metadata has the same labels; statistics are complete whenever a sample is",
		part: iterator,
		in:   "func sampleBufferedIterator.Next",
		at:   "samples, ok := e.extractor.Process(e.currTs, e.currLine, e.currStructuredMetadata)",
		put:  instead,
		text: `samples, ok := e.process() // chunkring: was e.extractor.Process`,
		alt:  "samples of a line",
		with: "pkg/chunkenc/chunkring_samples.go",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "the same, where a line has one sample, after 3.8.0",
		part: iterator,
		in:   "func sampleBufferedIterator.Next",
		at:   "sample, ok := e.extractor.Process(e.currTs, e.currLine, e.currStructuredMetadata)",
		put:  instead,
		text: `sample, ok := e.process() // chunkring: was e.extractor.Process`,
		alt:  "samples of a line",
		with: "pkg/chunkenc/chunkring_sample.go",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "no allocation a line",
		part: iterator,
		in:   "func sampleBufferedIterator.Next",
		at:   "Hash: util.UniqueSampleHash(lblString, e.currLine),",
		put:  instead,
		text: `Hash: e.uniqueSampleHash(util.UniqueSampleHash, lblString, e.currLine), // chunkring: was util.UniqueSampleHash`,
		alt:  "hash of a sample",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "Loki allocates nothing for it itself, after 3.8.0",
		part: iterator,
		in:   "func sampleBufferedIterator.Next",
		at:   "Hash: e.hasher.Hash(lblString, e.currLine),",
		put:  nowhere,
		alt:  "hash of a sample",
	},
	{
		file: "pkg/chunkenc/variants.go",
		why:  "statistics are complete whenever a sample is",
		part: iterator,
		in:   "func multiExtractorSampleBufferedIterator.Next",
		at:   "if len(e.cur) <= 1 { continue }",
		put:  after,
		text: `e.flatCount() // chunkring: statistics are complete whenever a sample is`,
		alt:  "several extractors",
	},
	{
		file: "pkg/chunkenc/memchunk.go",
		why:  "there is one extractor, after 3.8.0",
		part: iterator,
		in:   "func newSampleIterator",
		at:   "extractor: extractor,",
		put:  nowhere,
		alt:  "several extractors",
	},

	// Filters: a line filter says which lines it needs no look at; see files/pkg/logql/log.
	{
		file: "pkg/logql/log/pipeline.go",
		why:  "a stage says what becomes of lines without certain bytes",
		part: iterator,
		in:   "type StageFunc",
		at:   "requiredLabels []string",
		put:  after,
		text: `prefilter *stagePrefilter // chunkring: what process makes of lines without certain bytes; nil if not known`,
	},
	{
		file: "pkg/logql/log/pipeline.go",
		why:  "the first of several stages decides for all",
		part: iterator,
		in:   "func ReduceStages",
		at:   "requiredLabels: requiredLabelNames,",
		put:  after,
		text: `prefilter: prefilterOfFirst(stages), // chunkring: see stagePrefilter`,
	},
	{
		file: "pkg/logql/log/filter.go",
		why:  "what becomes of lines without certain bytes",
		part: iterator,
		in:   "func containsFilter.ToStage",
		at:   "return StageFunc{",
		put:  after,
		text: `prefilter: stagePrefilterOf(&l), // chunkring: see stagePrefilter`,
	},
	{
		file: "pkg/logql/log/filter.go",
		why:  "what becomes of lines without certain bytes",
		part: iterator,
		in:   "func containsAllFilter.ToStage",
		at:   "return StageFunc{",
		put:  after,
		text: `prefilter: stagePrefilterOf(f), // chunkring: see stagePrefilter`,
	},
	{
		file: "pkg/logql/log/filter.go",
		why:  "what becomes of lines without certain bytes",
		part: iterator,
		in:   "func andFilters.ToStage",
		at:   "return StageFunc{",
		put:  after,
		text: `prefilter: stagePrefilterOf(a), // chunkring: see stagePrefilter`,
	},
	{
		file: "pkg/logql/log/filter.go",
		why:  "what becomes of lines without certain bytes",
		part: iterator,
		in:   "func andFilter.ToStage",
		at:   "return StageFunc{",
		put:  after,
		text: `prefilter: stagePrefilterOf(a), // chunkring: see stagePrefilter`,
	},
	{
		file: "pkg/logql/log/filter.go",
		why:  "what becomes of lines without certain bytes",
		part: iterator,
		in:   "func orFilter.ToStage",
		at:   "return StageFunc{",
		put:  after,
		text: `prefilter: stagePrefilterOf(a), // chunkring: see stagePrefilter`,
	},
	{
		file: "pkg/logql/log/filter.go",
		why:  "what becomes of lines without certain bytes",
		part: iterator,
		in:   "func notFilter.ToStage",
		at:   "return StageFunc{",
		put:  after,
		text: `prefilter: stagePrefilterOf(n), // chunkring: see stagePrefilter`,
	},
	{
		file: "pkg/logql/log/filter.go",
		why:  "what becomes of lines without certain bytes",
		part: iterator,
		in:   "func regexpFilter.ToStage",
		at:   "return StageFunc{",
		put:  after,
		text: `prefilter: stagePrefilterOf(r), // chunkring: see stagePrefilter`,
	},

	// Decompressors: see SetReaderPool in files/pkg/compression.
	{
		file: "pkg/compression/pool.go",
		why:  "a hook through which decompressors in C can replace the readers",
		part: blockPath,
		in:   "func GetReaderPool",
		at:   "return GetPool(enc).(ReaderPool)",
		put:  before,
		text: `// chunkring: see SetReaderPool.
	if p := replacedReaderPool(enc); p != nil {
		return p
	}`,
	},
}
