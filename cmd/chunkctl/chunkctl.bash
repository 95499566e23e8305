# SPDX-License-Identifier: Apache-2.0
# bash completion for chunkctl

_chunkctl()
{
	local commands="verify ls cat info salvage quarantine bench doctor"
	local filter="--tenant --since --until" options= i command=
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	for ((i = 1; i < COMP_CWORD; i++)); do
		case " $commands " in
		*" ${COMP_WORDS[i]} "*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	if [[ -z $command ]]; then
		COMPREPLY=($(compgen -W "$commands --help --version" -- "$cur"))
		return
	fi
	case "$command $prev" in
	"verify --backend" | "bench --backend") options="auto uring threads" ;;
	"ls --sort") options="from through size entries tenant stream" ;;
	"ls --totals") options="none tenant stream codec day" ;;
	*" --format") options="raw json logfmt" ;;
	*" --tenant" | *" --since" | *" --until" | *" --match" | *" --grep" | *" --regex" | *" --limit" | \
		*" --jobs" | *" --rate-limit" | *" --settle" | *" --files" | *" --size" | *" --batch" | \
		*" --rounds" | *" --sample" | *" --kinds") return ;;
	esac
	if [[ -n $options ]]; then
		COMPREPLY=($(compgen -W "$options" -- "$cur"))
		return
	fi
	case $command in
	verify) options="--quick --deep --json $filter --rate-limit --bypass-cache --jobs --backend --state --settle --null --quiet --allow-empty" ;;
	ls) options="--match $filter --sort --reverse --totals --json --jobs --null --allow-empty" ;;
	cat) options="--match $filter --format --timestamps --grep --regex --ignore-case --invert --dedup --limit --null --allow-empty" ;;
	info) options="--json --null --allow-empty" ;;
	salvage) options="--output --format --timestamps" ;;
	quarantine) options="--from --partial --kinds --restore --yes --json --allow-empty" ;;
	bench) options="$filter --files --size --batch --rounds --backend --json" ;;
	doctor) options="--sample --json --allow-empty" ;;
	esac
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$options --help" -- "$cur"))
	else
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}
complete -F _chunkctl chunkctl
