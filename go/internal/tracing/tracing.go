// SPDX-License-Identifier: Apache-2.0

// Package tracing makes chunkring's spans.
package tracing

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// tracer goes where Loki's own spans go, also when that is set later.
var tracer = otel.Tracer("github.com/chunkring/chunkring")

// Start begins the span of a call.
func Start(ctx context.Context, name string) (context.Context, trace.Span) {
	return tracer.Start(ctx, name)
}

// End ends the span of a call that returns err. Its attributes are set before, and only if it is
// recorded: most are not.
func End(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
