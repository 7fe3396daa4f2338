#!/usr/bin/env bash
# The store conformance suite against real servers: installs them, starts them on loopback, checks, stops them.
#
#   tests/stores/run.sh [moto] [ceph]      default: both
#
# moto has the newest semantics of S3, Ceph RGW is a distributed store and stands for servers that are some years old.
# A server that cannot be installed on this machine is skipped, with the reason; one that is installed and does not
# come up, or does not keep the contract, is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/stores
. $here/common.sh

servers=("$@")
((${#servers[@]})) || servers=(moto ceph)

# Built before anything is started, so that no server waits for a compiler.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
cargo test --locked --release --workspace --test stores --no-run

work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-stores.XXXXXX")
cleanup() {
    local pid pids=()
    for pid in $(cat "$work"/*/pids 2>/dev/null); do
        kill "$pid" 2>/dev/null && pids+=("$pid")
    done
    # The data is thrown away, so nobody needs the time to end well.
    for pid in ${pids[@]+"${pids[@]}"}; do
        for _ in $(seq 20); do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

export AWS_ACCESS_KEY_ID=test-id AWS_SECRET_ACCESS_KEY=test-secret
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
stores=()
failed=0
for server in "${servers[@]}"; do
    began=$SECONDS outcome=0
    mkdir "$work/$server"
    $here/"$server"-up.sh "$work/$server" || outcome=$?
    case $outcome in
    0)
        stores+=("$server=$(cat "$work/$server/address")")
        echo "$server: up after $((SECONDS - began)) s"
        ;;
    "$CANNOT_INSTALL") ;; # it said so itself
    *)
        echo "$server: did not come up" >&2
        failed=1
        ;;
    esac
done

if ((${#stores[@]})); then
    SLUICE_TEST_STORES="${stores[*]}" cargo test --locked --release --workspace --test stores || failed=1
fi
exit $failed
