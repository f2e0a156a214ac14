#!/bin/sh
# Run every fuzz target of a build for SECONDS_EACH (60) seconds: run.sh BUILD
#
# Inputs it finds stay in BUILD/corpus; one that breaks something is named there and belongs to the seeds, with the fix.
set -u
build=$1
here=$(dirname "$0")
run=0
broken=
for target in "$build"/tests/fuzz/fuzz_*; do
	[ -f "$target" ] && [ -x "$target" ] || continue
	run=$((run + 1))
	noun=${target##*/fuzz_}
	kept=$build/corpus/$noun
	mkdir -p "$kept"
	echo "$noun: ${SECONDS_EACH:-60} s"
	"$target" -max_total_time="${SECONDS_EACH:-60}" -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
		-artifact_prefix="$build/corpus/broken-$noun-" "$kept" "$here/corpus/$noun" >"$kept.log" 2>&1 || {
		broken="$broken $noun"
		tail -n 40 "$kept.log"
	}
done
[ $run -gt 0 ] || {
	echo "no fuzz targets in $build: it takes clang and -Dfuzz=true" >&2
	exit 1
}
echo "$run targets, broken:${broken:- none}"
[ -z "$broken" ]
