#compdef chunkctl
# SPDX-License-Identifier: Apache-2.0

_chunkctl() {
	local -a commands filter
	commands=(
		'verify:is every chunk what Loki wrote?'
		'ls:what is in a store'
		'cat:log lines in time order'
		'info:everything in one chunk file'
		'salvage:the lines of a damaged chunk'
		'quarantine:move damaged files aside, and back'
		'bench:how fast a store can be read'
		'doctor:does the machine suit the store?'
	)
	filter=(
		'*--tenant=[only this tenant]:tenant:'
		'--since=[only from this time on]:time:'
		'--until=[only before this time]:time:'
	)
	if (( CURRENT == 2 )); then
		_describe command commands
		return
	fi
	local command=$words[2]
	shift words
	(( CURRENT-- ))
	case $command in
	verify)
		_arguments -S $filter '(--deep)--quick' '(--quick)--deep' --json --bypass-cache --quiet --null --allow-empty \
			'--rate-limit=[MB a second]:MB:' '--jobs=:number:' \
			'--backend=:back-end:(auto uring threads)' '--state=:file:_files' \
			'--settle=:seconds:' '*:store:_files' ;;
	ls)
		_arguments -S $filter '--match=[label matchers]:matchers:' --reverse --json --null --allow-empty \
			'--sort=:key:(from through size entries tenant stream)' \
			'--totals=:key:(none tenant stream codec day)' '--jobs=:number:' '*:store:_files' ;;
	cat)
		_arguments -S $filter '--match=[label matchers]:matchers:' '--format=:format:(raw json logfmt)' \
			--timestamps '--grep=:text:' '--regex=:expression:' --ignore-case --invert --dedup \
			'--limit=:lines:' --null --allow-empty '*:store:_files' ;;
	info) _arguments -S --json --null --allow-empty '*:file:_files' ;;
	salvage)
		_arguments -S '--output=:new file:_files' '--format=:format:(raw json logfmt)' --timestamps \
			':file:_files' ;;
	quarantine)
		_arguments -S '--from=:report:_files' --partial '--kinds=:findings:' --restore --yes --json --allow-empty \
			':store:_files -/' ;;
	bench)
		_arguments -S $filter '--files=:number:' '--size=:MB:' '--batch=:number:' '--rounds=:number:' \
			'--backend=:back-end:(uring threads)' --json ':store:_files -/' ;;
	doctor) _arguments -S '--sample=:number:' --json --allow-empty ':store:_files -/' ;;
	esac
}

_chunkctl "$@"
