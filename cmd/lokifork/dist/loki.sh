# What the tests beside it do with a Loki that runs, at its usual port. Sourced; who sources it has the function fail.
# shellcheck shell=sh

api=http://127.0.0.1:3100

# wait_ready PID LOG: until Loki says that it is ready.
wait_ready() {
	n=0
	until curl -sf $api/ready >/dev/null; do
		n=$((n + 1))
		[ $n -lt 240 ] && kill -0 "$1" 2>/dev/null || { tail -n 20 "$2"; fail "Loki does not become ready"; }
		sleep 0.5
	done
}

# push_lines: 100 lines, which have their numbers.
push_lines() {
	at=$(date +%s) values='' i=0
	while [ $i -lt 100 ]; do
		values=$values${values:+,}[\"$((at - 100 + i))000000000\",\"needle\ $i\"]
		i=$((i + 1))
	done
	printf '{"streams":[{"stream":{"job":"test"},"values":[%s]}]}' "$values" |
		curl -sf -H 'Content-Type: application/json' --data-binary @- $api/loki/api/v1/push || fail "push"
}

# flush CHUNKS: until the chunk files of what was pushed are in that folder.
flush() {
	curl -sf -X POST $api/flush || fail "flush"
	n=0
	until [ -n "$(find "$1" -type f -path '*/fake/*' 2>/dev/null)" ]; do
		n=$((n + 1))
		[ $n -lt 120 ] || fail "no chunk was written"
		sleep 0.5
	done
}

# same_lines WHEN: a query gives all lines that were pushed.
same_lines() {
	found=$(curl -sfG $api/loki/api/v1/query_range --data-urlencode 'query={job="test"} |= "needle"' \
		--data-urlencode since=24h | grep -o 'needle [0-9]*' | sort -u | wc -l)
	[ "$found" = 100 ] || fail "$1: $found of 100 lines are there"
}

# counted OPERATION: chunkring counts good chunks of that operation, so it was chunkring that did it.
counted() {
	curl -sf $api/metrics | grep "^chunkring_chunks_total{.*operation=\"$1\",result=\"ok\".* [1-9]" ||
		fail "it was not chunkring that did this: $1"
}
