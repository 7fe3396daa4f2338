#!/usr/bin/env bash
# Measures Sluice and its peers side by side on a 1 GiB volume image; prints a Markdown table and says where it is.
#
#   tests/bench/run.sh [REPETITIONS]
#
# BENCH_TOOLS, BENCH_STEPS, BENCH_SCALE (0.25 is 1 GiB), BENCH_SEED and BENCH_NAME change what is measured. As root it
# drops the page cache before each sample. Other programs on the machine are waited for, a minute at most per sample.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

repetitions=${1:-3}
tools=${BENCH_TOOLS:-sluice,sluice-cbt,sluice-better,restic,rustic,rustic-fixed64k,borg-fixed64k,bupstash,_tar-zstd-aes,_cp}
scale=${BENCH_SCALE:-0.25}
seed=${BENCH_SEED:-v1}
export BENCH_PEERS=${BENCH_PEERS:-$HOME/.cache/sluice-bench} BENCH_SEED=$seed
data=${BENCH_DATA:-$BENCH_PEERS/data}
out=${BENCH_OUT:-$BENCH_PEERS/out}
name=${BENCH_NAME:-img-$(date +%Y%m%d-%H%M%S)}

for peer in restic borg bupstash rustic; do
    [[ -x $BENCH_PEERS/bin/$peer ]] || {
        printf 'bench: %s is not there yet; building what is missing (up to 40 minutes)\n' "$peer"
        "$here/peers-up.sh"
    }
done

# Only the data that this seed and scale make counts.
wanted="$seed-img $scale"
made=$(python3 -c 'import json, sys; m = json.load(open(sys.argv[1]))["img"]; print(m["seed"], m["scale"])' "$data/meta.json" 2>/dev/null || true)
[[ $made == "$wanted" ]] || python3 "$here/bench.py" gen --scale "$scale" --datasets img

cold=()
((EUID != 0)) || cold=(--drop-caches)
steps=()
[[ -z ${BENCH_STEPS:-} ]] || steps=(--steps "$BENCH_STEPS")
python3 "$here/bench.py" run --plugin "$here/sluice.json" --datasets img --tools "$tools" --reps "$repetitions" \
    --name "$name" --quiet-wait 60 "${cold[@]}" "${steps[@]}"
python3 "$here/bench.py" report --jsonl "$out/$name.jsonl" --sort cpu --out "$out/$name"
printf 'bench: %s.md, .json and .jsonl in %s\n' "$name" "$out"
