// SPDX-License-Identifier: Apache-2.0

package chunkring

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// tracer goes where Loki's own spans go, also when that is set later.
var tracer = otel.Tracer("github.com/chunkring/chunkring")

// endSpan ends the span of a call that returns err. Its attributes are set before, and only if it is
// recorded: most are not.
func endSpan(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
