#!/usr/bin/env bash
# Fuzzes each parser from its committed seeds, with libFuzzer on stable Rust.
#
#   fuzz/run.sh [SECONDS] [TARGET...]      default: 60 seconds each of all
#
# What was learned is kept in the cache and built upon; an input that breaks a parser stays there too, and the command
# that reproduces it is printed. Make it a seed when the parser is mended.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")

cache=${SLUICE_CACHE:-$HOME/.cache/sluice}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
program=$cache/target/$host/release/fuzz

# The versions that the command is built with: the lock file is the workspace's and what libFuzzer adds.
[[ Cargo.lock -nt ../Cargo.lock ]] || cp ../Cargo.lock Cargo.lock

# Coverage that libFuzzer reads. With --target, build scripts and macros are not instrumented.
flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)
RUSTFLAGS="${flags[*]} --cfg fuzzing" CARGO_TARGET_DIR=$cache/target cargo build --release --target "$host"

((${#targets[@]})) || mapfile -t targets < <(FUZZ_TARGET=list "$program")
for target in "${targets[@]}"; do
    [[ -d seeds/$target ]] || {
        printf 'fuzz: target %s has no seeds: make some in fuzz/seeds/%s\n' "$target" "$target" >&2
        exit 2
    }
done

broken=()
for target in "${targets[@]}"; do
    learned=$cache/corpus/$target artifacts=$cache/artifacts/$target log=$cache/$target.log
    mkdir -p "$learned" "$artifacts"
    # Seeds may be large; mutations longer than 64 KiB find nothing that shorter ones do not.
    if FUZZ_TARGET=$target "$program" "$learned" "seeds/$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$artifacts/" >"$log" 2>&1; then
        printf 'fuzz: %-16s %s\n' "$target" "$(awk '/cov:/ {line = $0} /number_of_executed_units/ {runs = $2} END {
            if (match(line, /cov: [0-9]+/)) cover = substr(line, RSTART, RLENGTH); print runs " inputs, " cover }' "$log")"
    else
        tail -n 40 "$log"
        found=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
        printf 'fuzz: %s BROKEN; again: FUZZ_TARGET=%s %s %s\n' "$target" "$target" "$program" "${found:-(see $log)}"
        broken+=("$target")
    fi
done

printf 'fuzz: %d passed, %d failed\n' $((${#targets[@]} - ${#broken[@]})) "${#broken[@]}"
((${#broken[@]} == 0))
